"""The JSON door to bulk verdicts, as the design writes it down."""

import json

import pytest
from django.urls import reverse

from apps.approvals.models import Decision
from apps.audit.clock import clock
from tests.factories.approvals import decide, make_agent, make_proposal

pytestmark = pytest.mark.django_db


@pytest.fixture
def cards(team, ada):
    agent = make_agent(team, ada)
    return [
        make_proposal(team, ada, agent=agent, at=clock(), title=f"Route T-{number}", target=f"desk:tickets/T-{number}")
        for number in (1, 2, 3)
    ]


@pytest.fixture
def as_ben(client, ben):
    client.force_login(ben)
    return client


@pytest.fixture
def group(as_ben, cards):
    """Read the only group with its cards, as a program of Ben's would."""
    [found] = as_ben.get(reverse("api:groups")).json()["groups"]
    return as_ben.get(reverse("api:groups"), {"group": found["group"]}).json()


def post(client, **body):
    return client.post(reverse("api:bulk"), json.dumps(body), content_type="application/json")


def items(group):
    return [{name: each[name] for name in ("id", "version", "digest")} for each in group["items"]]


def open_all(client, cards):
    for each in cards:
        client.get(reverse("api:proposal", args=[each.pk]))


def test_a_group_tells_its_cards_and_what_to_open_first(group, cards):
    assert {each["id"] for each in group["items"]} == {each.pk for each in cards}
    assert [each["opened"] for each in group["items"]] == [False] * 3
    assert sum(each["open_first"] for each in group["items"]) == 2
    assert group["groups"][0] | {"group": ""} == {
        "group": "",
        "action": "Route a ticket",
        "risk": "medium",
        "policy": group["groups"][0]["policy"],
        "count": 3,
    }


def test_each_item_has_its_own_outcome(as_ben, ben, cards, group):
    open_all(as_ben, cards)
    decide(cards[0], ben, at=None)
    cards[1].refresh_from_db()
    decide(cards[1], ben, "reject", at=None)

    answer = post(as_ben, verdict="approve", shown=group["shown"], items=items(group))

    results = {each["id"]: each for each in answer.json()["results"]}
    assert answer.status_code == 200
    assert results[cards[0].pk] == {"id": cards[0].pk, "outcome": "replayed"}
    assert results[cards[1].pk]["code"] == "already_decided"
    assert results[cards[2].pk] == {"id": cards[2].pk, "outcome": "decided"}


def test_unopened_cards_are_named_with_their_place(as_ben, cards, group):
    answer = post(as_ben, verdict="approve", shown=group["shown"], items=items(group))

    told = answer.json()
    named = [each["id"] for each in group["items"] if each["open_first"]]
    assert (answer.status_code, told["code"]) == (422, "open_first")
    assert told["open_first"] == [{"id": pk, "url": f"/inbox/{pk}/"} for pk in named]
    assert not Decision.objects.exists()


def test_more_than_fifty_are_too_many(as_ben):
    many = [{"id": number, "version": 1, "digest": "sha256:x"} for number in range(51)]

    answer = post(as_ben, verdict="approve", shown="", items=many)

    assert (answer.status_code, answer.json()["code"]) == (422, "too_many")


def test_the_channel_is_kept(as_ben, cards, group):
    open_all(as_ben, cards)

    post(as_ben, verdict="reject", reason="Not tonight.", shown=group["shown"], items=items(group))

    assert set(Decision.objects.values_list("channel", "reason")) == {("api", "Not tonight.")}


def test_what_another_person_was_shown_is_refused_item_by_item(client, eve, as_ben, cards, group):
    client.force_login(eve)

    answer = post(client, verdict="approve", shown=group["shown"], items=items(group))

    assert {each["code"] for each in answer.json()["results"]} == {"not_shown"}
    assert client.get(reverse("api:groups")).json() == {"groups": []}


def test_it_needs_a_session_and_its_token(cards, group, ben):
    from django.test import Client

    stranger, forger = Client(), Client(enforce_csrf_checks=True)
    forger.force_login(ben)

    assert post(stranger, verdict="approve", shown="", items=[]).status_code == 401
    assert post(forger, verdict="approve", shown=group["shown"], items=items(group)).status_code == 403
    assert not Decision.objects.exists()
