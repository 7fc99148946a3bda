"""Puts the packages into .venv, with nothing but Python and pip to begin with. Skipped while the requirements are unchanged."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from config.stack import children, network
from config.stack.folders import ROOT, Folders, locked
from config.stack.terminal import Trouble, plain_output, say, step

# Packages, the cache they are linked from, and room for the database to begin.
_NEEDS_BYTES = 1_500_000_000
_FILES = {"run": ["requirements.txt"], "dev": ["requirements.txt", ".requirements-dev.txt"]}
_VENV = ROOT / ".venv"
_TOOLS = ROOT / ".tools"
_MARK = _VENV / ".installed.json"


def main() -> None:
    plain_output()
    try:
        install(sys.argv[1] if len(sys.argv) > 1 else "run")
    except Trouble as trouble:
        sys.exit(f"\n{trouble}")


def install(kind: str) -> None:
    """Make .venv hold what the requirement files of this kind ask for."""
    if _is_installed(kind):
        return
    if kind == "run":
        _ask_for_the_port()
    check_disk(shutil.disk_usage(ROOT).free)
    folders = Folders.here()
    folders.make()
    with locked(folders.lock("install")):
        # Another start may have done it while this one waited.
        if not _is_installed(kind):
            _install(kind, folders.log("install"))


def fingerprint(kind: str, root: Path = ROOT) -> str:
    """Return what the installation depends on: the requirement files, this Python, and the folder (a .venv cannot be moved)."""
    digest = hashlib.sha256(f"{sys.version}\n{root}\n".encode())
    for name in _FILES[kind]:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def check_disk(free: int) -> None:
    """Refuse to begin what cannot end."""
    if free < _NEEDS_BYTES:
        raise Trouble(
            f"The disk is nearly full: {free / 1e9:.1f} GB are free below {ROOT} and an installation needs "
            f"{_NEEDS_BYTES / 1e9:.1f} GB. Nothing was changed. Free some space and start again."
        )


def _is_installed(kind: str) -> bool:
    try:
        marks = json.loads(_MARK.read_text())
    except (OSError, ValueError):
        return False
    return bool(marks.get(kind) == fingerprint(kind))


def _ask_for_the_port() -> None:
    """Say that the port is taken before the installation, not after it."""
    network.ask_for(os.environ.get("HOST") or "127.0.0.1", network.port_of("PORT", 8000), "PORT")


def _install(kind: str, log: Path) -> None:
    say("Installing, which happens once; later starts skip it.")
    # A part-way installation must not count as whole.
    _MARK.unlink(missing_ok=True)
    files = _FILES[kind][-1]
    uv = _uv(log)
    with step(f"Making .venv with Python {sys.version_info.major}.{sys.version_info.minor}"):
        _make_venv(uv, log)
    with step(f"Installing {files}") as result:
        python = str(_VENV / "bin" / "python")
        if not (uv and _do([uv, "pip", "install", "--python", python, "-r", files], log)):
            # pip knows indexes and certificates that uv may not; it only takes longer.
            _do_or_say([sys.executable, "-m", "pip", "--python", python, "install", "-r", files], log)
            result.append("done with pip")
    _MARK.write_text(json.dumps({name: fingerprint(name) for name in ("run", kind)}))


def _uv(log: Path) -> str | None:
    """Return an installer that takes seconds where pip takes a minute; without it pip does the work."""
    if found := shutil.which("uv"):
        return found
    uv = _TOOLS / "bin" / "uv"
    if not uv.exists():
        with step("Fetching uv, which installs quickly") as result:
            if not _do([sys.executable, "-m", "pip", "install", "--upgrade", "--target", str(_TOOLS), "uv"], log):
                result.append("not to be had; pip will do")
                return None
    return str(uv)


def _make_venv(uv: str | None, log: Path) -> None:
    if _works(_VENV / "bin" / "python"):
        return
    if _VENV.exists():
        shutil.rmtree(_VENV)
    if not (uv and _do([uv, "venv", "--python", sys.executable, str(_VENV)], log)):
        # Without pip inside it needs no ensurepip, which some systems leave out.
        _do_or_say([sys.executable, "-m", "venv", "--without-pip", str(_VENV)], log)


def _works(python: Path) -> bool:
    """Tell whether the environment's Python is there and is of the version that runs this."""
    if not python.exists():
        return False
    asked = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
    )
    return asked.stdout.split() == [str(part) for part in sys.version_info[:2]]


def _do(command: list[str], log: Path) -> bool:
    """Run a step of the installation: on a terminal with its own progress, else into the log."""
    environment = os.environ | {name: value for name, value in _index().items() if name not in os.environ}
    if sys.stderr.isatty():
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
    with children.open_log(log) as output:
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False, stdout=output, stderr=subprocess.STDOUT)
    return done.returncode == 0


def _do_or_say(command: list[str], log: Path) -> None:
    if _do(command, log):
        return
    if shutil.disk_usage(ROOT).free < _NEEDS_BYTES / 10:
        raise Trouble(
            "The disk is full, so the installation stopped. Free 1.5 GB and start again; it goes on from here."
        )
    raise Trouble(
        "The packages could not be installed. Your data is untouched. Check the network, or pip's index settings, "
        f"and start again; it goes on from here.\n{children.tail(log)}"
    )


def _index() -> dict[str, str]:
    """Return pip's own package index in uv's words: where pip was told to go, uv goes too."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    index = os.environ.get("PIP_INDEX_URL") or asked.stdout.strip()
    return {"UV_DEFAULT_INDEX": index} if index else {}


if __name__ == "__main__":
    main()
