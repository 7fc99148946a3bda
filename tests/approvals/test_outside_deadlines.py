"""AG-UI: an interrupt says until when its agent waits. It shortens our deadline, never lengthens it, and is never less than 60 s."""

from datetime import timedelta

import pytest

from apps.approvals import errors
from apps.approvals.actions import closing
from apps.approvals.actions.outside import CardFacts, ask
from apps.approvals.actions.undoing import undo
from apps.approvals.domain.wire import ag_ui
from apps.approvals.domain.wire.asked import BadFormat
from apps.approvals.models import OutsideRequest, Proposal
from apps.approvals.queries.outside import request_state
from tests.factories.approvals import TEN, decide
from tests.factories.outside import REFUND_ARGS, make_outside_agent, make_token

pytestmark = pytest.mark.django_db

WINDOW = timedelta(hours=4)


@pytest.fixture
def policy():
    return {}


@pytest.fixture
def token(team, ada, policy):
    return make_token(make_outside_agent(team, ada, policy=policy))[0]


def interrupted(**extra):
    metadata = {"name": "refund", "args": REFUND_ARGS}
    interrupt = {"id": "i-1", "reason": "tool_call", "metadata": metadata, **extra}
    return {"outcome": {"type": "interrupt", "interrupts": [interrupt]}}


def asked(token, expires_at, **more):
    payload = interrupted() if expires_at is None else interrupted(expiresAt=expires_at)
    return ask(form="ag_ui", payload=payload, facts=CardFacts(), token=token, at=TEN, **more)


def card_of(request):
    return Proposal.objects.get(source=request.source, external_id=request.external_id)


@pytest.mark.parametrize(
    ("expires_at", "waits"),
    [
        (None, WINDOW),
        ("2026-03-02T10:20:00Z", timedelta(minutes=20)),
        ("2026-03-02T11:20:00+01:00", timedelta(minutes=20)),
        ("2026-03-02T15:00:00Z", WINDOW),
        ("2026-03-02T10:00:20Z", timedelta(seconds=60)),
    ],
)
def test_people_have_as_long_as_its_agent_waits(token, expires_at, waits):
    assert card_of(asked(token, expires_at)).deadline == TEN + waits


@pytest.mark.parametrize("expires_at", ["2026-03-02T10:00:00Z", "2026-03-01T10:00:00Z"])
def test_what_nobody_waits_for_any_more_is_not_taken_in(token, expires_at):
    with pytest.raises(errors.BadFormat, match="nobody waits for an answer") as refusal:
        asked(token, expires_at)

    assert (refusal.value.code, refusal.value.status) == ("expired", 422)
    assert not Proposal.objects.exists()
    assert not OutsideRequest.objects.exists()


def test_the_same_request_again_is_the_first_one_although_it_expired_meanwhile(token):
    first = asked(token, "2026-03-02T10:20:00Z", external_id="x")

    payload = interrupted(expiresAt="2026-03-02T10:20:00Z")
    again = ask(
        form="ag_ui", payload=payload, facts=CardFacts(), token=token, external_id="x", at=TEN + timedelta(hours=1)
    )

    assert again.pk == first.pk


@pytest.mark.parametrize(
    ("expires_at", "told"),
    [("soon", "a time like"), ("2026-03-02T10:20:00", "needs its offset"), (1772446800, "must be text")],
)
def test_a_time_that_cannot_be_read_is_refused_where_it_stands(expires_at, told):
    with pytest.raises(BadFormat, match=told) as refusal:
        ag_ui.read(interrupted(expiresAt=expires_at))

    assert refusal.value.pointer == "/outcome/interrupts/0/expiresAt"


class TestWhenItIsOver:
    @pytest.fixture
    def policy(self):
        return {"on_expiry": "extend_once"}

    def test_it_is_not_extended_as_nobody_waits_longer(self, token):
        request = asked(token, "2026-03-02T10:20:00Z")

        closing.expire_overdue(at=TEN + timedelta(minutes=20))

        state = request_state(request, at=TEN + timedelta(minutes=20))
        assert state.status == "expired"
        assert state.actions[0].reason.startswith("Nobody answered within 20 min.")

    def test_it_is_not_extended_where_its_agent_waits_exactly_as_long_as_the_window(self, token, audit_events):
        request = asked(token, "2026-03-02T14:00:00Z")

        closing.expire_overdue(at=TEN + WINDOW)

        assert [each["action"] for each in audit_events(card_of(request))][1:] == ["proposal.expired"]

    def test_one_that_waits_longer_than_the_window_is_extended_as_ever(self, token):
        request = asked(token, "2026-03-02T23:00:00Z")

        closing.expire_overdue(at=TEN + WINDOW)

        assert card_of(request).deadline == TEN + 2 * WINDOW

    def test_the_second_window_ends_when_its_agent_stops_waiting(self, token):
        request = asked(token, "2026-03-02T15:00:00Z")

        closing.expire_overdue(at=TEN + WINDOW)
        assert card_of(request).deadline == TEN + timedelta(hours=5)
        closing.expire_overdue(at=TEN + timedelta(hours=5))

        state = request_state(request, at=TEN + timedelta(hours=5))
        assert state.status == "expired"
        assert state.actions[0].reason.startswith("Nobody answered within 5 h.")


class TestUndo:
    """An undone card gives people five more minutes, but never more than its agent waits."""

    @pytest.fixture
    def policy(self):
        return {"undo_s": 30}

    def undone(self, token, ben, expires_at, *, decided, taken_back):
        row = decide(card_of(asked(token, expires_at)), ben, at=decided).proposal
        return undo(row.pk, actor=ben, at=taken_back)

    @pytest.mark.parametrize(
        ("expires_at", "deadline"),
        [
            ("2026-03-02T10:20:00Z", timedelta(minutes=20)),
            ("2026-03-02T10:22:00+00:00", timedelta(minutes=22)),
            ("2026-03-02T10:26:00Z", timedelta(minutes=26)),
            (None, WINDOW),
        ],
    )
    def test_it_never_lengthens_what_its_agent_waits(self, token, ben, expires_at, deadline):
        late = TEN + timedelta(minutes=19, seconds=50)

        row = self.undone(token, ben, expires_at, decided=late, taken_back=late + timedelta(seconds=5))

        assert (row.state, row.deadline) == ("pending", TEN + deadline)

    @pytest.mark.parametrize(
        ("expires_at", "deadline"),
        [("2026-03-02T14:01:00Z", timedelta(minutes=1)), ("2026-03-02T14:30:00Z", timedelta(minutes=4, seconds=55))],
    )
    def test_at_the_end_of_the_window_it_gives_what_its_agent_still_waits(self, token, ben, expires_at, deadline):
        late = TEN + WINDOW - timedelta(seconds=10)

        row = self.undone(token, ben, expires_at, decided=late, taken_back=late + timedelta(seconds=5))

        assert row.deadline == TEN + WINDOW + deadline

    def test_where_its_agent_has_stopped_waiting_it_expires_and_runs_never(self, token, ben):
        late = TEN + timedelta(minutes=19, seconds=50)
        row = self.undone(token, ben, "2026-03-02T10:20:00Z", decided=late, taken_back=late + timedelta(seconds=20))

        closing.expire_overdue(at=late + timedelta(seconds=21))

        row.refresh_from_db()
        assert (row.state, row.consumed_at) == ("expired", None)
