"""Which change of an agent is which event of the catalogue; vector V1d and readiness.md, rule 10."""

from pathlib import Path

import pytest
import yaml

from apps.programs.domain.attesting import changes
from apps.programs.domain.catalogue import read_catalogue

SEEN = {
    "version": "sha256:1",
    "scope": "tickets",
    "owner": "user:1",
    "prompt": "p1",
    "model": "openai:gpt-5",
    "provider": "openai",
    "system": "desk",
    "interface": "/v1",
    "actions": {"tickets.route": "a1", "tickets.close": "a1"},
    "deciders": {"tickets.route": "d1", "tickets.close": "d1"},
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"version": "sha256:2"}, []),
        ({"scope": "tickets and chats"}, ["scope_change"]),
        ({"owner": "user:2"}, ["owner_change"]),
        ({"prompt": "p2"}, ["prompt_change"]),
        ({"model": "openai:gpt-6"}, ["model_change"]),
        ({"model": "other:one", "provider": "other"}, ["model_change", "model_provider_change"]),
        ({"system": "crm"}, ["integration_change"]),
        ({"interface": "/v2"}, ["api_version_change"]),
        ({"actions": {"tickets.route": "a2", "tickets.close": "a1"}}, ["limit_change"]),
        ({"deciders": {"tickets.route": "d2", "tickets.close": "d1"}}, ["limit_change"]),
        (
            {
                "actions": {**SEEN["actions"], "tickets.close": "a2"},
                "deciders": {**SEEN["deciders"], "tickets.route": "d2"},
            },
            ["limit_change"],
        ),
        ({"actions": {**SEEN["actions"], "tickets.merge": "a1"}}, ["tool_added", "action_added"]),
        ({"actions": {"tickets.route": "a1"}}, []),
    ],
)
def test_each_change_is_told_in_the_words_of_the_catalogue(change, words):
    assert [each.word for each in changes(SEEN, {**SEEN, **change})] == words


def test_the_first_look_finds_no_change():
    assert changes({}, SEEN) == ()


@pytest.mark.parametrize("unknown", ["interface", "actions", "deciders"])
def test_what_an_earlier_look_did_not_know_is_no_change(unknown):
    earlier = {fact: text for fact, text in SEEN.items() if fact != unknown}

    assert changes(earlier, SEEN) == ()


def test_the_reason_says_that_others_decide():
    (change,) = changes(SEEN, {**SEEN, "deciders": {**SEEN["deciders"], "tickets.route": "d2"}})

    assert change.reason == "Who decides tickets.route, or is called when nobody does, has changed."


def test_the_reason_names_the_kinds_of_action():
    now = {**SEEN, "actions": {"tickets.route": "a2", "tickets.close": "a1", "tickets.merge": "a1"}}

    assert {each.word: each.reason for each in changes(SEEN, now)} == {
        "tool_added": "The agent may now also do tickets.merge.",
        "action_added": "The agent may now also do tickets.merge.",
        "limit_change": "Shape, risk or policy of tickets.route has changed.",
    }


@pytest.mark.parametrize(
    ("word", "gates"),
    [
        ("prompt_change", "ML-02 ML-03 ML-04 ML-07"),
        ("model_change", "ML-02 ML-03 ML-04 ML-07 SEC-03"),
        ("tool_added", "ML-02 ML-07 PRD-03 SEC-01 SEC-02 SEC-03"),
        ("integration_change", "PLT-01 PLT-02 SEC-01"),
    ],
)
def test_the_shipped_catalogue_lists_each_event_at_these_gates(word, gates):
    catalogue = read_catalogue(yaml.safe_load(Path("apps/programs/catalogue/gates.yaml").read_text()))

    assert sorted(gate.key for gate in catalogue.gates if word in gate.re_attest_on) == gates.split()
