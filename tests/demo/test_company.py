"""The demo's company: made once, under the rules that real rows obey, marked as what it is, and closed outside a demo."""

import json
from collections import defaultdict
from datetime import timedelta
from itertools import pairwise

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F, Q

from apps.accounts.models import User
from apps.agents.models import Agent, Stage, StageEvent
from apps.approvals.models import Decision, Proposal
from apps.audit.models import AuditEvent
from apps.connectors.models import ActionExecution
from apps.demo import actions
from apps.demo.company import AGENTS, CAST
from apps.programs.domain.states import SATISFIED, Event, Kind, State, Verdict, state_of
from apps.programs.models import Evidence, Gate, GateEvent, Program, SignOff
from apps.runs.models import Precedent, Run, WorkItem
from apps.slo.actions import collect
from apps.slo.models import SliMinute
from apps.slo.queries import budgets_by_agent
from tests.factories.accounts import make_user

# One worker seeds for all of this file.
pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("company")]


@pytest.fixture(scope="module")
def company(django_db_setup, django_db_blocker):
    """Seed once for this file: a month of history takes some seconds."""
    from django.conf import settings
    from django.db import transaction

    with django_db_blocker.unblock(), transaction.atomic():
        before, settings.DESK_API_KEY = settings.DESK_API_KEY, "desk-key-of-the-tests"
        totals = actions.seed()
        yield totals
        settings.DESK_API_KEY = before
        transaction.set_rollback(True)


def test_seven_agents_stand_at_five_stages_with_a_month_behind_them(company):
    assert {agent.slug: agent.stage for agent in Agent.objects.all()} == {
        spec.slug: spec.stages[-1][0] for spec in AGENTS
    }
    assert len({spec.stages[-1][0] for spec in AGENTS}) == 5
    assert company["decisions"] > 2_000


def test_a_second_seed_changes_nothing(company):
    before = (Proposal.objects.count(), User.objects.count(), SliMinute.objects.count())

    assert actions.seed() == {}
    assert (Proposal.objects.count(), User.objects.count(), SliMinute.objects.count()) == before


def test_generated_history_obeys_what_the_checks_test(company):
    call_command("check_approvals")


def test_every_generated_row_says_that_it_is(company):
    for model in (WorkItem, Run, Proposal, Decision, ActionExecution, StageEvent):
        assert not model.objects.filter(synthetic=False).exists(), model
    assert not SignOff.objects.filter(synthetic=False).exists()
    assert GateEvent.objects.filter(synthetic=True).exists()


def test_one_audit_event_tells_of_all_rows_that_were_made_for_an_agent(company):
    told = {}
    for event in AuditEvent.objects.filter(action="demo.history_imported"):
        told[event.object] = json.loads(event.payload)

    assert set(told) == {f"agent:{agent.pk}" for agent in Agent.objects.all()}
    for model in (WorkItem, Run, Proposal, Decision, ActionExecution, StageEvent, GateEvent, SignOff, Evidence):
        counted = sum(each["rows"][model._meta.model_name] for each in told.values())
        assert counted == model.objects.filter(synthetic=True).count() > 0, model
    assert len({each["digest"] for each in told.values()}) == len(AGENTS)


def test_no_real_case_came_while_an_agent_was_a_demo(company):
    for spec in AGENTS:
        first = WorkItem.objects.filter(agent__slug=spec.slug).order_by("created_at").first()
        pilot = StageEvent.objects.filter(agent__slug=spec.slug, stage="pilot").first()
        assert (first is None) == (not spec.past.cases_a_day)
        assert first is None or first.created_at > pilot.at


def test_the_collector_counts_no_generated_row_again(company):
    before = {agent.slug: [line.budget.counts for line in lines] for agent, lines in budgets_by_agent().items()}

    collect()

    assert {agent.slug: [line.budget.counts for line in lines] for agent, lines in budgets_by_agent().items()} == before


def test_the_agents_stand_apart_in_what_is_left_of_their_budgets(company):
    states = {agent.slug: lines[0].state_word for agent, lines in budgets_by_agent().items()}

    assert states["refund-desk"] == "Spent"
    assert states["licence-clerk"] == "Healthy"


def test_every_program_says_why_it_cannot_launch(company):
    from apps.programs.queries import readiness

    sentences = [readiness(program).sentence for program in Program.objects.select_related("agent")]

    assert len(sentences) == 5
    assert all(" cannot enter " in sentence for sentence in sentences)


class TestGates:
    """The months of gates that never were follow the rules that real ones obey (readiness.md, 3.2 to 3.5)."""

    @pytest.fixture
    def passes(self, company):
        """Each gate with a pass in the company's past: the moments at which it passed, oldest first."""
        found = defaultdict(list)
        told = GateEvent.objects.filter(synthetic=True).select_related("gate__program__agent").order_by("gate", "pk")
        for event in told:
            if event.kind == (Kind.READING if event.gate.mode == "automatic" else Kind.SIGNED):
                found[event.gate].append(event)
        return found

    def test_nothing_happened_before_the_program_began(self, passes):
        events = GateEvent.objects.filter(synthetic=True).select_related("gate__program")

        assert passes
        assert not [event for event in events if event.at.date() < event.gate.program.start_date]
        assert not Evidence.objects.filter(at__date__lt=F("gate__program__start_date")).exists()

    def test_what_guards_a_transition_passed_first_before_it_was_made(self, passes):
        entered = {(event.agent_id, event.stage): event.at for event in StageEvent.objects.all()}
        made = [
            (gate, events[0].at, entered[gate.program.agent_id, stage])
            for gate, events in passes.items()
            for stage, transition in actions.TRANSITION_OF_STAGE.items()
            if gate.transition == transition and (gate.program.agent_id, stage) in entered
        ]

        assert len(made) > 100
        assert not [gate for gate, passed, recorded in made if passed >= recorded]

    def test_no_transition_was_made_while_a_gate_of_it_was_open(self, passes):
        programs = Program.objects.select_related("agent")
        for program in programs:
            for event in StageEvent.objects.filter(agent=program.agent, stage__in=actions.TRANSITION_OF_STAGE):
                transition = actions.TRANSITION_OF_STAGE[Stage(event.stage)]
                guarded = program.gates.filter(transition__lte=transition)

                assert not [gate for gate in guarded if stood(gate, event.at) not in SATISFIED], event

    def test_a_later_pass_renews_one_that_was_about_to_run_out(self, passes):
        renewals = [pair for events in passes.values() for pair in pairwise(events)]

        assert renewals
        for before, after in renewals:
            assert before.at + 0.75 * (before.valid_until - before.at.date()) < after.at
            assert after.at.date() <= before.valid_until

    def test_no_gate_passed_while_one_that_it_waits_on_was_open(self, passes):
        for gate, events in passes.items():
            needs = [edge.needs for edge in gate.waits_on.select_related("needs__program")]
            for event in events:
                assert not [each for each in needs if stood(each, event.at) not in SATISFIED], event

    def test_no_gate_is_passed_today_while_one_that_it_waits_on_is_open(self, company):
        passed = Gate.objects.filter(state=State.PASSED)

        assert passed.filter(events__synthetic=True).exists()
        assert not passed.exclude(waits_on__isnull=True).filter(~Q(waits_on__needs__state__in=SATISFIED)).exists()

    def test_evidence_comes_before_the_question_and_the_question_before_the_signature(self, company):
        rounds = SignOff.objects.filter(synthetic=True).prefetch_related("gate__evidence", "gate__events")

        assert rounds
        for each in rounds:
            given = [evidence.at for evidence in each.gate.evidence.all() if evidence.version <= each.round]
            assert max(given) <= each.requested_at
            assert max(given) > each.requested_at - timedelta(days=1)
            if each.outcome:
                signed = [event.at for event in each.gate.events.all() if event.kind == Kind.SIGNED]
                assert signed[each.round - 1] == each.decided_at > each.requested_at

    def test_nobody_signed_what_they_asked_for(self, company):
        assert not SignOff.objects.filter(signer=F("requester")).exists()

    def test_security_signs_a_gate_and_sees_it_count(self, company, client, settings):
        settings.DEMO = True
        selma = User.objects.get(email="selma@tidewater.example")
        threats = Gate.objects.get(program__agent__slug="ticket-desk", key="SEC-02")
        satisfied = threats.program.gates.filter(transition="G2", state__in=SATISFIED).count()
        client.force_login(selma)

        before = client.get(f"/programs/{threats.program_id}/").content.decode()
        offered = client.get(f"/programs/gates/{threats.pk}/").content
        client.post(f"/programs/gates/{threats.pk}/sign/", {"reason": "Every risk has an owner."})
        after = client.get(f"/programs/{threats.program_id}/").content.decode()

        assert f"{satisfied} of 20 satisfied" in before
        assert b"Sign for Security" in offered
        assert f"{satisfied + 1} of 20 satisfied" in after


def stood(gate, moment):
    """Replay where a gate stood just before a moment, from what had happened to it by then."""
    history = [
        Event(Kind(each.kind), each.at.date(), Verdict(each.verdict) if each.verdict else None, each.valid_until)
        for each in gate.events.filter(at__lt=moment).order_by("pk")
    ]
    return state_of(gate.mode, history, prerequisites_open=False, as_of=moment.date())


def test_the_live_agent_knows_three_hundred_cases(company):
    assert Precedent.objects.filter(agent_version__agent__slug="ticket-desk").count() == 300


def test_all_seven_roles_are_offered_on_the_sign_in_page(company, client, settings):
    settings.DEMO = True

    page = client.get("/demo/logins/")

    assert {role for person in CAST if person.offered for _, role in person.roles} == {
        "reviewer",
        "operator",
        "tpm",
        "executive",
        "agent_owner",
        "auditor",
        "admin",
    }
    assert page.content.count(b"<button") == sum(person.offered for person in CAST)


def test_one_click_signs_in_only_in_a_demo(company, client, settings):
    rhea = User.objects.get(email="rhea@tidewater.example")

    settings.DEMO = False
    closed = [client.get("/demo/logins/"), client.post(f"/demo/sign-in/{rhea.pk}/")]
    settings.DEMO = True
    opened = client.post(f"/demo/sign-in/{rhea.pk}/")

    assert [response.status_code for response in closed] == [404, 404]
    assert opened.status_code == 302
    assert client.session["_auth_user_id"] == str(rhea.pk)


def test_one_click_is_for_the_cast_alone(client, settings):
    settings.DEMO = True

    assert client.post(f"/demo/sign-in/{make_user().pk}/").status_code == 404


def test_outside_a_demo_nothing_is_seeded(settings):
    settings.DEMO = False

    with pytest.raises(CommandError, match="only with DEMO=1"):
        call_command("seed_demo")


def test_the_desk_is_filled_once_and_without_the_answers(tmp_path):
    from apps.demo.desk.store import Store

    first, second = actions.fill_desk(tmp_path), actions.fill_desk(tmp_path)

    desk = Store(tmp_path)
    assert (first > 150, second) == (True, 0)
    assert "label" not in desk.get("tickets", "T-1001").fields
    desk.close()
