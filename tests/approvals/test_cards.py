"""What a card offers, what a verdict answers, and how the next card is drawn ahead without being claimed or seen."""

import re

import pytest

from apps.accounts.models import Role
from apps.approvals.actions import claims
from apps.approvals.models import Proposal, State
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from tests.factories.accounts import make_member
from tests.factories.approvals import make_agent, make_proposal

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def proposals(team, ada):
    agent = make_agent(team, ada)
    return [
        make_proposal(team, ada, agent=agent, at=clock(), title=f"Route T-{number}", target=f"desk:tickets/T-{number}")
        for number in (1, 2, 3)
    ]


@pytest.fixture
def dear(team, ada):
    return make_proposal(
        team, ada, at=clock(), kind={"risk_class": "high"}, title="Route T-9", target="desk:tickets/T-9"
    )


@pytest.fixture
def as_ben(client, ben):
    client.force_login(ben)
    return client


def verdict(row, verdict="approve", **fields):
    row.refresh_from_db()
    return {"verdict": verdict, "version": row.version, "digest": row.digest, **fields}


def give(client, row, said="approve", **fields):
    return client.post(f"/inbox/{row.pk}/decide/", verdict(row, said, **fields), headers=HTMX)


def keys_of(page):
    return set(re.findall(r'data-key="([^"]+)"', page))


class TestWhatACardOffers:
    def test_every_verb_has_a_button_and_its_key(self, as_ben, proposals):
        page = as_ben.get(f"/inbox/{proposals[0].pk}/").content.decode()

        assert {"a", "e", "r", "q", "c", "v", "x", "X", "s", "u", "d"} <= keys_of(page)

    def test_it_may_be_answered_only_where_the_kind_allows_it(self, as_ben, team, ada, proposals):
        answerable = make_proposal(team, ada, at=clock(), kind={"allow_respond": True})

        assert "p" not in keys_of(as_ben.get(f"/inbox/{proposals[0].pk}/").content.decode())
        assert "p" in keys_of(as_ben.get(f"/inbox/{answerable.pk}/").content.decode())

    def test_every_button_posts_the_version_and_digest_of_this_very_card(self, as_ben, proposals):
        page = as_ben.get(f"/inbox/{proposals[1].pk}/").content.decode()

        forms = re.findall(r"<form[^>]*data-verdict.*?</form>", page, re.DOTALL)
        assert len(forms) == 4
        assert all(f'name="digest" value="{proposals[1].digest}"' in each for each in forms)
        assert all('name="version" value="1"' in each for each in forms)
        assert all(f'action="/inbox/{proposals[1].pk}/decide/"' in each for each in forms)

    def test_high_risk_has_no_verdict_of_one_key(self, as_ben, dear):
        page = as_ben.get(f"/inbox/{dear.pk}/").content.decode()

        assert re.search(r'<button type="button" class="primary" data-opens="approve" data-key="a"', page)
        assert not re.search(r'<button[^>]*value="approve"[^>]*data-key', page)
        assert "data-advances" not in page
        assert not {"x", "X"} & keys_of(page)

    def test_what_must_be_typed_is_named_and_not_filled_in(self, as_ben, dear):
        page = as_ben.get(f"/inbox/{dear.pk}/").content.decode()

        [field] = re.findall(r'<input id="approve-confirm"[^>]*>', page)
        assert "value=" not in field
        assert '<label for="approve-confirm">Type T-9</label>' in page

    def test_who_may_only_read_is_offered_no_verdict(self, client, olga, proposals):
        client.force_login(olga)

        assert "data-verdict" not in client.get(f"/inbox/{proposals[0].pk}/").content.decode()


class TestAfterAVerdict:
    def test_a_high_risk_card_stays_open_and_says_who_is_missing(self, as_ben, dear):
        answer = give(as_ben, dear, confirm="desk:tickets/T-9")

        text = answer.content.decode()
        assert answer.status_code == 200
        assert "1 of 2 approvals given. One more person must approve." in text
        assert f'data-open-card="{dear.pk}"' in text
        assert "HX-Push-Url" not in answer

    def test_a_second_approval_shows_what_became_of_it(self, as_ben, team, dear):
        give(as_ben, dear, confirm="T-9")
        kim = make_member(team, Role.REVIEWER, name="Kim")
        as_ben.force_login(kim)

        answer = give(as_ben, dear, confirm="T-9")

        assert f'data-open-card="{dear.pk}"' in answer.content.decode()
        assert "Approved, about to run" in answer.content.decode()

    def test_without_what_must_be_typed_nothing_is_decided_and_the_dialog_stays(self, as_ben, dear):
        answer = give(as_ben, dear, confirm="T-8")

        assert answer.status_code == 422
        assert re.search(r'<dialog id="approve"[^>]*data-open', answer.content.decode())
        dear.refresh_from_db()
        assert (dear.approvals_given, dear.is_open) == (0, True)

    def test_whoever_wants_to_stay_sees_the_decided_card(self, as_ben, proposals):
        as_ben.cookies["advance"] = "off"

        answer = give(as_ben, proposals[0])

        assert f'data-open-card="{proposals[0].pk}"' in answer.content.decode()
        assert "Approved, about to run" in answer.content.decode()

    def test_without_javascript_the_next_page_says_what_was_done(self, as_ben, proposals):
        answer = as_ben.post(f"/inbox/{proposals[0].pk}/decide/", verdict(proposals[0]), follow=True)

        assert answer.redirect_chain == [(f"/inbox/{proposals[1].pk}/", 302)]
        assert "Approved: Route T-1" in answer.content.decode()

    def test_without_javascript_high_risk_comes_back_to_itself(self, as_ben, dear, proposals):
        answer = as_ben.post(f"/inbox/{dear.pk}/decide/", verdict(dear, confirm="T-9"))

        assert answer.url == f"/inbox/{dear.pk}/"

    def test_the_answer_to_a_page_that_drew_ahead_is_small(self, as_ben, proposals):
        answer = give(as_ben, proposals[0], ahead=str(proposals[1].pk))

        text = answer.content.decode()
        assert "Approved: Route T-1" in text
        assert "data-open-card" not in text
        assert len(text) < 4_000
        assert Proposal.objects.get(pk=proposals[0].pk).state == State.QUEUED

    def test_a_refusal_brings_the_whole_card_even_then(self, as_ben, proposals):
        old = verdict(proposals[0], ahead=str(proposals[1].pk)) | {"version": 99}

        answer = as_ben.post(f"/inbox/{proposals[0].pk}/decide/", old, headers=HTMX)

        assert answer.status_code == 409
        assert f'data-open-card="{proposals[0].pk}"' in answer.content.decode()


class TestDrawnAhead:
    def test_it_is_the_next_card_neither_claimed_nor_seen(self, as_ben, proposals):
        text = as_ben.get(f"/inbox/{proposals[0].pk}/ahead/", headers=HTMX).content.decode()

        proposals[1].refresh_from_db()
        assert f'<template data-after="{proposals[0].pk}" data-card="{proposals[1].pk}" data-version="1"' in text
        assert (proposals[1].state, proposals[1].version) == (State.PENDING, 1)
        assert not AuditEvent.objects.filter(action="proposal.viewed").exists()

    def test_it_skips_what_somebody_else_is_deciding(self, as_ben, team, proposals):
        claims.claim(proposals[1].pk, actor=make_member(team, Role.REVIEWER, name="Kim"))

        text = as_ben.get(f"/inbox/{proposals[0].pk}/ahead/", headers=HTMX).content.decode()

        assert f'data-card="{proposals[2].pk}"' in text

    def test_it_stays_within_what_is_searched_for(self, as_ben, proposals):
        text = as_ben.get(f"/inbox/{proposals[0].pk}/ahead/?q=T-3", headers=HTMX).content.decode()

        assert f'data-card="{proposals[2].pk}"' in text

    def test_after_the_last_one_there_is_none(self, as_ben, team, ada):
        only = make_proposal(team, ada, at=clock())

        assert "<template" not in as_ben.get(f"/inbox/{only.pk}/ahead/", headers=HTMX).content.decode()

    def claim(self, client, row, **changes):
        shown = {"ahead": row.pk, "version": row.version, "digest": row.digest} | changes
        return client.post(f"/inbox/{row.pk}/claim/", shown, headers=HTMX)

    def test_when_it_is_shown_the_claim_tells_its_version_and_it_was_seen(self, as_ben, ben, proposals):
        answer = self.claim(as_ben, proposals[1])

        proposals[1].refresh_from_db()
        assert answer.json() == {"id": proposals[1].pk, "version": 2}
        assert (proposals[1].state, proposals[1].claimed_by, proposals[1].version) == (State.CLAIMED, ben, 2)
        assert AuditEvent.objects.filter(action="proposal.viewed", object=f"proposal:{proposals[1].pk}").count() == 1

    def test_the_version_that_was_told_decides(self, as_ben, proposals):
        told = self.claim(as_ben, proposals[1]).json()

        facts = {"verdict": "approve", "version": told["version"], "digest": proposals[1].digest}
        answer = as_ben.post(f"/inbox/{proposals[1].pk}/decide/", facts, headers=HTMX)

        assert answer.status_code == 200
        assert Proposal.objects.get(pk=proposals[1].pk).state == State.QUEUED

    @pytest.mark.parametrize("changed", [{"version": 7}, {"digest": "sha256:other"}, {"version": "x"}])
    def test_if_it_is_not_what_the_page_shows_the_whole_card_comes(self, as_ben, proposals, changed):
        answer = self.claim(as_ben, proposals[1], **changed)

        assert f'data-open-card="{proposals[1].pk}"' in answer.content.decode()

    def test_if_it_moved_in_between_the_whole_card_comes(self, as_ben, team, proposals):
        kim = make_member(team, Role.REVIEWER, name="Kim")
        claims.claim(proposals[1].pk, actor=kim)
        claims.release(proposals[1].pk, actor=kim)

        answer = self.claim(as_ben, proposals[1], version=1)

        assert f'data-open-card="{proposals[1].pk}"' in answer.content.decode()

    def test_if_somebody_else_took_it_the_card_says_who(self, as_ben, team, proposals):
        claims.claim(proposals[1].pk, actor=make_member(team, Role.REVIEWER, name="Kim"))

        answer = self.claim(as_ben, proposals[1])

        assert "Kim is deciding, until" in answer.content.decode()

    def test_the_claim_button_of_a_card_draws_the_card(self, as_ben, proposals):
        shown = {"version": 1, "digest": proposals[0].digest}

        answer = as_ben.post(f"/inbox/{proposals[0].pk}/claim/", shown, headers=HTMX)

        assert "data-open-card" in answer.content.decode()
        assert "Give back" in answer.content.decode()
