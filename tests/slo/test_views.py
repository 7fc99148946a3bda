from datetime import timedelta

import plotly.graph_objects as go
import pytest

from apps.audit.clock import clock
from apps.slo import actions
from apps.slo.actions import Told
from apps.slo.charts import burn_down_figure
from apps.slo.models import Objective
from apps.slo.queries import chart_points
from tests.factories.approvals import make_agent

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
    return Objective.objects.get(indicator__agent=agent, indicator__kind="agreement").line_id


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


def test_a_figure_without_any_point_is_valid_too():
    go.Figure(drawn(burn_down_figure([], zone="UTC")))


def test_hours_without_events_are_gaps_and_not_zeros(agent):
    points = chart_points(Objective.objects.get(line_id=line(agent)))

    assert points[0].remaining is None
    assert points[-1].remaining is not None


@pytest.mark.parametrize("page", ["/slo/{line}/", "/slo/{line}/burn-down.json", "/slo/panels/agent/{agent}/"])
def test_an_outsider_finds_nothing(client, eve, agent, page):
    client.force_login(eve)

    assert client.get(page.format(line=line(agent), agent=agent.pk)).status_code == 404


def test_the_agent_panel_shows_the_budget(client, cora, agent):
    client.force_login(cora)

    response = client.get(f"/slo/panels/agent/{agent.pk}/", headers={"HX-Request": "true"})

    assert b"budget left" in response.content


def test_a_reviewer_without_agents_reads_that_nothing_is_measured(client, eve, agent):
    client.force_login(eve)

    assert b"No objectives yet" in client.get("/slo/").content
