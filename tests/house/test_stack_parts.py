"""The launcher's parts that need no process: addresses, keys, folders, the mark of an installation."""

import base64
import json
import os
import shutil
import stat

import pytest

from config.stack import children, install, keys, network
from config.stack.folders import Folders, is_locked, locked
from config.stack.terminal import Trouble, step


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("pastpilot.example", False),
        ("localhost.example", False),
        ("*", False),
        ("", False),
    ],
)
def test_only_this_machine_counts_as_loopback(host, expected):
    assert network.is_loopback(host) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_the_printed_address_opens_on_this_machine(host, expected):
    assert network.address(host, 8000) == expected


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("PORT", "eighty", "PORT is 'eighty'"),
        ("PORT", "0", "PORT is '0'"),
        ("HOST", "192.0.2.1", "Check HOST and PORT"),
    ],
)
def test_before_anything_is_installed_a_bad_address_is_said_in_one_sentence(monkeypatch, variable, value, sentence):
    monkeypatch.setenv("PORT", str(network.free_port()))
    monkeypatch.setenv(variable, value)

    with pytest.raises(Trouble, match=sentence):
        install._ask_for_the_port()


@pytest.fixture
def folders(tmp_path):
    folders = Folders(tmp_path / "var")
    folders.make()
    return folders


def test_keys_are_made_once_and_only_their_owner_may_read_them(folders):
    first = keys.make(folders)

    assert keys.make(folders) == first
    assert keys.kept(folders) == first
    assert stat.S_IMODE((folders.var / "secrets.json").stat().st_mode) == 0o600
    assert len(base64.b64decode(first["CREDENTIAL_KEY"])) == 32
    assert len(first["SECRET_KEY"]) >= 50


def test_a_key_that_a_newer_version_needs_is_added_to_those_already_there(folders):
    (folders.var / "secrets.json").write_text(json.dumps({"SECRET_KEY": "older"}))

    assert keys.make(folders)["SECRET_KEY"] == "older"
    assert set(keys.kept(folders)) == {"SECRET_KEY", "CREDENTIAL_KEY", "DESK_API_KEY"}


def test_no_key_is_made_where_none_was_asked_for(folders):
    assert keys.kept(folders) == {}


def test_a_short_socket_folder_of_somebody_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folders = Folders(tmp_path / ("long-" * 25))
    short = folders.sockets()
    short.rmdir()
    short.symlink_to(tmp_path)

    with pytest.raises(Trouble, match="belongs to somebody else"):
        folders.sockets()


def test_a_lock_is_free_again_when_its_holder_ends(folders):
    path = folders.lock("any")
    with locked(path):
        assert is_locked(path)

    assert not is_locked(path)


def test_a_log_that_has_grown_large_begins_anew_and_keeps_one_generation(tmp_path):
    log = tmp_path / "web.log"
    with log.open("wb") as file:
        file.truncate(11 * 1024 * 1024)

    children.open_log(log).close()

    assert log.stat().st_size == 0
    assert (tmp_path / "web.old.log").exists()


def test_an_installation_is_done_again_when_the_requirements_or_the_folder_change(tmp_path):
    (tmp_path / "requirements.txt").write_text("django==5.2.19\n")
    before = install.fingerprint("run", tmp_path)
    moved = shutil.copytree(tmp_path, tmp_path / "moved")

    assert install.fingerprint("run", tmp_path) == before
    assert install.fingerprint("run", moved) != before
    (tmp_path / "requirements.txt").write_text("django==5.2.20\n")
    assert install.fingerprint("run", tmp_path) != before


def test_an_installation_does_not_begin_on_a_disk_where_it_cannot_end():
    install.check_disk(5_000_000_000)

    with pytest.raises(Trouble, match=r"The disk is nearly full: 0\.2 GB are free .* Nothing was changed\."):
        install.check_disk(200_000_000)


def test_a_step_says_what_is_done_and_how_it_went(capsys):
    with step("Database") as result:
        result.append("up to date")

    assert capsys.readouterr().out.startswith("  Database … up to date (0.0 s)")


def test_a_step_that_fails_ends_its_line_before_the_reason_is_printed(capsys):
    with pytest.raises(Trouble), step("Database"):
        raise Trouble("The disk is full.")

    assert capsys.readouterr().out == "  Database … stopped\n"


def test_var_dir_names_another_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VAR_DIR", str(tmp_path))

    assert Folders.here().var == tmp_path
    assert Folders.here().log("web") == tmp_path / "log" / "web.log"
    assert os.fspath(Folders.here().data("pg")) == f"{tmp_path}/pg"
