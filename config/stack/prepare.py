"""Brings database, checkpoints, demo company and static files up to date, all in one process: Django loads once."""

import hashlib
import io
import os
import sys
from pathlib import Path

import django
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command, get_commands
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from config import checks
from config.stack.folders import Folders
from config.stack.terminal import Trouble, plain_output, say, step

# A migration that waits for a lock makes every query after it wait too: better to stop and say so.
_LOCK_TIMEOUT = "10s"


def main() -> None:
    plain_output()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        django.setup()
        prepare()
    except (Trouble, ImproperlyConfigured, CommandError) as trouble:
        sys.exit(f"\n{trouble}")
    except OperationalError as error:
        where = settings.DATABASES["default"]
        reason = str(error).strip().splitlines()[0]
        sys.exit(
            f"\nPostgreSQL at {where['HOST'] or 'this machine'} does not serve {where['NAME']}: {reason}. Check DATABASE_URL."
        )


def prepare() -> None:
    """Do every step that the processes rely on; each is quick when there is nothing to do."""
    checks.refuse_unsafe_settings()
    _migrate()
    if "migrate_checkpoints" in get_commands():
        with step("Checkpoint tables"):
            call_command("migrate_checkpoints", stdout=io.StringIO())
    if settings.DEMO and "seed_demo" in get_commands():
        say("  Demo company")
        call_command("seed_demo")
    _collect_static()
    _write_logins()


def inputs_of_static_files() -> str:
    """Return a digest of what collectstatic would read: paths, sizes, times, and who stores them."""
    digest = hashlib.sha256(repr(settings.STORAGES["staticfiles"]).encode())
    for finder in get_finders():
        for path, storage in finder.list(None):
            found = Path(storage.path(path)).stat()
            digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _migrate() -> None:
    with step("Database") as result:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan:
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, false)", [_LOCK_TIMEOUT])
            call_command("migrate", verbosity=0, interactive=False)
        result.append(f"{len(plan)} migrations applied" if plan else "up to date")


def _collect_static() -> None:
    stamp = Path(settings.VAR_DIR) / "static.inputs"
    with step("Static files") as result:
        inputs = inputs_of_static_files()
        if stamp.exists() and stamp.read_text() == inputs and Path(settings.STATIC_ROOT).exists():
            result.append("unchanged")
            return
        stamp.unlink(missing_ok=True)
        call_command("collectstatic", verbosity=0, interactive=False, clear=True)
        stamp.write_text(inputs)


def _write_logins() -> None:
    """Keep the demo's logins for the launcher, which prints them last."""
    target = Folders.here().var / "logins.txt"
    target.unlink(missing_ok=True)
    if settings.DEMO and "demo_logins" in get_commands():
        text = io.StringIO()
        call_command("demo_logins", stdout=text)
        target.touch(mode=0o600)
        target.write_text(text.getvalue())


if __name__ == "__main__":
    main()
