import plotly.graph_objects as go
import pytest

from apps.accounts.models import Role
from apps.audit.models import AuditEvent
from apps.programs.actions import gates, planning
from apps.programs.models import Gate, Program
from tests.factories.accounts import make_member
from tests.factories.approvals import decide, make_action_type, make_agent, make_proposal
from tests.factories.programs import NOW, gate, satisfy, submitted, with_evidence

pytestmark = pytest.mark.django_db


@pytest.fixture
def program(team, ada, dev):
    agent = make_agent(team, ada, stage="demo", name="Refund agent")
    return planning.open_program(agent, name="Refund agent to production", tier="medium", actor=dev)


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
    gates.submit_gate(charter, actor=ada)
    client.force_login(dev)

    page = client.get(f"/programs/gates/{charter.pk}/")
    answer = client.post(f"/programs/gates/{charter.pk}/sign/")

    assert b"Only Product signs PRD-01." in page.content
    assert answer.status_code == 403


def test_the_page_says_which_gate_stands_before_the_signature_and_lets_the_team_refuse(client, ada, program):
    support = submitted(gate(program, "PRD-06"), ada)
    client.force_login(make_member(support.team, Role.OPERATOR, name="Paul"))
    url = f"/programs/gates/{support.pk}/"

    page = client.get(url)
    refused = client.post(f"{url}sign/")
    client.post(f"{url}refuse/", {"reason": "No macros yet."})

    assert b"PRD-06 cannot pass while it waits on PRD-01 Narrow workflow charter (Product)." in page.content
    assert b"Sign for Product" not in page.content
    assert b"Refuse" in page.content
    assert refused.status_code == 409
    assert gate(program, "PRD-06").state == "failed"


def test_the_page_says_which_number_a_signature_lacks(client, ada, program):
    satisfy(program, "PRD-01")
    table = submitted(gate(program, "PRD-03"), ada)
    client.force_login(make_member(table.team, Role.OPERATOR, name="Paul"))
    url = f"/programs/gates/{table.pk}/"

    lacking = client.get(url).content
    make_action_type(program.agent)
    complete = client.get(url).content

    assert b"PRD-03 also needs its number: No record of Actions without risk class yet." in lacking
    assert b"Sign for Product" not in lacking
    assert b"Sign for Product" in complete


def test_the_page_of_an_automatic_gate_offers_no_evidence_and_its_door_refuses_it(client, ada, program):
    log = gate(program, "PLT-04")
    client.force_login(ada)

    page = client.get(f"/programs/gates/{log.pk}/")
    answer = client.post(
        f"/programs/gates/{log.pk}/evidence/", {"item": 0, "name": "Log", "url": "https://docs.example.com/log"}
    )

    assert b"Add a link" not in page.content
    assert answer.status_code == 409
    assert b"PLT-04 is computed from records; it takes no evidence." in answer.content


def test_the_page_says_why_a_gate_is_open_again(client, ada, program):
    charter = submitted(gate(program, "PRD-01"), ada)
    gates.sign_gate(charter, actor=make_member(charter.team, Role.OPERATOR), at=NOW)
    client.force_login(ada)

    client.post(
        f"/programs/gates/{charter.pk}/evidence/", {"item": 1, "name": "Deputy", "url": "https://docs.example.com/d"}
    )

    page = client.get(f"/programs/gates/{charter.pk}/")
    assert b"Open again. Evidence 2 has a new version 2." in page.content
    assert b"Round 2: asked by Ada" in page.content


def test_a_gate_whose_number_nothing_reads_says_so_on_the_program_page(client, dev, program):
    client.force_login(dev)

    before = client.get(f"/programs/{program.pk}/").content
    satisfy(program)
    after = client.get(f"/programs/{program.pk}/").content

    assert before.count(b"its number is not measured yet") == 23
    assert b"its number is not measured yet" not in after


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


@pytest.mark.parametrize(
    ("who", "may"), [("ada", True), ("dev", True), ("ben", False), ("cora", False), ("max_", False), ("olga", False)]
)
def test_only_the_agents_owner_and_managers_have_its_numbers_read(client, cast, program, who, may):
    client.force_login(cast[who])

    page = client.get(f"/programs/{program.pk}/")
    answer = client.post(f"/programs/{program.pk}/read/")

    assert (b"Read the numbers" in page.content) is may
    assert answer.status_code == (302 if may else 403)


@pytest.mark.parametrize("door", ["start/", "evidence/", "submit/"])
def test_an_owner_of_other_agents_works_on_no_gate_of_this_one(client, team, charter, door):
    client.force_login(make_member(team, Role.AGENT_OWNER, name="Otto"))
    url = f"/programs/gates/{charter.pk}/"

    page = client.get(url)
    answer = client.post(url + door, {"item": 0, "name": "Charter", "url": "https://docs.example.com/0"})

    assert b"Submit to" not in page.content
    assert b"Add a link" not in page.content
    assert answer.status_code == 403
    assert b"Refund agent belongs to Ada" in answer.content
    assert not charter.evidence.exists()


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.REVIEWER, Role.AGENT_OWNER])
@pytest.mark.parametrize("door", ["start/", "evidence/", "submit/"])
def test_the_owning_team_judges_what_it_is_given_and_gives_nothing_itself(client, charter, door, role):
    client.force_login(make_member(charter.team, role, name="Paul"))
    url = f"/programs/gates/{charter.pk}/"

    page = client.get(url)
    answer = client.post(url + door, {"item": 0, "name": "Charter", "url": "https://docs.example.com/0"})

    assert b"Submit to" not in page.content
    assert b"Add a link" not in page.content
    assert answer.status_code == 403


def test_an_owner_of_other_agents_does_not_have_its_numbers_read(client, team, program):
    client.force_login(make_member(team, Role.AGENT_OWNER, name="Otto"))

    assert client.post(f"/programs/{program.pk}/read/").status_code == 403


def test_an_owner_who_lost_the_role_works_on_it_no_longer(client, ada, charter):
    ada.memberships.update(role=Role.REVIEWER)
    client.force_login(ada)

    assert client.post(f"/programs/gates/{charter.pk}/submit/").status_code == 403


@pytest.mark.parametrize("what", ["program", "gate"])
def test_an_outsiders_reach_for_a_program_or_gate_is_recorded(client, eve, program, charter, what):
    subject, url = {
        "program": (f"program:{program.pk}", f"/programs/{program.pk}/"),
        "gate": (f"gate:{charter.pk}", f"/programs/gates/{charter.pk}/"),
    }[what]
    client.force_login(eve)

    hidden, missing = client.get(url), client.get(url.replace(str(subject.split(":")[1]), "999999"))

    assert (hidden.status_code, missing.status_code) == (404, 404)
    refused = AuditEvent.objects.get(action="access.refused")
    assert (refused.object, refused.actor) == (subject, eve.actor)


def test_a_signature_by_the_wrong_person_is_recorded(client, ada, dev, charter):
    submitted(charter, ada)
    client.force_login(dev)

    client.post(f"/programs/gates/{charter.pk}/sign/")

    refused = AuditEvent.objects.get(action="access.refused")
    assert (refused.object, refused.actor) == (f"gate:{charter.pk}", dev.actor)
    assert '"right":"gates.sign"' in refused.payload


def test_a_signature_that_only_comes_too_early_is_no_refused_access(client, ada, program):
    support = submitted(gate(program, "PRD-06"), ada)
    client.force_login(make_member(support.team, Role.OPERATOR, name="Paul"))

    client.post(f"/programs/gates/{support.pk}/sign/")

    assert not AuditEvent.objects.filter(action="access.refused").exists()


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
