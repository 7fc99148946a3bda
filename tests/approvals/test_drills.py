"""R17: planted cards with one known fault. They look like any other, never run, and are told of after the verdict."""

import json
import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from apps.accounts.models import Role
from apps.agents.actions import engage_switch
from apps.agents.models import KillSwitch
from apps.approvals import checking
from apps.approvals.actions import closing, drills, verdicts
from apps.approvals.actions.drills import NothingToPlant, plant_drill
from apps.approvals.actions.escalating import escalate, escalate_due
from apps.approvals.domain.edit import changed_fields
from apps.approvals.models import Decision, Drill, Notice, Proposal, Vigilance
from apps.approvals.queries import cards, history, inbox
from apps.approvals.queries.drills import drills_page, pace_of_agents
from apps.approvals.queries.rules import load
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from apps.slo import queries as slo
from tests.factories.accounts import make_member
from tests.factories.approvals import TEN, decide, make_policy, make_proposal
from tests.factories.attention import REFUND, make_case, make_refund_agent
from tests.factories.notices import make_channel

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
LATER = TEN + timedelta(hours=1)


@pytest.fixture
def agent(team, ada):
    return make_refund_agent(team, ada)


@pytest.fixture
def case(agent, ben):
    return make_case(agent, ben)


@pytest.fixture
def drill(agent, case):
    return plant_drill(agent, mutation="amount", seed=1, actor="timer", at=LATER)


def planted(agent, mutation="amount", *, at=LATER, seed=1):
    return plant_drill(agent, mutation=mutation, seed=seed, actor="timer", at=at).proposal


def told(action):
    return [json.loads(event.payload) for event in AuditEvent.objects.filter(action=action).order_by("id")]


class TestPlanting:
    def test_it_is_a_real_case_with_one_argument_wrong_and_never_executable(self, drill, case):
        row = drill.proposal

        assert (row.kind, row.state, row.executable, row.interrupt_id) == ("drill", "pending", False, "")
        assert row.thread_id.startswith("drill:")
        assert changed_fields(case.args, row.args) == ["amount"]
        assert (row.args["amount"], drill.fault_path) == (400.0, "/amount")
        assert row.digest == row.action.digest != case.digest

    def test_what_is_said_of_it_goes_with_the_fault_and_the_evidence_stays_true(self, drill, case):
        body = drill.proposal.body

        assert drill.proposal.title == "Refund 400.0 to C-77"
        assert body.consequence == "Approving sends 400.0 EUR to C-77; desk:tickets/T-1001 is told."
        assert body.state_if_approved == {"refunded": 400.0}
        assert body.agent_text == "The parcel was late, so 400.0 goes back."
        assert body.evidence == case.body.evidence

    @pytest.mark.parametrize("mutation", ["amount", "recipient", "injection"])
    def test_each_mutation_can_be_asked_for(self, agent, case, mutation):
        assert plant_drill(agent, mutation=mutation, seed=1, actor="timer", at=LATER).mutation == mutation

    def test_a_broken_clause_is_planted_although_the_policy_would_refuse_it(self, agent, case):
        make_policy(agent.action_types.get(), conditions={"deny": {"reason": ["other"]}})

        assert planted(agent, "policy").args["reason"] == "other"

    def test_any_other_fault_that_the_policy_refuses_never_reaches_people(self, agent, case):
        make_policy(agent.action_types.get(), conditions={"deny": {"amount": [400.0]}})

        with pytest.raises(NothingToPlant):
            planted(agent)

    def test_the_same_seed_plants_the_same_fault(self, agent, ben):
        for number in range(3):
            make_case(agent, ben, at=TEN + timedelta(minutes=number))

        with transaction.atomic():
            first = plant_drill(agent, seed=7, actor="timer", at=LATER)
            said = (first.original_id, first.mutation, first.fault_path, first.proposal.args)
            transaction.set_rollback(True)
        again = plant_drill(agent, seed=7, actor="timer", at=LATER)

        assert (again.original_id, again.mutation, again.fault_path, again.proposal.args) == said

    def test_a_case_is_planted_once(self, agent, drill):
        with pytest.raises(NothingToPlant):
            planted(agent)

    @pytest.mark.parametrize("verdict", ["reject", "ask"])
    def test_what_was_not_approved_is_no_case(self, agent, ben, team, ada, verdict):
        decide(make_proposal(team, ada, agent=agent, **REFUND), ben, verdict)

        with pytest.raises(NothingToPlant):
            planted(agent)

    def test_what_has_not_succeeded_is_no_case(self, agent, ben, team, ada):
        decide(make_proposal(team, ada, agent=agent, **REFUND), ben)

        with pytest.raises(NothingToPlant):
            planted(agent)

    def test_while_its_agent_is_stopped_nobody_is_drilled(self, agent, case):
        engage_switch(KillSwitch.Scope.AGENT, agent.pk, actor=agent.owner, reason="It goes wrong.")

        with pytest.raises(NothingToPlant):
            planted(agent)

    def test_an_agent_that_only_advises_today_puts_no_card_before_people(self, agent, case):
        agent.stage = "demo"
        agent.save()

        with pytest.raises(NothingToPlant):
            planted(agent)

    def test_a_promise_to_the_customer_moves_with_the_card(self, agent, ben):
        make_case(agent, ben, sla_due=TEN + timedelta(hours=3))

        assert planted(agent).sla_due == LATER + timedelta(hours=3)

    def test_the_log_knows_who_planted_what(self, drill):
        (payload,) = told("drill.planted")

        assert payload == {"mutation": "amount", "fault_path": "/amount", "original": drill.original_id}

    def test_no_state_of_a_run_can_be_forced_on_it(self, drill):
        with pytest.raises(IntegrityError), transaction.atomic():
            Proposal.objects.filter(pk=drill.proposal_id).update(executable=True)


class TestPace:
    @pytest.fixture
    def always(self, monkeypatch):
        monkeypatch.setattr("apps.approvals.domain.pace.CHANCE_PER_TICK", 1.0)

    def cards(self, agent, n):
        for _ in range(n):
            make_proposal(agent.team, agent.owner, agent=agent, at=LATER, **REFUND)

    def test_one_in_twenty_cards_of_a_team(self, agent, case, always):
        self.cards(agent, 18)

        assert drills.plant_due(at=LATER) == 1
        assert drills.plant_due(at=LATER) == 0

    def test_not_before_there_are_nineteen_real_ones(self, agent, case, always):
        self.cards(agent, 17)

        assert drills.plant_due(at=LATER) == 0

    def test_the_share_is_a_teams_and_never_for_one_without_cards(self, agent, case, always, other_team, eve):
        self.cards(agent, 18)
        elsewhere = make_refund_agent(other_team, eve)

        drills.plant_due(at=LATER)

        assert set(Drill.objects.values_list("proposal__team", flat=True)) == {agent.team_id}
        assert elsewhere.pk not in {each.agent_id for each in pace_of_agents(at=LATER)}

    def test_a_toss_keeps_them_from_coming_every_ten_minutes(self, agent, case, monkeypatch):
        monkeypatch.setattr("apps.approvals.domain.pace.CHANCE_PER_TICK", 0.0)
        self.cards(agent, 18)

        assert drills.plant_due(at=LATER) == 0

    def test_without_a_case_nothing_is_planted_and_nothing_breaks(self, agent, always):
        self.cards(agent, 19)

        assert drills.plant_due(at=LATER) == 0


class TestNothingTells:
    """A drill and its twin, the same wrong card proposed for real, are told apart by no page and no answer."""

    @pytest.fixture
    def twins(self, agent, ben, team, ada):
        now = clock()
        original = make_case(agent, ben, at=now - timedelta(hours=2), run_id=41, confidence=0.8)
        row = planted(agent, at=now - timedelta(minutes=5))
        args = {**original.args, "amount": 400.0}
        twin = make_proposal(
            team,
            ada,
            agent=agent,
            at=now - timedelta(minutes=5),
            **{
                **REFUND,
                "args": args,
                "title": "Refund 400.0 to C-77",
                "state_if_approved": {"refunded": 400.0},
                "agent_text": "The parcel was late, so 400.0 goes back.",
                "confidence": 0.8,
                "run_id": 41,
            },
        )
        return row, twin

    def blind(self, text, row):
        """Leave out what differs between any two cards: the number, and tokens that are new on every page."""
        text = re.sub(rf"(?<![\d.]){row.pk}(?![\d.])", "ID", text)
        text = re.sub(r'csrfmiddlewaretoken" value="[^"]+"|nonce="[^"]+"|X-CSRFToken[^}]+', "", text)
        text = re.sub(r'(datetime|title|data-now|data-[a-z-]*until)="\d{4}-[^"]+"', "", text)
        return re.sub(r'name="as_of" value="[^"]+"', "", text)

    def test_on_the_card(self, client, ben, twins):
        client.force_login(ben)
        pages = []
        for row in twins:
            Proposal.objects.filter(pk=row.pk).update(version=1)
            page = client.post(f"/inbox/{row.pk}/claim/", headers=HTMX).content.decode()
            pages.append(self.blind(page, row))
            client.post(f"/inbox/{row.pk}/release/", headers=HTMX)

        assert pages[0] == pages[1]
        assert "drill" not in pages[0].lower()

    def test_on_every_field_of_the_card(self, ben, twins):
        drill, twin = (cards.card(ben, row.pk, at=clock()) for row in twins)
        differing = {name for name in drill.__slots__ if getattr(drill, name) != getattr(twin, name)}

        assert differing <= {"id", "as_of"}

    def test_in_the_answer_of_the_interface(self, client, ben, twins):
        client.force_login(ben)
        drill, twin = (client.get(f"/api/v1/proposals/{row.pk}").json() for row in twins)

        assert {name for name in drill if drill[name] != twin[name]} == {"id"}
        assert "kind" not in drill

    def test_in_the_queue_and_its_count(self, client, ben, twins):
        rows = {row.id: row for row in inbox.inbox_rows(ben, at=clock())}
        drill, twin = (rows[row.pk] for row in twins)

        assert {name for name in drill.__slots__ if getattr(drill, name) != getattr(twin, name)} <= {
            "id",
            "age",
            "left",
        }
        assert inbox.waiting_count(ben) == 2

    def test_in_the_list_of_the_interface(self, client, ben, twins):
        client.force_login(ben)
        items = {each["id"]: each for each in client.get("/api/v1/proposals").json()["items"]}
        drill, twin = (items[row.pk] for row in twins)

        assert {name for name in drill if drill[name] != twin[name]} <= {"id", "left_s"}

    def test_in_the_panels_beside_it(self, client, ben, twins):
        client.force_login(ben)
        drill, twin = (client.get(f"/slo/panels/proposal/{row.pk}/", headers=HTMX) for row in twins)

        assert drill.status_code == twin.status_code
        assert self.blind(drill.content.decode(), twins[0]) == self.blind(twin.content.decode(), twins[1])

    def test_in_the_answer_to_the_first_of_two_approvals(self, client, team, ada, ben):
        agent = make_refund_agent(team, ada)
        now = clock()
        make_case(agent, ben, at=now - timedelta(hours=2))
        make_policy(agent.action_types.get(), approvals_needed=2)
        row = planted(agent, at=now)
        client.force_login(ben)

        before = inbox.queue(ben).decided_today
        given = {"verdict": "approve", "version": row.version, "digest": row.digest}
        page = client.post(f"/inbox/{row.pk}/decide/", given, headers=HTMX).content.decode()

        assert "1 of 2 approvals given" in page
        assert "drill" not in page.lower()
        assert inbox.queue(ben).decided_today == before + 1

    def test_the_clock_escalates_it_for_the_eye_and_the_log_and_calls_nobody(self, client, twins, audit_events, cora):
        hook = make_channel(twins[0].team, cora, events=["escalated"])
        Proposal.objects.update(next_escalation_at=clock())
        client.force_login(cora)

        assert escalate_due() == 2

        drill, twin = (audit_events(row)[-1] for row in twins)
        assert drill["action"] == twin["action"] == "proposal.escalated"
        assert (drill["actor"], drill["payload"]) == (twin["actor"], twin["payload"])
        rows = {row.id: row for row in inbox.inbox_rows(cora, at=clock())}
        assert [rows[row.pk].is_escalated for row in twins] == [True, True]
        assert list(Notice.objects.filter(channel=hook).values_list("proposal", flat=True)) == [twins[1].pk]

    def test_its_intake_event_is_that_of_any_card(self, twins, audit_events):
        drill, twin = (audit_events(row)[0] for row in twins)

        assert drill["action"] == twin["action"] == "proposal.pending"
        assert drill["actor"] == twin["actor"]
        assert drill["payload"] == twin["payload"]


class TestVerdicts:
    @pytest.mark.parametrize("verdict", ["reject", "ask"])
    def test_saying_no_catches_it_and_is_told_at_once(self, drill, ben, verdict):
        decided = decide(drill.proposal, ben, verdict, at=LATER)

        drill.refresh_from_db()
        assert (drill.outcome, drill.revealed_at) == ("caught", LATER)
        assert decided.revealed.title == "This was a drill, and you caught it."
        assert "ten times the 40.0" in decided.revealed.text

    def test_approving_misses_it_and_nothing_runs(self, drill, ben):
        decided = decide(drill.proposal, ben, at=LATER)

        drill.refresh_from_db()
        row = decided.proposal
        assert (drill.outcome, row.state, row.execute_after) == ("missed", "approved", None)
        assert not row.outbox.exists()
        assert decided.revealed.text.startswith("It would have gone through.")

    @pytest.mark.parametrize(("amount", "outcome"), [(40.0, "caught"), (399.0, "missed")])
    def test_an_edit_catches_it_only_by_repairing_the_fault(self, drill, ben, amount, outcome):
        decide(drill.proposal, ben, "edit", args={**drill.proposal.args, "amount": amount}, at=LATER)

        drill.refresh_from_db()
        assert drill.outcome == outcome

    def test_an_edit_of_another_field_misses_it(self, drill, ben):
        decide(drill.proposal, ben, "edit", args={**drill.proposal.args, "note": "Other words."}, at=LATER)

        drill.refresh_from_db()
        assert drill.outcome == "missed"

    def test_escalating_catches_it_and_closes_it(self, drill, ben):
        with transaction.atomic():
            revealed = drills.settle_escalated(drill.proposal, actor=ben, at=LATER)

        drill.refresh_from_db()
        drill.proposal.refresh_from_db()
        assert (drill.outcome, drill.proposal.state) == ("caught", "answered")
        assert revealed.status == "ok"
        assert list(checking.mismatches()) == []

    def test_the_verb_itself_settles_it_and_calls_nobody_away(self, drill, ben, cora):
        row, people = escalate(drill.proposal_id, actor=ben, at=LATER)

        drill.refresh_from_db()
        assert (row.state, people, drill.outcome) == ("answered", [], "caught")
        assert Vigilance.objects.get(user=ben).caught == 1

    def test_escalating_a_live_card_settles_nothing(self, agent, team, ada, ben):
        row = make_proposal(team, ada, agent=agent, **REFUND)

        assert drills.settle_escalated(row, actor=ben, at=TEN) is None

    def test_one_nobody_decided_is_neither_caught_nor_missed(self, drill):
        late = drill.proposal.deadline
        closing.expire_overdue(at=late)

        assert drills.settle_undecided(at=late) == 1
        drill.refresh_from_db()
        assert (drill.outcome, drill.revealed_at) == ("none", late)

    def test_the_log_tells_how_it_ended(self, drill, ben):
        decide(drill.proposal, ben, at=LATER)

        assert told("drill.settled") == [{"verdict": "approve", "mutation": "amount", "state": "approved"}]

    def test_everything_still_agrees(self, agent, drill, ben):
        decide(drill.proposal, ben, at=LATER)

        assert list(checking.mismatches()) == []

    def test_the_same_verdict_again_is_a_replay(self, drill, ben):
        row = drill.proposal
        decide(row, ben, at=LATER)

        again = verdicts.decide_proposal(
            row.pk, verdict="approve", version=row.version, digest=row.digest, actor=ben, at=LATER
        )

        assert again.replayed
        assert Decision.objects.filter(proposal=row).count() == 1

    def test_the_second_of_two_people_can_still_catch_it(self, team, ada, ben):
        agent = make_refund_agent(team, ada)
        make_case(agent, ben)
        make_policy(agent.action_types.get(), approvals_needed=2)
        bo = make_member(team, Role.REVIEWER, name="Bo")
        row = planted(agent)
        decide(row, ben, at=LATER)
        row.refresh_from_db()

        decide(row, bo, "reject", at=LATER)

        outcomes = {person: drills_page(person).rows[0].outcome for person in (ben, bo)}
        assert Drill.objects.get().outcome == "caught"
        assert outcomes == {ben: "missed", bo: "caught"}


class TestInNoFigure:
    @pytest.fixture
    def settled(self, drill, ben):
        return decide(drill.proposal, ben, "reject", at=LATER).proposal

    def test_not_among_what_people_decided_about_the_agent(self, agent, settled):
        assert history.decided_counts([agent.pk])[agent.pk].total == 1

    def test_not_in_the_history(self, ben, settled):
        assert settled.pk not in {row.id for row in history.history_rows(ben).rows}

    def test_not_in_the_past_decisions_of_a_card(self, team, ada, ben, agent, settled):
        row = make_proposal(team, ada, agent=agent, **REFUND)

        assert cards.card(ben, row.pk, at=LATER).past.total == 1

    def test_not_in_the_agents_quota(self, agent, drill):
        assert load(agent, since=LATER - timedelta(minutes=1)).open == 0

    def test_not_in_the_verdicts_of_its_reliability(self, agent, settled):
        found = slo.verdicts(agent, since=TEN - timedelta(days=1), until=LATER + timedelta(days=1))

        assert (found.approved, found.rejected) == (1, 0)

    def test_not_in_todays_work_once_it_was_told(self, ben, settled):
        assert inbox.queue(ben, at=LATER).decided_today == 1


class TestPage:
    @pytest.fixture
    def missed(self, drill, ben):
        decide(drill.proposal, ben, at=LATER)
        drill.refresh_from_db()
        return drill

    @pytest.mark.parametrize("person", ["olga", "ivo", "ben"])
    def test_whoever_it_is_revealed_to_reads_what_was_wrong(self, client, cast, missed, person):
        client.force_login(cast[person])
        page = client.get("/inbox/drills/").content.decode()

        assert "ten times the 40.0 of the real case" in page
        assert "Missed" in page

    @pytest.mark.parametrize("person", ["cora", "ada"])
    def test_others_of_the_team_do_not(self, client, cast, missed, person):
        client.force_login(cast[person])
        page = client.get("/inbox/drills/").content.decode()

        assert "No drill revealed yet" in page

    def test_another_reviewer_sees_no_result_of_a_colleague(self, client, team, missed):
        client.force_login(make_member(team, Role.REVIEWER, name="Bo"))

        assert "No drill revealed yet" in client.get("/inbox/drills/").content.decode()

    def test_an_outsider_sees_nothing_of_it(self, client, eve, missed):
        client.force_login(eve)

        assert "ten times" not in client.get("/inbox/drills/").content.decode()

    @pytest.mark.parametrize("person", ["dev", "max_"])
    def test_who_has_nothing_to_do_with_cards_is_told_whom_to_ask(self, client, cast, person):
        client.force_login(cast[person])

        assert client.get("/inbox/drills/").status_code == 403

    def test_one_that_waits_is_shown_to_nobody(self, client, ivo, drill):
        client.force_login(ivo)

        assert "Refund 400.0" not in client.get("/inbox/drills/").content.decode()

    def test_the_answer_to_the_verdict_tells_it_kindly(self, client, agent, ben):
        now = clock()
        make_case(agent, ben, at=now - timedelta(hours=1))
        row = planted(agent, at=now)
        client.force_login(ben)

        given = {"verdict": "approve", "version": row.version, "digest": row.digest}
        page = client.post(f"/inbox/{row.pk}/decide/", given, headers=HTMX).content.decode()

        assert "This was a drill. It would have gone through." in page
        assert "Everybody misses one now and then." in page

    def test_without_javascript_the_next_page_tells_it(self, client, agent, ben):
        now = clock()
        make_case(agent, ben, at=now - timedelta(hours=1))
        row = planted(agent, at=now)
        client.force_login(ben)

        given = {"verdict": "reject", "version": row.version, "digest": row.digest, "reason": "Ten times too much."}
        page = client.post(f"/inbox/{row.pk}/decide/", given, follow=True).content.decode()

        assert "This was a drill, and you caught it." in page

    def test_the_closed_card_tells_its_reviewer_and_nobody_else(self, client, team, ben, missed):
        pages = {}
        for person in (ben, make_member(team, Role.REVIEWER, name="Bo")):
            client.force_login(person)
            pages[person] = client.get(f"/inbox/{missed.proposal_id}/").content.decode()

        told_to = [person for person, page in pages.items() if "This was a drill" in page]
        assert told_to == [ben]

    def test_an_administrator_plants_one_by_hand(self, client, ivo, agent, case):
        now = clock()
        Proposal.objects.filter(pk=case.pk).update(closed_at=now - timedelta(days=1))
        client.force_login(ivo)
        answer = client.post("/inbox/drills/plant/", {"agent": agent.slug, "mutation": "amount"}, follow=True)

        assert "Planted. It waits in the queue" in answer.content.decode()
        assert Drill.objects.get().mutation == "amount"
        assert AuditEvent.objects.get(action="drill.planted").actor == ivo.actor

    def test_without_a_case_it_says_so(self, client, ivo, agent):
        client.force_login(ivo)
        answer = client.post("/inbox/drills/plant/", {"agent": agent.slug}, follow=True)

        assert "Nothing was planted." in answer.content.decode()

    @pytest.mark.parametrize(("person", "status"), [("ben", 403), ("olga", 403), ("eve", 404)])
    def test_nobody_else_does(self, client, cast, agent, case, person, status):
        client.force_login(cast[person])

        answer = client.post("/inbox/drills/plant/", {"agent": agent.slug, "mutation": "amount"})

        assert answer.status_code == status
        assert not Drill.objects.exists()


class TestCommand:
    def test_it_plants_what_it_is_asked_for(self, agent, ben):
        make_case(agent, ben, at=clock() - timedelta(hours=1))
        out = StringIO()

        call_command("plant_drill", agent.slug, mutation="amount", seed=3, stdout=out)

        drill = Drill.objects.get()
        assert out.getvalue() == f"Planted as proposal {drill.proposal_id}: an amount ten times too high.\n"

    def test_it_says_when_there_is_nothing_to_plant(self, agent):
        with pytest.raises(CommandError, match="Nothing was planted"):
            call_command("plant_drill", agent.slug)

    def test_it_names_the_agents_it_knows(self, agent):
        with pytest.raises(CommandError, match=agent.slug):
            call_command("plant_drill", "nobody")
