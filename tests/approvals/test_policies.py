"""A policy at work: at intake, at an edit, when it is consumed; and how a version is published."""

import json
from datetime import timedelta

import pytest
from django.db import connection

from apps.accounts.models import Role
from apps.agents import actions as agents
from apps.agents.models import KillSwitch
from apps.approvals import errors
from apps.approvals.actions import outbox
from apps.approvals.actions.execution import consume
from apps.approvals.actions.intake import propose
from apps.approvals.actions.policies import publish_policy
from apps.approvals.models import ApprovalPolicy
from apps.approvals.queries import cards
from tests.factories.accounts import make_member
from tests.factories.approvals import (
    TEN,
    decide,
    make_action_type,
    make_agent,
    make_policy,
    make_proposal,
    make_request,
    make_version,
)
from tests.factories.policies import rule

pytestmark = pytest.mark.django_db

REFUND = {
    "type": "object",
    "required": ["amount", "currency"],
    "properties": {
        "amount": {"type": "number", "title": "Amount"},
        "currency": {"type": "string", "enum": ["EUR", "USD"]},
        "note": {"type": "string"},
    },
}
DEAR = rule("args.amount", ">=", 100, "two", "Refunds from 100 EUR need two people.")
ABSURD = rule("args.amount", ">", 10000, "deny", "Nobody refunds that much here.")
KIND = {
    "key": "payments.refund",
    "name": "Refund",
    "args_schema": REFUND,
    "editable_fields": ["amount", "note"],
    "materiality": {"amount": 1},
    "watch_fields": [],
    "consequence": "Approving sends {amount} {currency}.",
}
SMALL = {"amount": 40.0, "currency": "EUR"}


def refund(team, owner, amount=40.0, *, rules=(DEAR, ABSURD), **fields):
    conditions = {"rules": list(rules), **fields.pop("conditions", {})}
    policy = {"conditions": conditions, "undo_s": 0, **fields.pop("policy", {})}
    args = fields.pop("args", {**SMALL, "amount": amount})
    return make_proposal(team, owner, kind=KIND, policy=policy, args=args, **fields)


def edit(row, actor, **args):
    return decide(row, actor, "edit", args={**row.args, **args})


@pytest.fixture
def kim(team):
    return make_member(team, Role.REVIEWER, name="Kim")


class TestIntake:
    def test_a_rule_asks_two_people_and_the_card_says_which(self, team, ada, ben):
        row = refund(team, ada, 100)

        assert (row.state, row.approvals_needed) == ("pending", 2)
        card = cards.card(ben, row.pk)
        assert card.review_reason == "Rule 1: Refunds from 100 EUR need two people."
        assert card.policy_key == row.policy.key

    def test_where_no_rule_holds_one_person_is_asked(self, team, ada):
        row = refund(team, ada, 99.99)

        assert (row.approvals_needed, row.body.review_reason) == (1, "The policy asks a person every time.")

    def test_a_rule_refuses_and_tells_the_agent_why(self, team, ada):
        row = refund(team, ada, 10001)

        assert row.state == "rejected"
        told = "Refused by policy Refund v1: Rule 2: Nobody refunds that much here. Nothing was executed."
        assert row.outbox.get().answer == {"type": "reject", "message": told}
        assert row.decisions.get().reason == "Rule 2: Nobody refunds that much here."

    def test_what_a_rule_cannot_judge_two_people_decide(self, team, ada):
        row = refund(team, ada, rules=[rule("args.note", "contains", "urgent", "deny")])

        assert (row.state, row.approvals_needed) == ("pending", 2)
        assert row.body.review_reason == "Rule 1 cannot be judged: note is missing. So two people decide."

    @pytest.fixture
    def earned(self, team, ada):
        agent = make_agent(team, ada)
        kind = make_action_type(agent, **{**KIND, "risk_class": "low", "level": "auto"})
        for report, value in (("budget", "ok"), ("gates", "satisfied")):
            agents.report_standing(agent, kind=report, value=value, as_of=TEN)
        small = rule("args.amount", "<", 50, "alone", "Small refunds may run alone.")
        make_policy(kind, conditions={"auto_from_confidence": 0.9, "rules": [small, DEAR]})
        version = make_version(agent)

        def ask(amount, confidence=0.95):
            request = make_request(version, kind, args={**SMALL, "amount": amount}, confidence=confidence)
            return propose(request, at=TEN)

        return ask

    def test_a_rule_lets_what_has_earned_it_run_alone(self, earned):
        row = earned(40)

        assert (row.state, row.approvals_given) == ("queued", 0)
        assert row.decisions.get().reason == "Rule 1: Small refunds may run alone."

    @pytest.mark.parametrize(
        ("amount", "confidence", "needed", "why"),
        [
            (50, 0.95, 1, "No rule lets this one run alone."),
            (100, 0.95, 2, "Rule 2: Refunds from 100 EUR need two people."),
            (40, 0.89, 1, "Its confidence 0.89 is below 0.90."),
        ],
    )
    def test_all_else_asks_people(self, earned, amount, confidence, needed, why):
        row = earned(amount, confidence)

        assert (row.state, row.approvals_needed, row.body.review_reason) == ("pending", needed, why)

    def test_a_kill_switch_still_stops_what_a_rule_lets_through(self, earned, ada):
        agents.engage_switch(KillSwitch.Scope.ALL, 0, actor=ada, reason="Drill")

        assert "Drill" in earned(40).body.review_reason


class TestEdit:
    def test_an_edit_may_now_need_two_people(self, team, ada, ben, kim):
        row = refund(team, ada)

        edited = edit(row, ben, amount=250.0).proposal

        assert (edited.state, edited.approvals_given, edited.approvals_needed) == ("pending", 1, 2)
        edited.refresh_from_db()
        assert cards.card(kim, edited.pk).review_reason == "Rule 1: Refunds from 100 EUR need two people."
        assert decide(edited, kim).proposal.state == "queued"

    def test_its_editor_is_not_the_second_person(self, team, ada, ben):
        edited = edit(refund(team, ada), ben, amount=250.0).proposal

        again = decide(edited, ben)

        assert (again.replayed, again.proposal.approvals_given) == (True, 1)

    def test_an_edit_that_the_policy_refuses_is_named_by_its_field(self, team, ada, ben):
        row = refund(team, ada)

        with pytest.raises(errors.BadArgs) as refused:
            edit(row, ben, amount=20000.0)

        assert (refused.value.code, refused.value.pointer) == ("policy_denies", "/amount")
        assert "Nobody refunds that much here." in refused.value.message
        row.refresh_from_db()
        assert (row.state, row.args) == ("pending", SMALL)

    def test_an_edit_that_would_need_fewer_people_does_not_lower_what_was_asked(self, team, ada, ben):
        row = refund(team, ada, 100)

        edited = edit(row, ben, amount=40.0).proposal

        assert (edited.state, edited.approvals_given, edited.approvals_needed) == ("pending", 1, 2)

    def test_an_edit_that_a_rule_cannot_judge_needs_two_people(self, team, ada, ben):
        guarded = rule("args.note", "contains", "urgent", "deny")
        row = refund(team, ada, rules=[guarded], args={**SMALL, "note": "please"})

        args = {name: value for name, value in row.args.items() if name != "note"}
        edited = decide(row, ben, "edit", args=args).proposal

        assert (edited.state, edited.approvals_needed) == ("pending", 2)

    def test_a_rule_may_watch_what_people_change(self, team, ada, ben):
        row = refund(team, ada, rules=[rule("args.amount", "changed", then="two", why="A changed amount needs two.")])

        assert row.approvals_needed == 1
        assert edit(row, ben, amount=39.0).proposal.approvals_needed == 2

    def test_another_field_may_be_changed_freely(self, team, ada, ben):
        row = refund(team, ada, rules=[rule("args.amount", "changed", then="two")])

        assert edit(row, ben, note="Sorry").proposal.state == "queued"

    def test_two_approvals_of_another_version_of_it_do_not_count(self, team, ada, ben, kim):
        row = edit(refund(team, ada), ben, amount=250.0).proposal

        again = edit(row, kim, amount=300.0).proposal

        assert (again.approvals_given, again.approvals_needed, again.state) == (1, 2, "pending")


class TestConsume:
    def run(self, row):
        given = {"args": row.args, "fingerprint": row.agent_version.fingerprint}
        outbox.mark_handed(row.outbox.get(state="new").pk, at=TEN)
        return consume(row.pk, worker="w", at=TEN, **given)

    @pytest.mark.parametrize(
        ("newer", "says"),
        [
            ([rule("args.amount", ">", 10, "deny", "Too much.")], "now refuses this. Rule 1: Too much."),
            ([rule("args.amount", ">", 10, "two")], "now wants more approvals. Rule 1: two people decide."),
            ([rule("args.note", "=", "x", "two")], "now wants more approvals. Rule 1 cannot be judged"),
        ],
    )
    def test_the_rules_of_now_may_stop_it(self, team, ada, ben, newer, says):
        row = decide(refund(team, ada), ben).proposal
        make_policy(row.action_type, conditions={"rules": newer})

        with pytest.raises(errors.NotConsumable, match=says):
            self.run(row)

    def test_two_approvals_satisfy_a_newer_rule_that_wants_two(self, team, ada, ben, kim):
        row = decide(refund(team, ada, 100), ben).proposal
        row = decide(row, kim).proposal
        make_policy(row.action_type, conditions={"rules": [rule("args.amount", ">", 10, "two")]})

        assert self.run(row).state == "started"

    def test_a_rule_of_now_that_would_let_it_run_alone_changes_nothing(self, team, ada, ben):
        row = decide(refund(team, ada), ben).proposal
        make_policy(row.action_type, conditions={"rules": [rule("args.amount", ">", 10, "alone")]})

        assert self.run(row).state == "started"


def _published():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT header, payload FROM audit_auditevent WHERE action = 'policy.published' ORDER BY id DESC LIMIT 1"
        )
        header, payload = cursor.fetchone()
    return json.loads(header), json.loads(payload)


class TestPublishing:
    @pytest.fixture
    def kind(self, team, ada):
        agent = make_agent(team, ada)
        make_version(agent)
        return make_action_type(agent, **KIND)

    def test_a_version_keeps_who_published_it_and_why(self, kind, ada):
        row = publish_policy(kind, conditions={"rules": [DEAR]}, note="Refunds got dearer.", actor=ada.actor, at=TEN)

        assert (row.version, row.author, row.note, row.active_from) == (1, ada.actor, "Refunds got dearer.", TEN)

    def test_the_log_knows_all_of_it(self, kind, ada):
        row = publish_policy(kind, conditions={"rules": [DEAR]}, note="Why", actor=ada.actor, at=TEN)

        header, payload = _published()
        assert (header["actor"], header["object"]) == (ada.actor, f"policy:{row.key}@1")
        assert payload["conditions"] == {"rules": [DEAR]}
        assert payload["note"] == "Why"

    def test_calls_come_at_half_and_four_fifths_of_the_window_unless_it_says_otherwise(self, kind):
        usual = [{"at": 0.5, "to": "on_duty"}, {"at": 0.8, "to": "lead"}]

        assert publish_policy(kind, actor="system").escalation == usual
        assert publish_policy(kind, actor="system", escalation=[]).escalation == []

    @pytest.mark.parametrize(
        ("fields", "pointer"),
        [
            ({"conditions": {"rules": [{"when": [], "then": "deny"}]}}, "/conditions"),
            ({"conditions": {"rules": [rule("args.amonut", ">", 1)]}}, "/conditions"),
            ({"conditions": {"deny": {"amonut": [1]}}}, "/conditions"),
            ({"conditions": {"rules": [rule("args.note", "in", ["x" * 190] * 150)]}}, "/conditions"),
            ({"approvals_needed": 0}, "/approvals_needed"),
            ({"approvals_needed": 6}, "/approvals_needed"),
            ({"window_s": 59}, "/window_s"),
            ({"window_s": 30 * 86400 + 1}, "/window_s"),
            ({"undo_s": -1}, "/undo_s"),
            ({"undo_s": 301}, "/undo_s"),
            ({"on_expiry": "approve"}, "/on_expiry"),
            ({"note": "x" * 301}, "/note"),
            ({"escalation": [{"at": 1.5, "to": "lead"}]}, "/escalation"),
            ({"escalation": [{"at": 0.5, "to": "cousin"}]}, "/escalation"),
            ({"approvers": [0]}, "/approvers"),
            ({"approvers": [999_999]}, "/approvers"),
        ],
    )
    def test_what_nobody_could_follow_is_refused_by_its_place(self, kind, fields, pointer):
        with pytest.raises(errors.BadVerdict) as refused:
            publish_policy(kind, actor="user:1", **fields)

        assert (refused.value.code, refused.value.status, refused.value.pointer) == ("bad_policy", 422, pointer)
        assert not ApprovalPolicy.objects.exists()

    def test_only_reviewers_of_the_team_can_be_named(self, kind, ben, cora, eve):
        assert publish_policy(kind, approvers=[ben.pk], actor="user:1").approvers == {"people": [ben.pk]}
        for outside in (cora, eve):
            with pytest.raises(errors.BadVerdict, match="Only reviewers of the team"):
                publish_policy(kind, approvers=[ben.pk, outside.pk], actor="user:1")

    @pytest.mark.parametrize("fields", [{"approvals_needed": 2}, {"conditions": {"rules": [DEAR]}}])
    def test_there_must_be_as_many_names_as_it_can_ask_for(self, kind, ben, kim, fields):
        with pytest.raises(errors.BadVerdict, match="name at least 2"):
            publish_policy(kind, approvers=[ben.pk], actor="user:1", **fields)

        assert publish_policy(kind, approvers=[ben.pk, kim.pk], actor="user:1", **fields).version == 1

    def test_the_agents_owner_does_not_count_among_them(self, kind, ada, ben):
        ada.memberships.create(team=kind.agent.team, role=Role.REVIEWER)

        with pytest.raises(errors.BadVerdict, match="do not count"):
            publish_policy(kind, approvers=[ada.pk, ben.pk], approvals_needed=2, actor="user:1")

    def test_a_draft_of_an_older_version_is_not_published_over_a_newer_one(self, kind):
        publish_policy(kind, actor="user:1", based_on=0)

        with pytest.raises(errors.Conflict, match="Version 1 was published while you wrote"):
            publish_policy(kind, actor="user:2", based_on=0)
        assert publish_policy(kind, actor="user:2", based_on=1).version == 2

    def test_an_open_card_keeps_the_rules_it_was_made_under(self, team, ada, ben):
        row = refund(team, ada, 250)
        make_policy(row.action_type, window_s=60)

        row.refresh_from_db()
        assert (row.policy.version, row.approvals_needed, row.deadline) == (1, 2, TEN + timedelta(hours=4))
        with pytest.raises(errors.BadArgs):
            edit(row, ben, amount=20000.0)
