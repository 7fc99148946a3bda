"""Which rows the numbers behind gates count, and whose word does not."""

from datetime import timedelta

import pytest

from apps.accounts.models import Role
from apps.approvals.actions import undoing
from apps.approvals.models import Decision, Proposal
from apps.programs.domain.states import Verdict
from apps.programs.metrics import is_measured, read_gate
from tests.factories.accounts import make_member
from tests.factories.approvals import decide, make_action_type, make_agent, make_proposal, make_version
from tests.factories.programs import NOW, gate, make_program

pytestmark = pytest.mark.django_db

BARS = {"low": 0.9, "medium": 0.9}
FEW = {"low": 2, "medium": 2}
RATE = {"metric": "unedited_approval_rate_lower_bound_95", "op": ">=", "value": BARS, "min_n": FEW, "window_days": 28}
PER_CLASS, PER_TYPE = {**RATE, "per": "risk_class"}, {**RATE, "per": "action_type"}
MINUTES = {"metric": "p90_minutes_to_decision", "op": "<=", "value": 240, "min_n": 1, "window_days": 28}


@pytest.fixture
def agent(team, ada):
    row = make_agent(team, ada, name="Refund agent")
    make_action_type(row)
    make_version(row)
    return row


@pytest.fixture
def program(agent, dev):
    return make_program(agent, dev)


@pytest.fixture
def asked(team, ada, agent):
    """Let the agent propose, so many minutes before the decision; of another kind if one is given."""

    def make(*, minutes=10, action_type=None):
        row = make_proposal(team, ada, agent=agent, at=NOW - timedelta(minutes=minutes))
        if action_type is not None:
            Proposal.objects.filter(pk=row.pk).update(action_type=action_type)
        return row

    return make


def read(program, criterion):
    measured = gate(program, "ML-04")
    measured.criterion = criterion
    return read_gate(measured, at=NOW + timedelta(hours=1))


def test_the_approval_rate_counts_what_people_decided_for_good(program, asked, ben):
    decide(asked(), ben, at=NOW)
    decide(asked(), ben, "reject", at=NOW)

    found = read(program, PER_CLASS)

    assert (found.cases, found.failures) == (2, 1)


@pytest.mark.parametrize("who", ["author", "owner"])
def test_who_wrote_the_version_or_owns_the_agent_does_not_vouch_for_it(program, agent, team, asked, ada, ben, who):
    author = make_member(team, Role.REVIEWER, name="Author")
    make_version(agent, author=author)
    decide(asked(), ben, at=NOW)
    # The inbox refuses it; a row that came another way must not count either.
    actor = {"author": author, "owner": ada}[who]
    Decision.objects.create(
        proposal=asked(), verdict="reject", by_kind="person", actor=actor, digest="sha256:0", decided_at=NOW
    )

    found = read(program, PER_CLASS)

    assert (found.cases, found.failures) == (1, 0)


def test_a_type_that_only_its_author_decided_is_in_use_without_a_case(program, agent, asked, ada):
    Decision.objects.create(
        proposal=asked(), verdict="approve", by_kind="person", actor=ada, digest="sha256:0", decided_at=NOW
    )

    found = read(program, PER_TYPE)

    assert (found.verdict, found.text) == (Verdict.UNKNOWN, "tickets.route: 0 of 2 cases so far; 0 failed.")


def test_neither_number_counts_a_drill_or_what_was_taken_back(program, asked, ben):
    drill = decide(asked(minutes=200), ben, "reject", at=NOW).proposal
    Proposal.objects.filter(pk=drill.pk).update(kind=Proposal.Kind.DRILL, executable=False)
    undoing.undo(decide(asked(minutes=220), ben, at=NOW).proposal.pk, actor=ben, at=NOW)
    decide(asked(minutes=10), ben, at=NOW)

    rate, minutes = read(program, PER_CLASS), read(program, MINUTES)

    assert (rate.cases, minutes.cases, minutes.value) == (1, 1, 10.0)


class TestSeveralKinds:
    """Sixty good routes, and three closes of which two were wrong."""

    @pytest.fixture(autouse=True)
    def month(self, agent, asked, ben):
        self.close = make_action_type(agent, key="tickets.close", name="Close a ticket")
        for _ in range(60):
            decide(asked(), ben, at=NOW)
        for verdict in ("approve", "reject", "reject"):
            decide(asked(action_type=self.close), ben, verdict, at=NOW)

    def test_a_class_pools_its_types(self, program):
        found = read(program, PER_CLASS)

        assert (found.verdict, found.cases, found.failures) == (Verdict.PASS, 63, 2)
        assert found.text.startswith("Medium risk: 2 of 63 failed")

    def test_each_type_must_pass_by_itself(self, program):
        found = read(program, PER_TYPE)

        assert (found.verdict, found.cases, found.failures) == (Verdict.FAIL, 3, 2)
        assert found.text.startswith("tickets.close: 2 of 3 failed")

    def test_a_type_is_judged_at_the_bar_of_its_class(self, program):
        type(self.close).objects.filter(pk=self.close.pk).update(risk_class="low")

        found = read(program, {**PER_TYPE, "value": {"low": 0.01, "medium": 0.9}})

        assert found.verdict is Verdict.PASS

    def test_a_class_without_a_bar_is_skipped_and_never_passes_alone(self, program):
        type(self.close).objects.filter(pk=self.close.pk).update(risk_class="high")

        skipped = read(program, PER_TYPE)
        alone = read(program, {**PER_TYPE, "value": {}})

        assert (skipped.verdict, skipped.cases) == (Verdict.PASS, 60)
        assert alone.verdict is Verdict.UNKNOWN


def test_a_number_without_a_reader_is_unknown_and_known_to_be(program):
    audits, approvals = gate(program, "ML-05"), gate(program, "ML-04")

    assert (is_measured(audits), is_measured(approvals)) == (False, True)
    assert read_gate(audits, at=NOW).text == "Wrong action rate upper bound 95 is not measured yet."


def test_a_number_is_not_measured_while_one_of_its_parts_is_not(program):
    assert not is_measured(gate(program, "OPS-05"))
