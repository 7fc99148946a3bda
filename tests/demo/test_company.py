"""The demo's company: made once, under the rules that real rows obey, marked as what it is, and closed outside a demo."""

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import User
from apps.agents.models import Agent, StageEvent
from apps.approvals.models import Decision, Proposal
from apps.connectors.models import ActionExecution
from apps.demo import actions
from apps.demo.company import AGENTS, CAST
from apps.programs.models import GateEvent, Program, SignOff
from apps.runs.models import Precedent, Run, WorkItem
from apps.slo.actions import collect
from apps.slo.models import SliMinute
from apps.slo.queries import budgets_by_agent
from tests.factories.accounts import make_user

pytestmark = pytest.mark.django_db


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


def test_one_audit_event_stands_for_each_imported_batch(company):
    from apps.audit.models import AuditEvent

    assert AuditEvent.objects.filter(action="demo.history_imported").count() == sum(
        bool(spec.past.cases_a_day) for spec in AGENTS
    )


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
