"""Keys of this checkout, made once and kept in .var/secrets.json for their owner alone."""

import base64
import json
import os
import secrets
from collections.abc import Callable

from config.stack.folders import Folders, locked

_MAKERS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    # AES-256 wants 32 bytes.
    "CREDENTIAL_KEY": lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
    "DESK_API_KEY": lambda: secrets.token_urlsafe(32),
}


def kept(folders: Folders) -> dict[str, str]:
    """Return the keys that were made before; none were made where production names its own."""
    path = folders.var / "secrets.json"
    if not path.exists():
        return {}
    found: dict[str, str] = json.loads(path.read_text())
    return found


def make(folders: Folders) -> dict[str, str]:
    """Return the keys, making those that are missing. Two starts at once make them only once."""
    path = folders.var / "secrets.json"
    with locked(folders.lock("secrets")):
        keys = kept(folders)
        missing = {name: maker() for name, maker in _MAKERS.items() if name not in keys}
        if missing:
            keys |= missing
            part = path.with_suffix(".part")
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as file:
                json.dump(keys, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    return keys
