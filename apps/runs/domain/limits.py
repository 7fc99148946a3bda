"""How long a text may be, wherever it is read from a file, written on a page, drafted, or sent."""

from typing import Final

MAX_REPLY: Final = 4_000
"""Characters of a reply; the action's schema refuses more."""
MIN_REASON: Final = 3
MAX_REASON: Final = 2_000
"""Characters of the reason that a person gives for closing a case or a run without a write; the same bounds as for a rejection."""
