"""Where everything of one checkout lives below .var, and the locks that say who uses it."""

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.stack.terminal import Trouble

ROOT = Path(__file__).resolve().parent.parent.parent
# sockaddr_un.sun_path holds 108 bytes with its closing zero.
_SOCKET_LIMIT = 107
_LONGEST_SOCKET = ".s.PGSQL.5432"


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders below one VAR_DIR. All of them are closed to other users of the machine."""

    var: Path

    @classmethod
    def here(cls) -> "Folders":
        return cls(Path(os.environ.get("VAR_DIR") or ROOT / ".var").resolve())

    def make(self) -> None:
        for folder in (self.var, self.var / "lock", self.var / "log"):
            folder.mkdir(parents=True, exist_ok=True)
        self.var.chmod(0o700)

    def data(self, name: str) -> Path:
        return self.var / name

    def log(self, name: str) -> Path:
        return self.var / "log" / f"{name}.log"

    def lock(self, name: str) -> Path:
        return self.var / "lock" / name

    def sockets(self) -> Path:
        """Return (and make) the folder of the unix sockets: below .var, or a short one of ours where that path is too long."""
        folder = self.var / "run"
        if len(os.fsencode(folder / _LONGEST_SOCKET)) > _SOCKET_LIMIT:
            mark = hashlib.sha256(os.fsencode(self.var)).hexdigest()[:12]
            folder = Path(tempfile.gettempdir()) / f"pastpilot-{os.getuid()}-{mark}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise Trouble(f"{folder} belongs to somebody else, so no sockets are put there. Remove it, or set TMPDIR.")
        folder.chmod(0o700)
        return folder


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock on a file, waiting for it. The kernel lets go of it when the process ends, however it ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked_at_once(path: Path) -> Iterator[bool]:
    """Try to hold a lock alone; yields False when somebody else has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Tell whether some process holds the lock alone."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def is_shared(path: Path) -> bool:
    """Tell whether some process holds the lock together with others. Asked a few times: the keeper looks too, for a moment."""
    for _ in range(5):
        with locked_at_once(path) as alone:
            if alone:
                return False
        time.sleep(0.01)
    return True
