import plotly.graph_objects as go
import pytest

from apps.accounts.models import Role
from apps.programs import actions
from apps.programs.models import Gate, Program
from tests.factories.accounts import make_member
from tests.factories.approvals import decide, make_agent, make_proposal
from tests.programs.test_actions import satisfy, with_evidence

pytestmark = pytest.mark.django_db


@pytest.fixture
def program(team, ada, dev):
    agent = make_agent(team, ada, stage="demo", name="Refund agent")
    return actions.open_program(agent, name="Refund agent to production", tier="medium", actor=dev)


@pytest.fixture
def charter(program):
    return Gate.objects.get(program=program, key="PRD-01")


def test_the_program_page_opens_with_the_sentence_that_says_why_it_cannot_launch(client, dev, program):
    client.force_login(dev)

    response = client.get(f"/programs/{program.pk}/")

    assert b"Refund agent cannot enter pilot: Access model sign-off (Security)" in response.content
    assert b"0 of 17 satisfied" in response.content


def test_a_manager_opens_a_program_for_an_agent_without_one(client, dev, team, ada):
    agent = make_agent(team, ada, name="Other agent")
    client.force_login(dev)

    response = client.post(
        "/programs/new/", {"agent": agent.pk, "name": "Other to scale", "tier": "low", "start_date": "2027-01-04"}
    )

    opened = Program.objects.get(agent=agent)
    assert response.url == f"/programs/{opened.pk}/"
    assert opened.gates.count() == 36


def test_a_faulty_program_form_comes_back_with_its_words(client, dev):
    client.force_login(dev)

    response = client.post("/programs/new/", {"name": ""})

    assert response.status_code == 422
    assert b"This field is required." in response.content


def test_the_owning_team_signs_on_the_page_of_the_gate(client, ada, charter):
    with_evidence(charter, ada)
    client.force_login(ada)
    client.post(f"/programs/gates/{charter.pk}/submit/")
    client.force_login(make_member(charter.team, Role.OPERATOR, name="Paul"))

    page = client.get(f"/programs/gates/{charter.pk}/")
    client.post(f"/programs/gates/{charter.pk}/sign/", {"reason": "Narrow enough."})

    assert b"Sign for Product" in page.content
    charter.refresh_from_db()
    assert charter.state == "passed"


def test_a_submission_without_evidence_says_what_is_missing(client, ada, charter):
    client.force_login(ada)

    response = client.post(f"/programs/gates/{charter.pk}/submit/")

    assert response.status_code == 422
    assert b"Evidence is missing" in response.content
    assert b"Nothing was changed." in response.content


def test_someone_of_another_team_reads_who_signs(client, ada, dev, charter):
    with_evidence(charter, ada)
    actions.submit_gate(charter, actor=ada)
    client.force_login(dev)

    page = client.get(f"/programs/gates/{charter.pk}/")
    answer = client.post(f"/programs/gates/{charter.pk}/sign/")

    assert b"Only Product signs PRD-01." in page.content
    assert answer.status_code == 403


@pytest.mark.parametrize("door", ["", "start/", "evidence/", "submit/", "sign/", "refuse/"])
def test_an_outsider_finds_no_gate(client, eve, charter, door):
    client.force_login(eve)
    url = f"/programs/gates/{charter.pk}/{door}"

    assert (client.post(url) if door else client.get(url)).status_code == 404


@pytest.mark.parametrize("door", ["", "read/", "advance/"])
def test_an_outsider_finds_no_program(client, eve, program, door):
    client.force_login(eve)
    url = f"/programs/{program.pk}/{door}"

    assert (client.post(url) if door else client.get(url)).status_code == 404


def test_only_a_manager_of_the_home_team_records_a_stage(client, ben, dev, program):
    satisfy(program)
    client.force_login(ben)
    refused = client.post(f"/programs/{program.pk}/advance/", {"transition": "G1"})
    client.force_login(dev)

    client.post(f"/programs/{program.pk}/advance/", {"transition": "G1"})

    assert refused.status_code == 403
    program.agent.refresh_from_db()
    assert program.agent.stage == "pilot"


def test_the_portfolio_counts_agents_by_stage_and_what_people_decided(client, max_, ben, team, ada):
    decide(make_proposal(team, ada), ben)
    from apps.audit.clock import clock

    decide(make_proposal(team, ada, at=clock(), target="desk:tickets/T-2"), ben, at=clock())
    client.force_login(max_)

    response = client.get("/portfolio/")

    assert b"2 of 2 agents are past pilot, 2 of them scaled." in response.content
    assert b"People decided 1 actions" in response.content


def test_the_portfolio_chart_is_a_figure_that_plotly_accepts(client, max_, team, ada):
    make_agent(team, ada)
    client.force_login(max_)

    figure = client.get("/portfolio/stages.json").json()

    figure["data"][0]["marker"]["color"] = "#123456"
    go.Figure(figure)
    assert figure["data"][0]["x"] == [0, 0, 0, 1]


def test_an_executive_of_another_team_sees_none_of_it(client, eve, team, ada):
    make_agent(team, ada, name="Hidden agent")
    client.force_login(eve)

    assert b"Hidden agent" not in client.get("/portfolio/").content
