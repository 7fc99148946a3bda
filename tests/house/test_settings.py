"""Settings come from typed readers that name the variable, and are safe for production unless told otherwise."""

import json
import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import env
from tests.house.stack import OF_THE_SUITE, ROOT

SHOW = """
import json
from config import settings
names = ("DEBUG", "DEMO", "PLAIN_HTTP", "SESSION_COOKIE_NAME", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_NAME",
    "SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS", "SECURE_PROXY_SSL_HEADER")
print(json.dumps({name: getattr(settings, name) for name in names} | {"pool": settings.DATABASES["default"]["OPTIONS"].get("pool")}))
"""


def settings_with(**variables):
    plain = {name: value for name, value in os.environ.items() if name not in OF_THE_SUITE}
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=ROOT,
        env=plain | {"SECRET_KEY": "given"} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_with_nothing_set_but_the_key_everything_is_as_production_needs_it():
    assert settings_with() == {
        "DEBUG": False,
        "DEMO": False,
        "PLAIN_HTTP": False,
        "SESSION_COOKIE_NAME": "__Host-sessionid",
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_NAME": "__Host-csrftoken",
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": 31_536_000,
        "SECURE_PROXY_SSL_HEADER": None,
        "pool": None,
    }


def test_plain_http_takes_back_only_what_cannot_work_without_tls():
    plain = settings_with(PLAIN_HTTP="1")

    assert plain["SESSION_COOKIE_NAME"] == "sessionid"
    assert (plain["SESSION_COOKIE_SECURE"], plain["SECURE_SSL_REDIRECT"], plain["SECURE_HSTS_SECONDS"]) == (
        False,
        False,
        0,
    )


def test_only_a_process_that_asks_for_it_pools_connections():
    assert settings_with(DATABASE_POOL="1", DATABASE_POOL_SIZE="7")["pool"]["max_size"] == 7


def test_a_production_process_without_its_key_fails_loudly_and_names_it(tmp_path):
    plain = {name: value for name, value in os.environ.items() if name not in OF_THE_SUITE}
    given = {
        "DATABASE_URL": "postgresql:///any",
        "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
        "VAR_DIR": str(tmp_path),
    }

    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=plain | given, capture_output=True, text=True, check=False
    )

    assert done.returncode != 0
    assert "SECRET_KEY is not set" in done.stderr


@pytest.mark.parametrize("word", ["1", "true", "YES", " on "])
def test_a_switch_is_on(word, monkeypatch):
    monkeypatch.setenv("SWITCH", word)
    assert env.boolean("SWITCH", default=False) is True


@pytest.mark.parametrize("word", ["0", "false", "No", "off", ""])
def test_a_switch_is_off(word, monkeypatch):
    monkeypatch.setenv("SWITCH", word)
    assert env.boolean("SWITCH", default=True) is False


@pytest.mark.parametrize(
    ("reader", "value", "sentence"),
    [
        (lambda: env.boolean("THING", default=False), "maybe", "THING is 'maybe'; use 1 or 0."),
        (lambda: env.integer("THING", 1), "many", "THING is 'many'; use a whole number."),
        (lambda: env.database("THING", ""), "mysql://host/name", "THING must be a postgresql:// URL, not mysql://"),
        (lambda: env.database("THING", ""), "name", "THING must be a postgresql:// URL, not nothing://"),
        (
            lambda: env.database("THING", ""),
            "postgresql:///name?prepare_threshold=often",
            "prepare_threshold in THING is 'often'; use a whole number, or none.",
        ),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(reader, value, sentence, monkeypatch):
    monkeypatch.setenv("THING", value)

    with pytest.raises(ImproperlyConfigured, match="THING") as refused:
        reader()

    assert str(refused.value) == sentence


def test_a_database_url_may_name_a_socket_folder_and_odd_characters(monkeypatch):
    monkeypatch.setenv("THING", "postgresql://ada%40home:p%2Fw@/past%20pilot?host=%2Fvar%2Frun&sslmode=require")

    read = env.database("THING", "")

    assert (read["USER"], read["PASSWORD"], read["NAME"], read["HOST"]) == ("ada@home", "p/w", "past pilot", "/var/run")
    assert read["OPTIONS"] == {"sslmode": "require"}


@pytest.mark.parametrize(("word", "value"), [("none", None), ("None", None), ("0", 0), ("7", 7)])
def test_a_database_url_may_say_when_statements_are_prepared(word, value, monkeypatch):
    monkeypatch.setenv("THING", f"postgresql:///name?prepare_threshold={word}")

    assert env.database("THING", "")["OPTIONS"] == {"prepare_threshold": value}


def test_a_list_drops_blanks(monkeypatch):
    monkeypatch.setenv("THING", "a, b,,c ")
    assert env.words("THING") == ["a", "b", "c"]
