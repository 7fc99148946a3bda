"""Settings that are not safe where they are used stop every process before it starts; health says what is missing."""

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import override_settings

from config import checks, health
from config.models import Heartbeat
from config.stack.network import free_port
from config.tasks import heartbeat
from tests.house.stack import OF_THE_SUITE, ROOT


def ids(check):
    return [found.id for found in check()]


@pytest.mark.parametrize(
    ("name", "expected"), [("DEMO", "config.E001"), ("PLAIN_HTTP", "config.E002"), ("DEBUG", "config.E003")]
)
@pytest.mark.parametrize(
    "reach",
    [{"HOST": "0.0.0.0"}, {"HOST": "192.168.1.5"}, {"ALLOWED_HOSTS": ["pastpilot.example"]}, {"ALLOWED_HOSTS": ["*"]}],
)
def test_what_is_safe_on_this_machine_only_is_refused_where_others_reach_it(name, expected, reach):
    alone = {"DEMO": False, "PLAIN_HTTP": False, "DEBUG": False, "HOST": "127.0.0.1", "ALLOWED_HOSTS": ["localhost"]}
    with override_settings(**alone | {name: True} | reach):
        assert ids(checks.this_machine_only) == [expected]


def test_all_of_it_is_fine_on_this_machine():
    here = {"HOST": "127.0.0.1", "ALLOWED_HOSTS": ["127.0.0.1", "localhost", "[::1]"]}
    with override_settings(DEMO=True, PLAIN_HTTP=True, DEBUG=True, **here):
        assert ids(checks.this_machine_only) == []


@pytest.mark.parametrize(
    ("proxies", "header", "expected"),
    [
        (0, None, []),
        (1, ("HTTP_X_FORWARDED_PROTO", "https"), []),
        (1, None, ["config.E008"]),
        (-1, ("HTTP_X_FORWARDED_PROTO", "https"), ["config.E008"]),
        (0, ("HTTP_X_FORWARDED_PROTO", "https"), ["config.W001"]),
    ],
)
def test_callers_are_believed_only_as_far_as_a_proxy_of_ours_names_them(proxies, header, expected):
    with override_settings(TRUSTED_PROXIES=proxies, SECURE_PROXY_SSL_HEADER=header):
        assert ids(checks.callers_are_told_apart) == expected


def test_the_house_as_it_is_has_a_policy_for_scripts_json_only_and_strict_checkpoints():
    assert ids(checks.pages_have_a_content_policy) == []
    assert ids(checks.celery_speaks_json_only) == []
    assert ids(checks.checkpoints_build_no_objects) == []


def test_a_house_without_a_content_policy_is_refused():
    with override_settings(MIDDLEWARE=["django.middleware.security.SecurityMiddleware"]):
        assert ids(checks.pages_have_a_content_policy) == ["config.E005"]


@pytest.mark.parametrize("source", ["*", "'unsafe-inline'", "'unsafe-eval'"])
def test_a_content_policy_that_allows_any_script_is_refused(source):
    with override_settings(CONTENT_SECURITY_POLICY={"DIRECTIVES": {"script-src": ["'self'", source]}}):
        assert ids(checks.pages_have_a_content_policy) == ["config.E006"]


def test_a_policy_without_a_word_on_scripts_is_refused():
    with override_settings(CONTENT_SECURITY_POLICY={"DIRECTIVES": {}}):
        assert ids(checks.pages_have_a_content_policy) == ["config.E006"]


def test_pickle_in_celery_is_refused(monkeypatch):
    from config.celery import app

    monkeypatch.setitem(app.conf, "accept_content", ["json", "pickle"])

    assert ids(checks.celery_speaks_json_only) == ["config.E004"]


def test_lenient_checkpoints_are_refused(monkeypatch):
    monkeypatch.setenv("LANGGRAPH_STRICT_MSGPACK", "false")

    assert ids(checks.checkpoints_build_no_objects) == ["config.E007"]


PRODUCTION = {
    "SECRET_KEY": "k7Vb2xQ9-wm4Tn8_Lr5Zc1Yp6Hd3Gs0Jf-Ua7Ee2Ii9Oo4Bb8Nn1Mm6",
    "ALLOWED_HOSTS": "pastpilot.example",
    "HOST": "0.0.0.0",
    "BEHIND_TLS_PROXY": "1",
    "TRUSTED_PROXIES": "1",
}


def check_deploy(tmp_path, **variables):
    plain = {name: value for name, value in os.environ.items() if name not in OF_THE_SUITE}
    given = {name: os.environ[name] for name in ("DATABASE_URL", "CELERY_BROKER_URL", "CREDENTIAL_KEY")}
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=plain | given | PRODUCTION | {"VAR_DIR": str(tmp_path)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_production_environment_passes_the_deployment_check_without_a_warning(tmp_path):
    done = check_deploy(tmp_path)

    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_the_demo_on_a_public_host_stops_any_command(tmp_path):
    done = check_deploy(tmp_path, DEMO="1")

    assert done.returncode != 0
    assert "config.E001" in done.stderr


def test_health_needs_no_database_and_names_the_start_it_belongs_to(client):
    with override_settings(START_ID="abc"):
        answer = client.get("/healthz")

    assert answer.json() == {"status": "ok", "start": "abc"}
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.django_db
def test_readiness_is_refused_until_beat_is_heard_and_says_names_only(client):
    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert json.loads(answer.content) == {
        "status": "not ok",
        "database": "ok",
        "migrations": "ok",
        "broker": "ok",
        "beat": "not ok",
    }


@pytest.mark.django_db
def test_the_house_is_ready_once_beat_was_heard(client):
    heartbeat()
    heartbeat()

    assert Heartbeat.objects.count() == 1
    assert client.get("/readyz").status_code == 200


@pytest.mark.django_db
def test_a_beat_that_fell_silent_makes_the_house_unready(client):
    heartbeat()
    Heartbeat.objects.update(at=Now() - health.BEAT_SILENCE - timedelta(seconds=1))

    assert client.get("/readyz").json()["beat"] == "not ok"


def test_a_broker_that_does_not_answer_is_told_within_seconds():
    assert health.broker_answers()
    assert not health.broker_answers(f"redis://127.0.0.1:{free_port()}/0")


@pytest.mark.parametrize("method", ["post", "put", "delete"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_can_only_be_read(client, method, path):
    assert getattr(client, method)(path).status_code == 405
