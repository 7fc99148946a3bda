"""Many actors do whatever they like, in any order and at any time; whatever they do, the rules of the table hold."""

from datetime import timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from apps.accounts.access import Forbidden
from apps.accounts.models import Role
from apps.agents import actions as agents
from apps.agents.models import KillSwitch
from apps.approvals import checking, errors
from apps.approvals.actions import claims, closing, escalating, execution, snoozing, undoing
from apps.approvals.actions.intake import propose
from apps.approvals.actions.verdicts import decide_proposal
from apps.approvals.domain import states
from apps.approvals.models import Decision, Proposal
from apps.connectors.models import ActionExecution
from tests.factories.accounts import make_member, make_team
from tests.factories.approvals import TEN, make_action_type, make_agent, make_policy, make_request, make_version

pytestmark = pytest.mark.django_db

# What may happen between two looks: the table's moves one after the other.
REFUSALS = (errors.Refused, Forbidden)
VERDICTS = ("approve", "edit", "reject", "respond", "ask", "nonsense")
MOST = 6
AGENT = KillSwitch.Scope.AGENT


class Inbox(RuleBasedStateMachine):
    """One team with one agent and three kinds of action; four people, an executor, a clock and a kill switch."""

    @initialize()
    def open_the_house(self):
        self.savepoint = transaction.atomic()
        self.savepoint.__enter__()
        self.now = TEN
        team = make_team()
        owner = make_member(team, Role.AGENT_OWNER)
        self.people = [
            make_member(team, Role.REVIEWER),
            make_member(team, Role.REVIEWER),
            make_member(team, Role.OPERATOR),
            make_member(make_team(), Role.REVIEWER),
            owner,
        ]
        agent = make_agent(team, owner)
        self.version = make_version(agent)
        self.kinds = [
            make_action_type(agent, key=f"tickets.{risk}", risk_class=risk, watch_fields=["status"], allow_respond=True)
            for risk in ("low", "medium", "high")
        ]
        for kind in self.kinds:
            make_policy(
                kind, undo_s=5, window_s=3600, on_expiry="extend_once" if kind.risk_class == "low" else "expire"
            )
        self.switch = KillSwitch.objects.get(scope=KillSwitch.Scope.AGENT, scope_id=agent.pk)
        self.seen = {}

    def teardown(self):
        if hasattr(self, "savepoint"):
            transaction.set_rollback(True)
            self.savepoint.__exit__(None, None, None)

    def rows(self):
        return list(Proposal.objects.order_by("pk"))

    def tried(self, verb):
        """Do it as a door would: what was written before a refusal stays, as each verb is its own transaction."""
        try:
            return verb()
        except REFUSALS:
            return None

    # What agents do

    @rule(kind=st.integers(0, 2))
    def an_agent_proposes(self, kind):
        if len(self.seen) < MOST:
            row = propose(make_request(self.version, self.kinds[kind]), at=self.now)
            self.seen[row.pk] = row.state

    @rule(which=st.integers(0, MOST))
    def an_agent_withdraws(self, which):
        if row := self.one(which):
            self.tried(lambda: closing.withdraw(row.pk, reason="It was cancelled.", actor="agent:1", at=self.now))

    # What people do

    @rule(
        which=st.integers(0, MOST),
        who=st.integers(0, 4),
        verdict=st.sampled_from(VERDICTS),
        is_stale=st.booleans(),
        queue=st.sampled_from(["network", "accounts", "evil"]),
        confirm=st.sampled_from(["T-1001", "40", None]),
    )
    def a_person_decides(self, which, who, verdict, is_stale, queue, confirm):
        if row := self.one(which):
            self.tried(
                lambda: decide_proposal(
                    row.pk,
                    verdict=verdict,
                    version=row.version - is_stale,
                    digest=row.digest,
                    args={**row.args, "queue": queue} if verdict == "edit" else None,
                    reason="They said so." if verdict not in {"approve", "edit"} else "",
                    actor=self.people[who],
                    confirm=confirm,
                    signed_in_at=self.now,
                    at=self.now,
                )
            )

    @rule(which=st.integers(0, MOST), who=st.integers(0, 4))
    def a_person_claims(self, which, who):
        if row := self.one(which):
            self.tried(lambda: claims.claim(row.pk, actor=self.people[who], at=self.now))

    @rule(which=st.integers(0, MOST), who=st.integers(0, 4))
    def a_person_releases(self, which, who):
        if row := self.one(which):
            self.tried(lambda: claims.release(row.pk, actor=self.people[who], at=self.now))

    @rule(which=st.integers(0, MOST), who=st.integers(0, 4))
    def a_person_undoes(self, which, who):
        if row := self.one(which):
            self.tried(lambda: undoing.undo(row.pk, actor=self.people[who], at=self.now))

    @rule(which=st.integers(0, MOST), who=st.integers(0, 4))
    def a_person_escalates(self, which, who):
        if row := self.one(which):
            self.tried(lambda: escalating.escalate(row.pk, actor=self.people[who], at=self.now))

    @rule(which=st.integers(0, MOST), who=st.integers(0, 4))
    def a_person_snoozes(self, which, who):
        if row := self.one(which):
            self.tried(
                lambda: snoozing.snooze(row.pk, length=timedelta(minutes=10), actor=self.people[who], at=self.now)
            )

    @rule(which=st.integers(0, MOST), who=st.integers(0, 4), happened=st.booleans())
    def a_person_reconciles(self, which, who, happened):
        if row := self.one(which):
            note = "The desk shows it."
            self.tried(
                lambda: execution.reconcile(row.pk, happened=happened, note=note, actor=self.people[who], at=self.now)
            )

    @rule(engage=st.booleans())
    def a_person_uses_the_kill_switch(self, engage):
        operator = self.people[2]
        if engage:
            self.tried(
                lambda: agents.engage_switch(AGENT, self.switch.scope_id, reason="Something is off.", actor=operator)
            )
        else:
            self.tried(lambda: agents.release_switch(AGENT, self.switch.scope_id, reason="It is over.", actor=operator))

    # What workers and the clock do

    @rule(
        which=st.integers(0, MOST),
        change=st.sampled_from(["none", "none", "none", "args", "fingerprint", "target", "unread"]),
    )
    def a_worker_executes(self, which, change):
        row = self.one(which)
        if row is None:
            return
        decided = Decision.objects.filter(proposal=row, final=True, voided_at__isnull=True).first()
        state_now = {"unread": None, "target": {"status": "closed"}}.get(change, {"status": "open"})
        granted = self.tried(
            lambda: execution.consume(
                row.pk,
                args={**row.args, "queue": "accounts", "reply": "Altered."} if change == "args" else row.args,
                fingerprint="sha256:0" if change == "fingerprint" else self.version.fingerprint,
                worker="worker-1",
                state_now=state_now,
                at=self.now,
            )
        )
        if granted is not None:
            assert change in {"none", "unread"}
            assert change == "none" or row.risk_class == "low"
            assert row.state == states.QUEUED
            assert decided is not None
            assert decided.verdict in {"approve", "edit"}
            assert decided.digest == row.digest
            assert row.execute_after <= self.now < row.valid_until
            assert not KillSwitch.objects.get(pk=self.switch.pk).engaged

    @rule(which=st.integers(0, MOST), state=st.sampled_from([states.SUCCEEDED, states.FAILED, states.UNKNOWN]))
    def a_worker_tells_the_outcome(self, which, state):
        if row := self.one(which):
            ledger = execution.execution_of(row)
            self.tried(lambda: execution.record_outcome(row.pk, state=state, execution=ledger, at=self.now))

    @rule(seconds=st.sampled_from([1, 6, 40, 290, 900, 1_800, 3_600]))
    def time_passes(self, seconds):
        self.now += timedelta(seconds=seconds)

    @rule()
    def the_clock_sweeps(self):
        closing.expire_overdue(at=self.now)
        closing.expire_unexecuted(at=self.now)
        claims.release_stale_claims(at=self.now)
        escalating.escalate_due(at=self.now)

    def one(self, which):
        rows = self.rows()
        return rows[which % len(rows)] if rows else None

    # What must always hold

    @invariant()
    def nothing_is_lost(self):
        if hasattr(self, "seen"):
            assert set(self.seen) == {row.pk for row in self.rows()}

    @invariant()
    def every_step_is_in_the_table(self):
        for row in self.rows() if hasattr(self, "seen") else ():
            before = self.seen[row.pk]
            assert row.state == before or _leads(before, row.state), f"{before} to {row.state}"
            self.seen[row.pk] = row.state

    @rule()
    def rows_decisions_answers_ledger_and_log_agree(self):
        assert list(checking.mismatches()) == []

    @invariant()
    def nothing_ran_twice_or_without_consent(self):
        for row in self.rows() if hasattr(self, "seen") else ():
            ran = ActionExecution.objects.filter(proposal_id_value=row.pk).count()
            assert ran <= 1
            if ran:
                people = set(
                    Decision.objects.filter(
                        proposal=row, voided_at__isnull=True, verdict__in=["approve", "edit"]
                    ).values_list("actor", flat=True)
                )
                assert len(people) >= row.approvals_needed
                assert people <= {self.people[0].pk, self.people[1].pk}


def _leads(source, target):
    """Say whether two states are one change apart, or two where one verb makes both: an ended lease is given back first."""
    edges = states.edges()
    return (source, target) in edges or any(
        (source, middle) in edges and (middle, target) in edges for middle in states.OPEN
    )


def test_whatever_people_agents_workers_and_the_clock_do_the_rules_hold():
    run_state_machine_as_test(
        Inbox,
        settings=settings(
            max_examples=15,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
