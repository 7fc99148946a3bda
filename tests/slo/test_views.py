from datetime import timedelta
from fractions import Fraction

import plotly.graph_objects as go
import pytest

from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from apps.slo import actions
from apps.slo.actions import Told
from apps.slo.charts import burn_down_figure
from apps.slo.domain.budget import Budget, Counts
from apps.slo.domain.burndown import Point
from apps.slo.domain.windows import HOUR, minute_key
from apps.slo.models import Cursor, Objective
from apps.slo.queries import budgets_by_agent, chart_points, fleet, objective_page
from tests.factories.approvals import TEN, make_agent, make_proposal

pytestmark = pytest.mark.django_db


@pytest.fixture
def agent(team, ada):
    agent = make_agent(team, ada)
    actions.ensure_objectives(agent)
    now = clock()
    actions.tell(
        [Told(agent.pk, "agreement", f"decision:{n}", now - timedelta(minutes=5), int(n > 0), 1) for n in range(40)],
        at=now,
    )
    return agent


def drawn(value):
    """Resolve tokens as the page does when it draws."""
    if isinstance(value, dict):
        return {key: drawn(each) for key, each in value.items()}
    if isinstance(value, list):
        return [drawn(each) for each in value]
    return "#123456" if isinstance(value, str) and value.startswith("--") else value


def line(agent):
    return agreement(agent).line_id


def agreement(agent):
    return Objective.objects.get(indicator__agent=agent, indicator__kind="agreement")


def budget_line(agent, *, at=None):
    """Return the agent's agreement as its pages show it."""
    [lines] = budgets_by_agent(at=at, agents=[agent.pk]).values()
    return next(each for each in lines if each.objective == agreement(agent))


def collected(ago):
    """Say that every source was collected so long ago."""
    now = clock()
    for source in ("approvals.decision", "connectors.execution"):
        Cursor.objects.create(source=source, xid=1, collected_at=now - ago)


def test_the_fleet_page_says_how_much_budget_is_left(client, cora, agent):
    client.force_login(cora)

    response = client.get("/slo/")

    assert response.status_code == 200
    assert b"75 %" in response.content
    assert b"Agreement with reviewers" in response.content


def test_the_objective_page_explains_what_is_left_and_of_what(client, cora, agent):
    client.force_login(cora)

    response = client.get(f"/slo/{line(agent)}/")

    assert b"75 % of the error budget is left: 1 of 40 failed, 3 more may." in response.content
    assert b"Show as table" in response.content


def test_the_burn_down_is_a_figure_that_plotly_accepts(client, cora, agent):
    client.force_login(cora)

    figure = client.get(f"/slo/{line(agent)}/burn-down.json").json()

    go.Figure(drawn(figure))
    assert figure["data"][0]["y"][-1] == 75.0
    assert figure["data"][0]["text"][-1] == "75 %"


def test_a_drawn_budget_is_rounded_to_the_worse_side():
    almost_whole, almost_spent = Fraction(99_999, 100_000), Fraction(-1, 100_000)
    points = [
        Point(n * HOUR, share, Counts(1, 2)) for n, share in enumerate([almost_whole, almost_spent, Fraction(1), None])
    ]

    [budget, _] = burn_down_figure(points, zone="UTC")["data"]

    assert budget["y"] == [99.99, -0.01, 100.0, None]
    assert budget["text"] == ["99.9 %", "-0.1 %", "100 %", "no data"]
    assert "%{text}" in budget["hovertemplate"]


def test_one_failure_among_very_many_is_never_drawn_as_a_whole_budget():
    counts = Counts(10**9 - 1, 10**9)
    point = Point(HOUR, Budget(Fraction("0.9"), counts).remaining, counts)

    [budget, _] = burn_down_figure([point], zone="UTC")["data"]

    assert budget["y"][0] < 100
    assert budget["text"] == ["99.9 %"]


def test_a_figure_without_any_point_is_valid_too():
    go.Figure(drawn(burn_down_figure([], zone="UTC")))


def test_hours_without_events_are_gaps_and_not_zeros(agent):
    points = chart_points(budget_line(agent))

    assert points[0].remaining is None
    assert points[-1].remaining is not None


@pytest.mark.parametrize("minute", [0, 1, 17, 59])
def test_the_chart_ends_at_exactly_the_budget_that_the_page_tells(team, ada, minute):
    agent = make_agent(team, ada)
    actions.ensure_objectives(agent)
    now = TEN + timedelta(minutes=minute, seconds=10)
    begins = TEN + timedelta(minutes=minute) - timedelta(days=30)
    around = [begins + timedelta(minutes=minutes) for minutes in range(-90, 91)]
    actions.tell(
        [Told(agent.pk, "agreement", f"decision:{n}", at, n % 2, 1) for n, at in enumerate([*around, TEN])], at=now
    )

    page = objective_page(agreement(agent), at=now)

    assert page.line.budget.counts.total == 91
    assert page.points[-1] == Point(minute_key(page.line.as_of), page.line.budget.remaining, page.line.budget.counts)
    assert page.line.spark[-1] == page.line.share_left
    assert [point.at for point in page.points] == sorted({point.at for point in page.points})


@pytest.mark.parametrize(
    "page",
    [
        "/slo/{line}/",
        "/slo/{line}/burn-down.json",
        "/slo/panels/agent/{agent}/",
        "/slo/panels/proposal/{proposal}/",
    ],
)
def test_an_outsider_finds_nothing_and_the_refusal_is_recorded(client, eve, team, ada, agent, page):
    address = page.format(line=line(agent), agent=agent.pk, proposal=make_proposal(team, ada, agent=agent).pk)
    client.force_login(eve)

    assert client.get(address).status_code == 404
    refusal = AuditEvent.objects.get(action="access.refused")
    assert (refusal.actor, address in refusal.payload) == (eve.actor, True)


def test_an_outsider_sees_no_agent_of_others_in_the_fleet(client, eve, agent):
    client.force_login(eve)

    response = client.get("/slo/")

    assert response.status_code == 200
    assert agent.name.encode() not in response.content
    assert b"Agreement with reviewers" not in response.content


def test_a_member_without_the_right_learns_whom_to_ask(client, max_, agent):
    client.force_login(max_)

    response = client.get(f"/slo/{line(agent)}/")

    assert response.status_code == 403
    assert AuditEvent.objects.filter(action="access.refused", actor=max_.actor).exists()


def test_an_objective_that_never_was_is_nobodys_refusal(client, cora):
    client.force_login(cora)

    assert client.get("/slo/00000000-0000-4000-8000-000000000000/").status_code == 404
    assert not AuditEvent.objects.filter(action="access.refused").exists()


PAGES = ["/slo/", "/slo/{line}/", "/slo/panels/agent/{agent}/"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_so_when_the_roll_up_is_late(client, cora, agent, page):
    collected(timedelta(minutes=6))
    client.force_login(cora)

    response = client.get(page.format(line=line(agent), agent=agent.pk))

    until = Cursor.objects.first().collected_at
    assert b"the roll-up is late" in response.content
    assert f'<time datetime="{until.isoformat()}"'.encode() in response.content


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_not_called_late_while_the_collector_runs(client, cora, agent, page):
    collected(timedelta(minutes=4))
    client.force_login(cora)

    response = client.get(page.format(line=line(agent), agent=agent.pk))

    assert b'class="stale"' not in response.content


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_so_when_nothing_has_been_collected_yet(client, cora, agent, page):
    client.force_login(cora)

    assert b"nothing has been collected yet" in client.get(page.format(line=line(agent), agent=agent.pk)).content


def test_late_numbers_are_those_of_the_last_collection(agent):
    actions.collect(at=TEN)

    page = objective_page(agreement(agent), at=TEN + timedelta(hours=2))

    assert page.line.as_of == TEN - timedelta(minutes=1)
    assert page.freshness.is_stale


def test_the_fleet_costs_the_same_with_any_number_of_agents(team, ada, cora, agent, django_assert_num_queries):
    for _ in range(3):
        actions.ensure_objectives(make_agent(team, ada))
    assert cora.has_perm("slo.view", team.pk)

    with django_assert_num_queries(5):
        assert len(fleet(cora, at=TEN).rows) == 4


def test_an_objective_page_costs_six_queries(agent, django_assert_num_queries):
    objective = Objective.objects.select_related("indicator__agent").get(pk=agreement(agent).pk)

    with django_assert_num_queries(6):
        objective_page(objective, at=TEN)


def test_the_agent_panel_shows_the_budget(client, cora, agent):
    client.force_login(cora)

    response = client.get(f"/slo/panels/agent/{agent.pk}/", headers={"HX-Request": "true"})

    assert b"budget left" in response.content


def test_a_reviewer_without_agents_reads_that_nothing_is_measured(client, eve, agent):
    client.force_login(eve)

    assert b"No objectives yet" in client.get("/slo/").content
