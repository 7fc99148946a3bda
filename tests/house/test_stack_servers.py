"""PostgreSQL and Valkey from their wheels: as root, as an ordinary user, after every kind of end."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from config.stack import children, embedded
from config.stack.folders import Folders
from tests.house.stack import ROOT, Holder, environment, is_quiet, wait_until

pytestmark = pytest.mark.processes
NOBODY = 65534


def works(*command):
    return shutil.which(command[0]) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def closed(tmp_path):
    """A folder that nobody else may enter."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder / "var"


def test_servers_start_below_a_folder_of_mode_700_twice_in_a_row_and_keep_their_rows(closed):
    with Holder(closed) as holder:
        holder.query("CREATE TABLE kept (id int)")
        holder.query("INSERT INTO kept VALUES (7)")
        assert holder.names == ["postgres", "valkey"]
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    wait_until(lambda: is_quiet(closed))

    with Holder(closed) as holder:
        assert holder.query("SELECT id FROM kept") == [(7,)]
        assert holder.query("SHOW fsync") == [("on",)]
        assert holder.query("SHOW listen_addresses") == [("",)]


@pytest.mark.skipif(os.geteuid() != 0, reason="the suite itself runs as an ordinary user: every other test shows it")
def test_servers_start_as_an_ordinary_user():
    folder = Path(tempfile.mkdtemp(prefix="pastpilot-"))
    try:
        os.chown(folder, NOBODY, NOBODY)
        with Holder(folder / "var", **_ordinary()) as holder:
            assert holder.query("SELECT 1") == [(1,)]
        wait_until(lambda: is_quiet(folder / "var"))
    finally:
        shutil.rmtree(folder)


def _ordinary():
    """Return how to run as somebody who is not root: truly, where the system's Python and our files are open to others."""
    lowered = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    packages = str(Path(pytest.__file__).parents[1])
    if works(*lowered, "/usr/bin/python3", "-c", f"import os; os.listdir({str(ROOT)!r}); os.listdir({packages!r})"):
        return {"prefix": lowered, "python": "/usr/bin/python3", "PYTHONPATH": packages, "HOME": "/nonexistent"}
    mapped = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if works(*mapped, "true"):
        return {"prefix": mapped}
    pytest.skip("neither setpriv with an open checkout nor user namespaces are to be had here")


def test_rows_are_kept_after_every_process_was_killed_while_inserting(closed):
    with Holder(closed) as holder:
        holder.query("CREATE TABLE kept (id serial)")
        for _ in range(50):
            holder.query("INSERT INTO kept DEFAULT VALUES")
        holder.kill_everything()
    assert (closed / "pg" / "postmaster.pid").exists()

    with Holder(closed) as holder:
        assert holder.query("SELECT count(*) FROM kept") == [(50,)]
    wait_until(lambda: is_quiet(closed))


def test_a_process_that_joins_keeps_the_servers_up_after_the_first_has_gone(closed):
    with Holder(closed) as first:
        keeper = first.keeper
        with Holder(closed) as second:
            first.let_go()

            assert second.query("SELECT 1") == [(1,)]
            assert second.keeper == keeper
    wait_until(lambda: is_quiet(closed))


def test_processes_that_start_at_once_share_one_server(closed):
    holders = [Holder(closed) for _ in range(3)]

    for holder in holders:
        holder.__enter__()

    assert len({(holder.keeper, holder.postmaster) for holder in holders}) == 1
    for holder in holders:
        holder.let_go()
    wait_until(lambda: is_quiet(closed))


def test_a_user_that_is_killed_lets_go_too(closed):
    with Holder(closed) as holder:
        holder.process.kill()
        holder.let_go()

        wait_until(lambda: is_quiet(closed))


def test_a_postmaster_that_is_killed_is_started_again_with_its_rows(closed):
    with Holder(closed) as holder:
        holder.query("CREATE TABLE kept (id int)")
        before = holder.postmaster

        os.kill(before, signal.SIGKILL)

        wait_until(lambda: _answers(holder))
        assert holder.query("SELECT count(*) FROM kept") == [(0,)]
    wait_until(lambda: is_quiet(closed))


def _answers(holder):
    try:
        return holder.query("SELECT 1") == [(1,)]
    except Exception:  # noqa: BLE001 - any failure means: not yet
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_no_server_outlives_its_keeper(closed):
    with Holder(closed) as holder:
        os.kill(holder.keeper, signal.SIGKILL)

        wait_until(lambda: is_quiet(closed))


def test_a_killed_keeper_is_replaced_for_those_who_still_use_the_servers(closed, monkeypatch):
    for name in embedded.VARIABLES.values():
        monkeypatch.setenv(name, "")
    with Holder(closed) as holder, embedded.Joined(Folders(closed), ["postgres"]) as joined:
        holder.query("CREATE TABLE kept (id int)")
        os.kill(holder.keeper, signal.SIGKILL)
        wait_until(lambda: not joined.are_up())

        joined.ensure()

        assert holder.query("SELECT count(*) FROM kept") == [(0,)]
    wait_until(lambda: is_quiet(closed))


def test_a_path_too_long_for_a_socket_gets_a_short_folder_closed_to_others(tmp_path):
    var = tmp_path / ("long-" * 10) / ("longer-" * 10) / "var"
    with Holder(var) as holder:
        assert holder.query("SELECT 1") == [(1,)]
        sockets = Path(holder.broker.removeprefix("redis+socket://").partition("?")[0]).parent
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert not sockets.is_relative_to(var)
    wait_until(lambda: is_quiet(var))
    shutil.rmtree(sockets)


def test_a_zombie_counts_as_dead(tmp_path):
    child = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
    assert children.inhabitants(tmp_path) == [child.pid]

    child.kill()
    wait_until(lambda: Path(f"/proc/{child.pid}/stat").read_text().split(")")[1].split()[0] == "Z")

    assert children.inhabitants(tmp_path) == []
    child.wait()


def test_servers_that_are_given_are_used_and_none_is_started(tmp_path):
    given = {name: os.environ[name] for name in embedded.VARIABLES.values()}
    with Holder(tmp_path / "var", SECRET_KEY="given", **given) as holder:
        assert [holder.database, holder.broker] == list(given.values())
        assert holder.names == []
    assert not (tmp_path / "var").exists()


def test_only_the_missing_one_of_two_servers_is_started(tmp_path):
    var = tmp_path / "var"
    with Holder(var, DATABASE_URL=os.environ["DATABASE_URL"]) as holder:
        assert holder.names == ["valkey"]
        assert not (var / "pg").exists()
    wait_until(lambda: is_quiet(var))


def test_a_command_typed_by_hand_says_in_one_sentence_why_data_of_another_version_is_left_alone(closed):
    (closed / "pg").mkdir(parents=True)
    (closed / "pg" / "PG_VERSION").write_text("9\n")

    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env=environment(closed),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "was written by PostgreSQL 9" in done.stderr
    assert "Traceback" not in done.stderr
