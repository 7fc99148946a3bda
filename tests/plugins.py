"""Fixtures for every test: the cast, and a flush that gets past the audit log's guard."""

pytest_plugins = [
    "tests.cast",
    "tests.audit.flush",
    "tests.plugins_desk",
    "tests.plugins_board",
    "tests.plugins_browser",
]
