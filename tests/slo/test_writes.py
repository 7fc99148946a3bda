"""Writes as they really come about: by an agent, by an operator who looked, by a person who closes a case."""

from datetime import timedelta

import pytest

from apps.approvals.actions import execution
from apps.audit.models import AuditEvent
from apps.connectors.models import ActionExecution
from apps.runs.actions.hand_overs import close_hand_over
from apps.runs.errors import NotClosed
from apps.slo.models import Indicator, SliEvent
from tests.factories.accounts import make_member
from tests.factories.approvals import TEN, decide, make_agent, make_proposal
from tests.factories.runs import CUSTOMER, TICKET, make_desk_agent, make_handed_over
from tests.slo.collecting import collect, counted, indicator_of

# The collector reads what has committed, so these tests commit.
pytestmark = pytest.mark.django_db(transaction=True)

LATER = TEN + timedelta(hours=3)
CHOICE = {"queue": "login", "priority": "high", "reply": "We call you."}


def write_back(agent):
    return counted(indicator_of(agent, Indicator.Kind.WRITE_BACK))


def settled_by(row):
    """Return whom the audit log names for how an execution ended."""
    return AuditEvent.objects.filter(action="execution.finished", object=f"execution:{row.pk}").newest_first()[0].actor


class TestReconciled:
    @pytest.fixture
    def agent(self, team, ada):
        return make_agent(team, ada)

    @pytest.fixture
    def unknown(self, team, ada, ben, agent):
        """An approved action whose outcome nobody knows."""
        row = decide(make_proposal(team, ada, agent=agent, policy={"undo_s": 0}), ben).proposal
        started = execution.consume(
            row.pk,
            args=row.args,
            fingerprint=row.agent_version.fingerprint,
            worker="w1",
            state_now={"status": "open"},
            at=TEN,
        )
        execution.record_outcome(row.pk, state="unknown", execution=started, at=TEN)
        return row

    def test_an_unknown_outcome_turns_bad_after_a_wait_and_good_when_it_happened(self, unknown, agent, cora):
        collect()
        after_the_wait = write_back(agent)
        execution.reconcile(unknown.pk, happened=True, note="It is on the desk.", actor=cora, at=LATER)
        collect()

        assert after_the_wait == (0, 1)
        assert write_back(agent) == (1, 1)

    def test_an_unknown_outcome_leaves_the_count_when_it_did_not_happen(self, unknown, agent, cora):
        collect()
        after_the_wait = write_back(agent)
        execution.reconcile(unknown.pk, happened=False, note="It is not there.", actor=cora, at=LATER)
        collect()

        assert after_the_wait == (0, 1)
        assert write_back(agent) == (0, 0)

    @pytest.mark.parametrize(("happened", "reference"), [(True, "desk:tickets/T-1001"), (False, "")])
    def test_the_ledger_says_who_found_out_and_refers_to_what_they_saw(self, unknown, cora, happened, reference):
        execution.reconcile(unknown.pk, happened=happened, note=" I looked. ", actor=cora, at=LATER)

        row = ActionExecution.objects.get()
        assert row.external_ref == reference
        assert row.result == {"reconciled": "I looked.", "by": cora.actor}
        assert settled_by(row) == cora.actor


class TestHandOvers:
    @pytest.fixture
    def agent(self, desk, desk_connector, team, ada):
        desk.load(tickets=[TICKET], customers=[CUSTOMER])
        return make_desk_agent(team, ada)

    @pytest.fixture
    def item(self, agent):
        return make_handed_over(agent)[0]

    @pytest.fixture
    def unclear(self, item, ben, desk, desk_connector):
        """A case whose closing was written while the answer got lost."""
        desk_connector.is_idempotent = False
        desk_connector.save(update_fields=["is_idempotent"])
        desk.stop()
        desk.start(faults="drop_after_write:1")
        with pytest.raises(NotClosed, match="may or may not"):
            close_hand_over(item, **CHOICE, actor=ben)
        desk.stop()
        desk.start()
        return item

    def test_what_a_person_writes_is_not_counted_as_the_agents(self, item, agent, ben):
        close_hand_over(item, **CHOICE, actor=ben)
        collect()

        assert ActionExecution.objects.get().state == "done"
        assert write_back(agent) == (0, 0)
        assert not SliEvent.objects.exists()

    def test_what_a_person_left_unclear_is_not_counted_as_the_agents(self, unclear, agent):
        ActionExecution.objects.update(started_at=TEN)

        collect()

        assert ActionExecution.objects.get().state == "unknown"
        assert write_back(agent) == (0, 0)
        assert not SliEvent.objects.exists()

    def test_a_closed_case_keeps_the_reference_that_the_system_gave(self, item, ben, desk):
        close_hand_over(item, **CHOICE, actor=ben)

        assert ActionExecution.objects.get().external_ref == f"tickets/T-1@{desk.ticket('T-1')['version']}"

    def test_a_write_found_by_looking_refers_to_its_target(self, unclear, ben):
        close_hand_over(unclear, **CHOICE, actor=ben)

        row = ActionExecution.objects.get()
        assert (row.state, row.external_ref) == ("done", "desk:tickets/T-1")

    def test_an_earlier_write_that_happened_is_settled_by_whoever_closes_the_case(self, unclear, ben, team):
        kim = make_member(team, "reviewer", name="Kim")

        close_hand_over(unclear, **CHOICE | {"queue": "printing"}, actor=kim)

        earlier, later = ActionExecution.objects.order_by("pk")
        assert (earlier.state, earlier.external_ref) == ("done", "desk:tickets/T-1")
        assert (later.state, later.external_ref[:12]) == ("done", "tickets/T-1@")
        assert settled_by(earlier) == kim.actor
