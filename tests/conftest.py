"""Gives every test its servers and fast settings. Loaded before Django reads its settings, by the controller and by each worker of xdist alike."""

import base64
import contextlib
import ipaddress
import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from django.db import connection

from config.stack import embedded
from config.stack.folders import locked_at_once

pytest_plugins = ["tests.plugins"]
ROOT = Path(__file__).resolve().parent.parent

_servers = contextlib.ExitStack()


def _prepare_environment() -> None:
    defaults = {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "VAR_DIR": os.environ.get("VAR_DIR") or str(_free_folder()),
        "SECRET_KEY": "tests-only-" + "0123456789" * 5,
        "CREDENTIAL_KEY": base64.b64encode(bytes(range(32))).decode(),
        "PLAIN_HTTP": "1",
        "LOG_LEVEL": "WARNING",
        # Hashing 5 MB of plotly.js once per worker would cost more than the tests.
        "STATICFILES_BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # WhiteNoise warns, and warnings are errors, when the folder of collected files is missing.
    (Path(os.environ["VAR_DIR"]) / "static").mkdir(parents=True, exist_ok=True)
    # Names DATABASE_URL and CELERY_BROKER_URL unless they are given; workers of xdist inherit them from the controller.
    _servers.enter_context(embedded.servers(durable=False))


def _free_folder() -> Path:
    """Return a folder that no other run of tests uses: two at once would empty each other's databases."""
    for number in itertools.count(1):
        folder = ROOT / ".var" / ("test" if number == 1 else f"test-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        if _servers.enter_context(locked_at_once(folder / "tests.lock")):
            return folder
    raise AssertionError("there is always another number")


_prepare_environment()
# pytest-django reads its settings before any conftest; without a settings module in its ini file it leaves this to us.
django.setup()


def pytest_unconfigure() -> None:
    _servers.close()


@pytest.fixture(scope="session", autouse=True)
def _fast_passwords() -> Iterator[None]:
    from django.test import override_settings

    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(scope="session", autouse=True)
def _this_machine_only() -> Iterator[None]:
    """Refuse every connection that would leave this machine, so that no test depends on a network."""
    connect = socket.socket.connect

    def connect_nearby(self, address):
        if self.family in {socket.AF_INET, socket.AF_INET6} and not _is_loopback(address[0]):
            raise RuntimeError(f"A test tried to reach {address[0]}; only loopback and unix sockets are allowed.")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_nearby)
        yield


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):  # it comes first
    """Cut what streams and waits left open on threads of their own: a database in use cannot be dropped."""
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
