"""The inbox as a reviewer uses it, with and without htmx, and what it answers when it says no."""

import json
import re
from datetime import timedelta

import pgtrigger
import pytest

from apps.accounts.models import Membership, Role
from apps.approvals.models import Proposal, State
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from tests.factories.accounts import make_member
from tests.factories.approvals import decide, make_agent, make_proposal

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
def as_ben(client, ben):
    client.force_login(ben)
    return client


def verdict(proposal, verdict="approve", **fields):
    proposal.refresh_from_db()
    return {"verdict": verdict, "version": proposal.version, "digest": proposal.digest, **fields}


def test_the_inbox_opens_the_first_card_beside_the_queue(as_ben, proposals):
    response = as_ben.get("/inbox/")

    assert b"3 actions wait for a human" in response.content
    assert b"Approving moves desk:tickets/T-1 to billing with priority normal." in response.content
    assert b"If nobody decides: it expires" in response.content


def test_an_empty_inbox_says_all_clear(as_ben):
    assert b"All clear" in as_ben.get("/inbox/").content


def test_a_card_says_until_when_an_approval_can_be_undone(as_ben, team, ada):
    card = make_proposal(team, ada, at=clock(), policy={"undo_s": 15})

    assert b"It runs 15 s later, and can be undone until then." in as_ben.get(f"/inbox/{card.pk}/").content


def test_a_card_says_that_its_time_is_given_once_more_until_it_was(as_ben, team, ada):
    card = make_proposal(team, ada, at=clock(), policy={"on_expiry": "extend_once"})

    assert b"the time is given once more" in as_ben.get(f"/inbox/{card.pk}/").content

    Proposal.objects.filter(pk=card.pk).update(extended_at=clock())

    assert b"If nobody decides: it expires" in as_ben.get(f"/inbox/{card.pk}/").content


def test_a_search_that_finds_nothing_does_not_claim_that_nothing_waits(as_ben, proposals):
    content = as_ben.get("/inbox/?q=zebra").content

    assert b"No card is open" in content
    assert b"All clear" not in content
    assert b"a shorter beginning finds more" in content


def test_a_line_of_the_queue_names_the_risk_before_an_agent_of_any_length(as_ben, proposals):
    assert b">Medium risk \xc2\xb7 Ticket desk<" in as_ben.get("/inbox/").content


def test_no_two_links_of_the_inbox_share_a_key(client, team):
    client.force_login(make_member(team, *Role))

    keys = re.findall(r'data-key="(g .)"', client.get("/inbox/").content.decode())

    assert {"g o", "g n", "g h"} <= set(keys)
    assert len(keys) == len(set(keys))


def test_opening_a_card_claims_it_and_frees_the_one_before(as_ben, ben, proposals):
    first, second, _ = proposals

    as_ben.post(f"/inbox/{first.pk}/claim/", headers=HTMX)
    response = as_ben.post(f"/inbox/{second.pk}/claim/", headers=HTMX)

    first.refresh_from_db()
    second.refresh_from_db()
    assert response.status_code == 200
    assert (first.state, second.state, second.claimed_by) == (State.PENDING, State.CLAIMED, ben)


def test_an_approval_opens_the_next_card_and_offers_to_undo(as_ben, proposals):
    response = as_ben.post(f"/inbox/{proposals[0].pk}/decide/", verdict(proposals[0]), headers=HTMX)

    assert response.status_code == 200
    assert b"Approved: Route T-1" in response.content
    assert b"Undo" in response.content
    assert b"Route T-2" in response.content
    assert response["HX-Push-Url"] == f"/inbox/{proposals[1].pk}/"
    proposals[0].refresh_from_db()
    assert proposals[0].state == State.QUEUED


def test_the_number_on_the_side_bar_follows_a_verdict(as_ben, proposals):
    response = as_ben.post(f"/inbox/{proposals[0].pk}/decide/", verdict(proposals[0]), headers=HTMX)

    assert b'<b class="count" id="count-inbox"  hx-swap-oob="true">2</b>' in response.content


def test_without_htmx_an_approval_redirects_to_the_next_card(as_ben, proposals):
    response = as_ben.post(f"/inbox/{proposals[0].pk}/decide/", verdict(proposals[0]))

    assert response.status_code == 302
    assert response.url == f"/inbox/{proposals[1].pk}/"


def test_the_last_approval_leaves_an_empty_inbox(as_ben, team, ada):
    only = make_proposal(team, ada, at=clock())

    response = as_ben.post(f"/inbox/{only.pk}/decide/", verdict(only), headers=HTMX)

    assert b"All clear" in response.content


def test_a_rejection_needs_a_reason_and_keeps_what_was_typed(as_ben, proposals):
    response = as_ben.post(
        f"/inbox/{proposals[0].pk}/decide/", verdict(proposals[0], "reject", reason="no"), headers=HTMX
    )

    assert response.status_code == 422
    assert b"Give a reason of 3 to 2,000 characters." in response.content
    proposals[0].refresh_from_db()
    assert proposals[0].is_open


def test_an_edit_changes_only_what_may_be_edited_and_keeps_types(as_ben, proposals):
    fields = {
        "arg-queue": "network",
        "arg-priority": "high",
        "arg-reply": "Line one\r\nline two",
        "arg-ticket": "T-999",
    }

    as_ben.post(f"/inbox/{proposals[0].pk}/decide/", verdict(proposals[0], "edit", **fields), headers=HTMX)

    row = Proposal.objects.get(pk=proposals[0].pk)
    assert row.state == State.QUEUED
    assert row.args == {"queue": "network", "priority": "high", "reply": "Line one\nline two", "ticket": "T-1001"}


def test_an_edit_outside_the_schema_is_refused_with_its_place(as_ben, proposals):
    response = as_ben.post(
        f"/inbox/{proposals[0].pk}/decide/", verdict(proposals[0], "edit", **{"arg-queue": "cellar"}), headers=HTMX
    )

    assert response.status_code == 422
    assert b"/queue" in response.content


def test_a_card_decided_elsewhere_answers_409_and_shows_by_whom(as_ben, proposals, team):
    kim = make_member(team, Role.REVIEWER, name="Kim")
    shown = verdict(proposals[0])
    decide(proposals[0], kim, "reject", at=clock())

    response = as_ben.post(f"/inbox/{proposals[0].pk}/decide/", shown, headers=HTMX)

    assert response.status_code == 409
    assert b"Already rejected by Kim" in response.content


def test_an_old_card_cannot_decide(as_ben, proposals):
    response = as_ben.post(f"/inbox/{proposals[0].pk}/decide/", verdict(proposals[0]) | {"version": 0}, headers=HTMX)

    assert response.status_code == 409
    assert b"This card changed while you read it." in response.content


def test_the_owner_of_the_agent_reads_that_someone_else_must_decide(client, team, ada, proposals):
    Membership.objects.create(user=ada, team=team, role=Role.REVIEWER)
    client.force_login(ada)

    response = client.get(f"/inbox/{proposals[0].pk}/")

    assert b"Someone else must decide this one" in response.content
    assert client.post(f"/inbox/{proposals[0].pk}/decide/", verdict(proposals[0])).status_code == 403


def test_a_refused_self_approval_is_recorded(client, team, ada, proposals):
    Membership.objects.create(user=ada, team=team, role=Role.REVIEWER)
    client.force_login(ada)

    client.post(f"/inbox/{proposals[0].pk}/decide/", verdict(proposals[0]))

    event = AuditEvent.objects.get(action="access.refused")
    assert (event.actor, event.object) == (ada.actor, f"proposal:{proposals[0].pk}")
    assert event.team == f"team:{team.pk}"
    assert "approvals.decide" in event.payload


@pytest.mark.parametrize("person", ["ada", "cora", "olga"])
def test_who_may_only_read_opens_a_card_by_the_same_click(client, cast, proposals, person):
    client.force_login(cast[person])

    response = client.post(f"/inbox/{proposals[0].pk}/claim/", headers=HTMX)

    assert response.status_code == 200
    assert b"a reviewer of the team decides it" in response.content
    proposals[0].refresh_from_db()
    assert proposals[0].state == State.PENDING
    assert not AuditEvent.objects.filter(action="access.refused").exists()


class TestViewsAreEvents:
    """A1: who saw which card, in which version; a poll or a second look tells nothing new."""

    def told(self):
        events = AuditEvent.objects.filter(action="proposal.viewed").order_by("id")
        return [(each.actor, each.object, json.loads(each.payload)["version"]) for each in events]

    def test_opening_a_card_by_its_address_is_told_once(self, as_ben, ben, proposals):
        for _ in range(3):
            as_ben.get(f"/inbox/{proposals[0].pk}/")

        assert self.told() == [(ben.actor, f"proposal:{proposals[0].pk}", 1)]

    def test_opening_it_by_a_click_tells_of_the_card_as_it_was_claimed(self, as_ben, ben, proposals):
        as_ben.post(f"/inbox/{proposals[1].pk}/claim/", headers=HTMX)
        as_ben.get(f"/inbox/{proposals[1].pk}/")

        assert self.told() == [(ben.actor, f"proposal:{proposals[1].pk}", 2)]

    def test_the_first_card_of_the_inbox_and_the_next_after_a_verdict_were_seen_too(self, as_ben, ben, proposals):
        as_ben.get("/inbox/")
        as_ben.post(f"/inbox/{proposals[0].pk}/decide/", verdict(proposals[0]), headers=HTMX)

        assert [(subject, version) for _, subject, version in self.told()] == [
            (f"proposal:{proposals[0].pk}", 1),
            (f"proposal:{proposals[1].pk}", 2),
        ]

    def test_each_person_is_told_of_by_themselves(self, client, ben, olga, proposals):
        for person in (ben, olga):
            client.force_login(person)
            client.get(f"/inbox/{proposals[0].pk}/")

        assert [actor for actor, _, _ in self.told()] == [ben.actor, olga.actor]

    def test_the_event_names_what_exactly_was_shown(self, as_ben, proposals):
        as_ben.get(f"/inbox/{proposals[0].pk}/")

        header = json.loads(AuditEvent.objects.get(action="proposal.viewed").header)
        assert (header["digest"], header["proposal"]) == (proposals[0].digest, str(proposals[0].pk))

    def test_polls_and_the_queue_alone_show_no_card(self, as_ben, proposals):
        shown = [f"{row.pk}:{row.version}" for row in proposals]

        as_ben.post("/inbox/changes/", {"shown": shown, "as_of": clock().isoformat()}, headers=HTMX)
        as_ben.get("/inbox/queue/", headers=HTMX)

        assert self.told() == []

    def test_an_outsider_saw_nothing(self, client, eve, proposals):
        client.force_login(eve)

        client.get(f"/inbox/{proposals[0].pk}/")

        assert self.told() == []


def test_a_card_says_who_answers_when_nobody_is_on_call(as_ben, cora, proposals):
    page = as_ben.get(f"/inbox/{proposals[0].pk}/").content.decode()

    assert "Nobody is on call: Cora answers, and can add a rotation." in page


@pytest.mark.parametrize(
    ("person", "status"), [("cora", 200), ("dev", 200), ("olga", 200), ("ben", 403), ("max_", 403)]
)
def test_unknown_outcomes_are_for_those_who_repair_or_follow_it(client, cast, team, person, status):
    client.force_login(cast[person])

    assert client.get("/inbox/reconcile/").status_code == status


def test_the_way_to_unknown_outcomes_is_shown_to_those_who_may_go_it(client, cast, team):
    ways = {}
    for person in ("ben", "cora"):
        client.force_login(cast[person])
        ways[person] = b"/inbox/reconcile/" in client.get("/inbox/").content

    assert ways == {"ben": False, "cora": True}


def test_undo_brings_the_card_back(as_ben, proposals):
    as_ben.post(f"/inbox/{proposals[0].pk}/decide/", verdict(proposals[0]), headers=HTMX)

    response = as_ben.post(f"/inbox/{proposals[0].pk}/undo/", headers=HTMX)

    assert b"Taken back" in response.content
    proposals[0].refresh_from_db()
    assert proposals[0].is_open


def test_the_poll_answers_nothing_when_nothing_changed(as_ben, proposals):
    shown = [f"{row.pk}:{row.version}" for row in proposals]

    assert (
        as_ben.post("/inbox/changes/", {"shown": shown, "as_of": clock().isoformat()}, headers=HTMX).status_code == 204
    )


def test_the_poll_tells_what_was_decided_elsewhere_and_what_is_new(as_ben, ben, proposals, team, ada):
    shown = [f"{row.pk}:{row.version}" for row in proposals]
    as_of = clock().isoformat()
    decide(proposals[0], ben, at=clock())
    make_proposal(team, ada, at=clock() + timedelta(seconds=1), target="desk:tickets/T-9")

    response = as_ben.post("/inbox/changes/", {"shown": shown, "as_of": as_of, "open": proposals[0].pk}, headers=HTMX)

    assert b"Approved by Ben" in response.content
    assert b"1 new" in response.content


@pytest.mark.parametrize("door", ["", "claim/", "release/", "decide/", "undo/", "reconcile/"])
def test_an_outsider_finds_no_card(client, eve, proposals, door):
    client.force_login(eve)
    url = f"/inbox/{proposals[0].pk}/{door}"

    response = client.post(url, verdict(proposals[0])) if door else client.get(url)

    assert response.status_code == 404


def test_the_history_names_the_person_and_the_outcome(as_ben, ben, proposals):
    decide(proposals[0], ben, "reject", at=clock())

    response = as_ben.get("/inbox/history/")

    assert b"It is the wrong queue." in response.content
    assert b"Ben" in response.content


def test_an_operator_closes_an_unknown_outcome_by_what_they_found(client, cora, team, ada):
    from tests.factories.approvals import make_connector
    from tests.factories.connectors import make_execution

    proposal = make_proposal(team, ada)
    make_execution(
        make_connector(team),
        thread_id=proposal.thread_id,
        tool_call_id=proposal.tool_call_id,
        proposal_id_value=proposal.pk,
        digest=proposal.digest,
        state="unknown",
        started_at=clock(),
    )
    with pgtrigger.ignore("approvals.Proposal:only_known_moves"):
        Proposal.objects.filter(pk=proposal.pk).update(state=State.UNKNOWN, consumed_at=clock())
    client.force_login(cora)

    page = client.get("/inbox/reconcile/")
    client.post(f"/inbox/{proposal.pk}/reconcile/", {"happened": "yes", "note": "Seen in the desk's journal."})

    assert b"Outcome unknown" in page.content
    proposal.refresh_from_db()
    assert proposal.state == State.SUCCEEDED
