"""What a policy makes of a proposal: refuse it, allow it, or ask people."""

from datetime import timedelta

import pytest

from apps.agents import actions as agents
from apps.agents.models import AutonomyLevel, KillSwitch
from apps.approvals import errors
from apps.approvals.actions import outbox
from apps.approvals.actions.intake import propose
from apps.approvals.actions.policies import ensure_policy, publish_policy
from apps.approvals.models import ApprovalPolicy, Decision, Proposal, ProposalBody, ResumeOutbox
from apps.approvals.queries import cards, inbox
from tests.factories.approvals import (
    ROUTE_ARGS,
    TEN,
    decide,
    make_action_type,
    make_agent,
    make_policy,
    make_proposal,
    make_request,
    make_version,
)

SURE = {"auto_from_confidence": 0.9}


@pytest.fixture
def desk(team, ada):
    """Make an agent that has earned to act alone at low risk: level auto, budget ok, gates satisfied."""
    agent = make_agent(team, ada)
    kind = make_action_type(agent, risk_class="low", level="auto")
    for report, value in (("budget", "ok"), ("gates", "satisfied")):
        agents.report_standing(agent, kind=report, value=value, as_of=TEN)
    return make_version(agent), kind


def test_a_proposal_waits_for_people_by_default(team, ada):
    row = make_proposal(team, ada, at=TEN)

    assert (row.state, row.version, row.approvals_needed) == ("pending", 1, 1)
    assert row.deadline == TEN + timedelta(hours=4)
    assert row.body.review_reason == "The policy asks a person every time."
    assert not row.outbox.exists()


def test_its_digest_binds_the_policy_and_the_agents_fingerprint(team, ada):
    row = make_proposal(team, ada)

    assert row.digest == row.action.digest
    assert row.digest != row.action.with_fingerprint("sha256:" + "00" * 32).digest


def test_an_action_type_without_a_policy_gets_the_default(team, ada):
    kind = make_action_type(make_agent(team, ada), reversibility="irreversible")

    policy = ensure_policy(kind)

    assert (policy.version, policy.window_s, policy.undo_s, policy.approvals_needed) == (1, 14400, 30, 1)
    assert ensure_policy(kind) == policy


def test_the_same_call_again_is_the_same_proposal(team, ada):
    row = make_proposal(team, ada)
    request = make_request(row.agent_version, row.action_type, thread_id=row.thread_id, tool_call_id=row.tool_call_id)

    again = propose(request, at=TEN)

    assert again.pk == row.pk
    assert Proposal.objects.count() == 1


def test_a_question_that_comes_back_under_a_new_id_keeps_its_proposal(team, ada):
    row = make_proposal(team, ada)
    request = make_request(
        row.agent_version,
        row.action_type,
        thread_id=row.thread_id,
        tool_call_id=row.tool_call_id,
        interrupt_id="f" * 32,
    )

    assert propose(request, at=TEN).interrupt_id == "f" * 32
    row.refresh_from_db()
    assert row.interrupt_id == "f" * 32


def test_a_newer_policy_does_not_make_a_repeated_call_another_one(team, ada):
    row = make_proposal(team, ada)
    make_policy(row.action_type, window_s=60)
    request = make_request(row.agent_version, row.action_type, thread_id=row.thread_id, tool_call_id=row.tool_call_id)

    assert propose(request, at=TEN).pk == row.pk


def test_the_same_call_with_something_else_in_it_is_refused(team, ada):
    row = make_proposal(team, ada)
    request = make_request(
        row.agent_version,
        row.action_type,
        thread_id=row.thread_id,
        tool_call_id=row.tool_call_id,
        args={**ROUTE_ARGS, "queue": "network"},
    )

    with pytest.raises(errors.Conflict):
        propose(request, at=TEN)


def test_arguments_off_the_schema_wake_nobody(team, ada):
    row = make_proposal(team, ada, args={**ROUTE_ARGS, "evil": 1})

    assert row.state == "rejected"
    decision = row.decisions.get()
    assert (decision.by_kind, decision.verdict, decision.final) == ("policy", "reject", True)
    assert "/evil" in row.outbox.get().answer["message"]


def test_what_the_policy_denies_wakes_nobody(team, ada):
    row = make_proposal(team, ada, policy={"conditions": {"deny": {"queue": ["billing"]}}})

    assert row.state == "rejected"
    assert row.outbox.get().answer["type"] == "reject"
    assert "Nothing was executed." in row.outbox.get().answer["message"]


def test_what_json_cannot_hold_exactly_is_refused_at_the_door(team, ada):
    with pytest.raises(errors.BadArgs) as refused:
        make_proposal(team, ada, args={**ROUTE_ARGS, "priority": float("nan")})

    assert (refused.value.status, refused.value.pointer) == (422, "/args/priority")


def test_it_acts_alone_when_it_is_sure_and_has_earned_it(desk):
    version, kind = desk
    make_policy(kind, conditions=SURE, undo_s=15)

    row = propose(make_request(version, kind, confidence=0.95), at=TEN)

    assert (row.state, row.version) == ("queued", 1)
    assert row.execute_after == TEN + timedelta(seconds=15)
    assert row.outbox.get().answer == {"type": "approve"}
    assert row.decisions.get().by_kind == "policy"


@pytest.mark.parametrize(("confidence", "said"), [(0.89, "0.89 is below 0.90"), (None, "does not state how sure")])
def test_it_asks_when_it_is_not_sure(desk, confidence, said):
    version, kind = desk
    make_policy(kind, conditions=SURE)

    row = propose(make_request(version, kind, confidence=confidence), at=TEN)

    assert row.state == "pending"
    assert said in row.body.review_reason


def test_it_asks_when_it_has_not_earned_to_act_alone(desk):
    version, kind = desk
    make_policy(kind, conditions=SURE)
    AutonomyLevel.objects.update(level="approve")

    row = propose(make_request(version, kind, confidence=0.99), at=TEN)

    assert row.state == "pending"
    assert "not yet earned" in row.body.review_reason


@pytest.mark.parametrize("scope", list(KillSwitch.Scope))
def test_any_kill_switch_sends_it_back_to_people(desk, ada, scope):
    version, kind = desk
    make_policy(kind, conditions=SURE)
    switch = KillSwitch.objects.get(scope=scope)
    agents.engage_switch(scope, switch.scope_id, actor=ada, reason="Drill")

    row = propose(make_request(version, kind, confidence=0.99), at=TEN)

    assert row.state == "pending"
    assert "Drill" in row.body.review_reason


def test_a_target_in_an_unknown_system_is_never_written_alone(desk):
    version, kind = desk
    make_policy(kind, conditions=SURE)

    row = propose(make_request(version, kind, confidence=0.99, target="nowhere:x/1"), at=TEN)

    assert row.state == "pending"


def test_a_standing_report_that_is_too_old_means_ask(desk):
    version, kind = desk
    make_policy(kind, conditions=SURE)

    row = propose(make_request(version, kind, confidence=0.99), at=TEN + timedelta(minutes=16))

    assert row.state == "pending"


def test_a_policy_that_cannot_be_evaluated_asks_two_people(team, ada):
    row = make_proposal(team, ada)
    ApprovalPolicy.objects.bulk_create(
        [
            ApprovalPolicy(
                key=row.policy.key,
                version=2,
                name="Broken",
                action_type=row.action_type,
                conditions={"surprise": 1},
                active_from=TEN,
            )
        ]
    )

    second = propose(make_request(row.agent_version, row.action_type), at=TEN)

    assert (second.state, second.approvals_needed) == ("pending", 2)
    assert "cannot be evaluated" in second.body.review_reason


@pytest.mark.parametrize("kind", [{"risk_class": "high"}, {"risk_class": "low", "reversibility": "irreversible"}])
def test_high_risk_and_the_irreversible_want_two_people(team, ada, kind):
    assert make_proposal(team, ada, kind=kind).approvals_needed == 2


def test_every_proposal_is_told_to_the_audit_log_once(team, ada, audit_events):
    row = make_proposal(team, ada)

    assert [event["action"] for event in audit_events(row)] == ["proposal.pending"]


class TestAdvice:
    """R12: below `approve` nothing is executed, whatever anybody says; the thread does not wait for it."""

    def test_what_a_demo_proposes_is_recorded_and_asks_nobody(self, team, ada, ben):
        row = make_proposal(team, ada, agent=make_agent(team, ada, stage="demo"))

        assert (row.kind, row.executable, row.state, row.closed_at) == ("advice", False, "withdrawn", TEN)
        assert inbox.inbox_rows(ben, at=TEN) == []
        assert not row.decisions.exists()

    def test_its_thread_hears_so_at_once(self, team, ada):
        row = make_proposal(team, ada, agent=make_agent(team, ada, stage="demo"))

        answer = outbox.mark_handed(row.outbox.get().pk, at=TEN).answer
        told = "Recorded, not executed: At stage demo the ceiling is “recommend”."
        assert answer == {"type": "reject", "message": told}

    @pytest.mark.parametrize("level", ["shadow", "recommend"])
    def test_the_level_of_the_action_type_counts_as_much_as_the_stage(self, team, ada, level):
        row = make_proposal(team, ada, kind={"level": level})

        assert (row.kind, row.hold_reason) == ("advice", f"Recorded, not executed: Its level is “{level}”.")

    def test_being_sure_does_not_help(self, desk):
        version, kind = desk
        make_policy(kind, conditions=SURE)
        AutonomyLevel.objects.update(level="recommend")

        assert propose(make_request(version, kind, confidence=0.99), at=TEN).state == "withdrawn"

    def test_what_the_policy_refuses_is_refused_all_the_same(self, team, ada):
        row = make_proposal(team, ada, agent=make_agent(team, ada, stage="demo"), args={"evil": 1})

        assert (row.kind, row.executable, row.state) == ("advice", False, "rejected")

    def test_the_log_knows_it_as_advice(self, team, ada, audit_events):
        row = make_proposal(team, ada, agent=make_agent(team, ada, stage="demo"))

        (event,) = audit_events(row)
        assert (event["action"], event["outcome"]) == ("proposal.advised", "withdrawn")
        assert event["actor"] == f"agent:{row.agent_version.agent_id}"
        assert event["payload"]["moves"] == ["T1", "T11"]

    def test_nobody_can_decide_it(self, team, ada, ben):
        row = make_proposal(team, ada, agent=make_agent(team, ada, stage="demo"))

        with pytest.raises(errors.AlreadyDecided):
            decide(row, ben)

    def test_the_same_call_again_is_the_same_advice(self, team, ada):
        row = make_proposal(team, ada, agent=make_agent(team, ada, stage="demo"))
        request = make_request(
            row.agent_version, row.action_type, thread_id=row.thread_id, tool_call_id=row.tool_call_id
        )

        assert propose(request, at=TEN).pk == row.pk

    def test_its_card_says_what_it_is(self, team, ada, ben):
        row = make_proposal(team, ada, agent=make_agent(team, ada, stage="demo"))

        card = cards.card(ben, row.pk, at=TEN)

        assert (card.state_words, card.may_decide, card.review_reason) == ("Recorded, not executed", False, "")
        assert "At stage demo" in card.hold_reason

    def test_an_agent_on_trial_asks_people(self, team, ada):
        row = make_proposal(team, ada, agent=make_agent(team, ada, stage="pilot"))

        assert (row.kind, row.executable, row.state) == ("live", True, "pending")


def test_an_outside_agent_that_floods_is_told_to_wait(team, ada):
    row = make_proposal(team, ada)
    agent = row.agent_version.agent
    agent.max_open = 1

    with pytest.raises(errors.TooMany) as refused:
        propose(make_request(_with(row.agent_version, agent), row.action_type, source="rest"), at=TEN)

    assert (refused.value.status, refused.value.retry_after) == (429, 60)


def test_a_repeat_from_outside_is_answered_even_in_a_flood(team, ada):
    row = make_proposal(team, ada, source="rest", external_id="req-1")
    agent = row.agent_version.agent
    agent.max_open = 1
    request = make_request(
        _with(row.agent_version, agent),
        row.action_type,
        source="rest",
        external_id="req-1",
        thread_id=row.thread_id,
        tool_call_id=row.tool_call_id,
    )

    assert propose(request, at=TEN).pk == row.pk


def test_long_prose_and_much_evidence_are_cut_and_say_so(team, ada):
    row = make_proposal(
        team,
        ada,
        agent_text="x" * 9000,
        evidence=[{"label": "Long", "text": "y" * 30_000, "source": str(number)} for number in range(5)],
    )

    body = ProposalBody.objects.get(proposal=row)
    assert len(body.agent_text) == 4000
    assert [item["label"] for item in body.evidence] == ["Long", "Long", "Left out"]


def test_without_an_interrupt_nobody_is_told_through_the_outbox(team, ada):
    make_proposal(team, ada, args={"evil": 1}, interrupt_id="")

    assert not ResumeOutbox.objects.exists()


class TestPolicies:
    def test_a_change_is_a_new_version(self, team, ada):
        kind = make_action_type(make_agent(team, ada))
        first = make_policy(kind, undo_s=0)

        second = make_policy(kind, undo_s=30)

        assert (first.version, second.version, first.key == second.key) == (1, 2, True)
        first.refresh_from_db()
        assert first.undo_s == 0

    def test_a_version_never_changes(self, team, ada):
        policy = make_policy(make_action_type(make_agent(team, ada)))
        policy.undo_s = 1

        with pytest.raises(Exception, match="Cannot update rows"):
            policy.save()

    def test_conditions_nobody_could_evaluate_are_not_stored(self, team, ada):
        kind = make_action_type(make_agent(team, ada))

        with pytest.raises(errors.BadVerdict):
            publish_policy(kind, conditions={"auto_from_confidence": "high"}, actor="user:1")

    def test_an_open_proposal_keeps_the_version_it_was_made_under(self, team, ada):
        row = make_proposal(team, ada, policy={"window_s": 3600})
        make_policy(row.action_type, window_s=60)

        row.refresh_from_db()

        assert (row.policy.version, row.deadline) == (1, TEN + timedelta(hours=1))


def test_a_decision_row_can_only_be_voided(team, ada):
    make_proposal(team, ada, args={"evil": 1})
    decision = Decision.objects.get()
    decision.verdict = "approve"

    with pytest.raises(Exception, match="Cannot update rows"):
        decision.save()


def _with(version, agent):
    version.agent = agent
    return version
