import pytest
from django.urls import reverse

from apps.agents import actions, systems, workflows
from apps.agents.models import Agent, AgentVersion, AutonomyLevel, KillSwitch
from apps.audit.models import AuditEvent
from tests.factories.accounts import make_member
from tests.factories.agents import ARGS_SCHEMA, make_action_type, make_agent
from tests.factories.connectors import make_connector
from tests.factories.oncall import make_schedule

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
WORKFLOW = "test_desk"


def definitions(settings):
    queue = {"type": "string", "enum": [each["key"] for each in settings["queues"]]}
    return [
        {
            "key": "tickets.route",
            "name": "Route the ticket",
            "args_schema": {**ARGS_SCHEMA, "properties": {**ARGS_SCHEMA["properties"], "queue": queue}},
            "editable_fields": ["queue"],
            "materiality": {"queue": 1},
            "watch_fields": ["queue"],
            "consequence": "Moves {target} to {queue}.",
            "risk_class": "low",
            "reversibility": "reversible",
        }
    ]


@pytest.fixture(autouse=True)
def workflow():
    """A workflow as a higher app would bring it."""
    defaults = {"queues": [{"key": "login", "name": "Login", "hint": ""}], "priorities": ["low"], "sure_at": 0.7}
    workflows.register(WORKFLOW, "Test desk", {**defaults, "kept": 1}, definitions)
    yield
    del workflows._workflows[WORKFLOW]


@pytest.fixture(autouse=True)
def system(team):
    """A system of our team, as a higher app would list it."""

    def listing(user):
        return [("desk", "Desk")] if user.has_perm("agents.register", team.pk) else []

    systems.register(listing)
    yield
    systems._listings.remove(listing)


@pytest.fixture
def enter(client):
    def enter_as(person):
        client.force_login(person)
        return client

    return enter_as


@pytest.fixture
def agent(team, ada):
    agent = make_agent(team=team, owner=ada, slug="ticket-desk", name="Ticket desk", workflow=WORKFLOW)
    make_action_type(agent, risk_class="high", reversibility="irreversible")
    return agent


def switch_of(agent):
    return KillSwitch.objects.get(scope="agent", scope_id=agent.pk)


def registration(team, owner, **fields):
    return {
        "name": "Claims desk",
        "purpose": "Routes claims.",
        "team": team.pk,
        "owner": owner.pk,
        "workflow": WORKFLOW,
        "connector_key": "desk",
        "stage": "pilot",
        "queues": "login | Login | Cannot sign in\nprinting",
        "priorities": "low, high",
        "sure_at": "0.6",
        **fields,
    }


PAGES = ["/agents/", "/agents/start/", "/agents/ticket-desk/", "/agents/ticket-desk/versions/", "/agents/stop/"]


@pytest.mark.parametrize("path", [*PAGES, "/agents/new/"])
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_every_page_opens_for_the_owner(enter, agent, ada, path, headers):
    assert enter(ada).get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("path", [*PAGES, "/agents/new/", "/agents/stop/1/release/"])
def test_strangers_sign_in_first(client, path):
    assert client.get(path).status_code == 302


def test_eve_finds_no_agent_of_ours(enter, agent, eve):
    enter_eve = enter(eve)

    assert b"Ticket desk" not in enter_eve.get("/agents/").content
    assert b"Ticket desk" not in enter_eve.get("/agents/stop/").content
    assert enter_eve.get("/agents/ticket-desk/").status_code == 404
    assert enter_eve.get("/agents/ticket-desk/versions/").status_code == 404
    assert enter_eve.post("/agents/ticket-desk/versions/", registration(agent.team, eve)).status_code == 404
    assert enter_eve.get("/agents/no-such-agent/").status_code == 404


@pytest.mark.parametrize("verb", ["engage", "release"])
@pytest.mark.parametrize("scope", ["team", "agent", "action_type"])
def test_eve_cannot_use_our_switches(enter, agent, eve, verb, scope):
    switch = KillSwitch.objects.get(scope=scope)

    answer = enter(eve).post(reverse(f"agents:{verb}", args=[switch.pk]), {"reason": "Mischief"})

    assert answer.status_code == 404
    switch.refresh_from_db()
    assert not switch.engaged


def test_the_page_of_an_agent_says_who_owns_it_what_it_may_do_and_why_not_alone(enter, agent, ben):
    page = enter(ben).get("/agents/ticket-desk/").content.decode()

    assert "Ada" in page
    assert agent.versions.get().fingerprint in page
    assert "A person approves each action" in page
    assert "Stays with people: irreversible." in page
    assert reverse("oncall:agent_panel", args=[agent.pk]) in page


def test_the_list_names_each_agent_its_stage_and_its_level_in_words(enter, agent, ben):
    page = enter(ben).get("/agents/").content.decode()

    assert "Ticket desk" in page
    assert "Pilot" in page
    assert "a person approves each action" in page


def test_an_empty_list_leads_to_the_first_steps(enter, ada):
    assert reverse("agents:start") in enter(ada).get("/agents/").content.decode()


def test_an_empty_house_opens_with_its_guide_until_there_is_an_agent(enter, ada, team):
    assert enter(ada).get("/").headers["Location"] == "/agents/start/"

    make_agent(team=team, owner=ada)

    assert enter(ada).get("/").headers["Location"] != "/agents/start/"
    assert b"First steps" not in enter(ada).get("/agents/").content


def test_the_guide_ticks_off_what_is_done(enter, ada, team):
    before = enter(ada).get("/agents/start/").content.decode()
    actions.ensure_switch("connector", 3, name="Desk", team=team)
    after = enter(ada).get("/agents/start/").content.decode()

    assert (before.count("data-done"), after.count("data-done")) == (1, 2)


def test_the_guide_asks_who_answers_until_there_is_a_rotation(enter, cast, team):
    ada, cora = cast["ada"], cast["cora"]
    page = enter(ada).get("/agents/start/").content.decode()
    assert "Say who answers" in page
    assert "An operator can do this." in page
    assert '<a class="button " href="/oncall/">Add a rotation</a>' in enter(cora).get("/agents/start/").content.decode()

    make_schedule(team, cora)

    page = enter(cora).get("/agents/start/").content.decode()
    assert "Say who answers" in page
    assert "Add a rotation" not in page
    assert page.count("data-done") == 2


def test_the_guide_says_when_everything_is_done(enter, ada, cora, team):
    actions.ensure_switch("connector", 3, name="Desk", team=team)
    make_agent(team=team, owner=ada)
    assert b"somebody answers it" in enter(ada).get("/agents/start/").content

    make_schedule(team, cora)

    assert b"All of them are done." in enter(ada).get("/agents/start/").content


def test_an_owner_registers_an_agent_that_can_work_at_once(enter, ada, team):
    answer = enter(ada).post("/agents/new/", registration(team, ada))

    assert answer.headers["Location"] == "/agents/claims-desk/"
    agent = Agent.objects.get(slug="claims-desk")
    version = agent.versions.get(is_current=True)
    assert version.settings == {
        "queues": [
            {"key": "login", "name": "Login", "hint": "Cannot sign in"},
            {"key": "printing", "name": "printing", "hint": ""},
        ],
        "priorities": ["low", "high"],
        "sure_at": 0.6,
        "kept": 1,
    }
    assert agent.action_types.get().args_schema["properties"]["queue"]["enum"] == ["login", "printing"]
    assert AutonomyLevel.objects.get(agent=agent).level == "approve"
    assert (agent.owner, agent.stage) == (ada, "pilot")


def test_htmx_moves_on_to_the_new_agent(enter, ada, team):
    answer = enter(ada).post("/agents/new/", registration(team, ada), headers=HTMX)

    assert answer.headers["HX-Redirect"] == "/agents/claims-desk/"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "This field is required"),
        ({"name": "Start"}, "address of another page"),
        ({"slug": "ticket-desk"}, "already called ticket-desk"),
        ({"queues": ""}, "This field is required"),
        ({"queues": "a | A\na | B"}, "is there twice"),
        ({"queues": "a | A | hint | more"}, "does not read as"),
        ({"priorities": "low, low"}, "Name each priority once"),
        ({"sure_at": "1.5"}, "less than or equal to 1"),
        ({"sure_at": "NaN"}, "Enter a number"),
        ({"connector_key": "of-another-team"}, "not one of the available choices"),
        ({"workflow": "rm_rf"}, "not one of the available choices"),
        ({"stage": "scaled"}, "not one of the available choices"),
    ],
)
def test_a_wrong_field_is_named_and_no_agent_is_left(enter, agent, ada, fields, words):
    answer = enter(ada).post("/agents/new/", registration(agent.team, ada, **fields), headers=HTMX)

    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert "<html" not in answer.content.decode()
    assert Agent.objects.count() == 1


def test_nobody_registers_an_agent_in_a_team_of_others_or_for_them(enter, cast, team, other_team):
    ada, ben, eve = cast["ada"], cast["ben"], cast["eve"]
    entered = enter(ada)

    assert entered.post("/agents/new/", registration(other_team, ada)).status_code == 422
    assert entered.post("/agents/new/", registration(team, eve)).status_code == 422
    assert entered.post("/agents/new/", registration(team, ben)).status_code == 422
    assert enter(ben).post("/agents/new/", registration(team, ben)).status_code == 403
    assert not Agent.objects.exists()


def test_publishing_follows_the_queues_and_asks_people_again(enter, ada, team):
    enter(ada).post("/agents/new/", registration(team, ada))
    agent = Agent.objects.get()
    AutonomyLevel.objects.update(level="auto")

    settings = registration(team, ada, queues="login\nnetwork", instructions="Be brief.")
    answer = enter(ada).post("/agents/claims-desk/versions/", settings)

    assert answer.status_code == 302
    action_type = agent.action_types.get()
    assert AgentVersion.objects.get(is_current=True).number == 2
    assert action_type.args_schema["properties"]["queue"]["enum"] == ["login", "network"]
    assert action_type.schema_version == 2
    assert AutonomyLevel.objects.get().level == "approve"


def test_publishing_the_same_shape_keeps_the_schema_version(enter, ada, team):
    enter(ada).post("/agents/new/", registration(team, ada))

    enter(ada).post("/agents/claims-desk/versions/", registration(team, ada, instructions="Be brief."))

    assert Agent.objects.get().action_types.get().schema_version == 1


def test_a_wrong_version_is_not_published(enter, agent, ada):
    answer = enter(ada).post("/agents/ticket-desk/versions/", registration(agent.team, ada, queues=""), headers=HTMX)

    assert answer.status_code == 422
    assert AgentVersion.objects.count() == 1


def test_reviewers_see_versions_and_publish_none(enter, agent, ben):
    page = enter(ben).get("/agents/ticket-desk/versions/")

    assert b"Version 1" in page.content
    assert b"Publish the next version" not in page.content
    assert enter(ben).post("/agents/ticket-desk/versions/", registration(agent.team, ben)).status_code == 403


def test_another_agent_owner_publishes_nothing_and_learns_whom_to_ask(enter, agent, team):
    otto = make_member(team, "agent_owner", name="Otto")

    page = enter(otto).get("/agents/ticket-desk/versions/")
    refused = enter(otto).post("/agents/ticket-desk/versions/", registration(team, otto))

    assert b"Publish the next version" not in page.content
    assert refused.status_code == 403
    assert (
        "Ticket desk belongs to Ada, and only its owner may do this. Nothing was changed." in refused.content.decode()
    )
    assert "Ask Ada." in refused.content.decode()
    assert AgentVersion.objects.count() == 1
    assert AuditEvent.objects.filter(action="access.refused", actor=otto.actor).exists()


def test_the_owner_of_an_agent_who_lost_the_role_publishes_nothing(enter, agent, ada):
    ada.memberships.all().update(role="tpm")

    assert enter(ada).post("/agents/ticket-desk/versions/", registration(agent.team, ada)).status_code == 403


def test_a_version_of_a_workflow_that_is_not_installed_is_refused(enter, team, ada):
    make_agent(team=team, owner=ada, slug="old", workflow="gone")

    answer = enter(ada).post("/agents/old/versions/", registration(team, ada))

    assert answer.status_code == 422
    assert b"is not installed here" in answer.content


@pytest.mark.parametrize("person", ["ben", "cora", "ada", "ivo"])
def test_reviewers_and_up_stop_an_agent_with_one_click(enter, cast, agent, person):
    url = reverse("agents:engage", args=[switch_of(agent).pk])

    answer = enter(cast[person]).post(url, {"agent": "ticket-desk"}, follow=True)

    assert answer.redirect_chain == [("/agents/ticket-desk/", 302)]
    assert b"Ticket desk: stopped" in answer.content
    assert switch_of(agent).by == cast[person].actor


@pytest.mark.parametrize("person", ["dev", "olga", "max_"])
def test_others_of_the_team_may_not_stop_it(enter, cast, agent, person):
    answer = enter(cast[person]).post(reverse("agents:engage", args=[switch_of(agent).pk]))

    assert answer.status_code == 403
    assert not switch_of(agent).engaged


def test_the_switch_alone_is_redrawn_for_htmx_and_asks_for_the_reason(enter, agent, ben):
    url = reverse("agents:engage", args=[switch_of(agent).pk])

    stopped = enter(ben).post(url, headers=HTMX).content.decode()
    explained = enter(ben).post(url, {"reason": "Odd <b>replies"}, headers=HTMX).content.decode()

    assert "<html" not in stopped
    assert "Ben stopped it" in stopped
    assert "Save the reason" in stopped
    assert "An operator can release it." in stopped
    assert "Odd &lt;b&gt;replies" in explained
    logged = AuditEvent.objects.filter(action__startswith="kill.").order_by("id")
    assert list(logged.values_list("action", "actor")) == [("kill.engaged", ben.actor), ("kill.explained", ben.actor)]


def test_a_stopped_agent_is_marked_on_every_page(enter, agent, ben):
    actions.engage_switch("team", agent.team_id, actor=ben, reason="Odd replies")

    assert b"Stopped" in enter(ben).get("/agents/").content
    assert b"Odd replies" in enter(ben).get("/agents/ticket-desk/").content
    assert b"1 of 4 switches is engaged." in enter(ben).get("/agents/stop/").content


def test_a_missing_switch_is_said_aloud(enter, agent, ben):
    switch_of(agent).delete()

    assert b"Its kill switch is missing" in enter(ben).get("/agents/ticket-desk/").content


@pytest.mark.parametrize(("person", "status"), [("cora", 302), ("ivo", 302), ("ben", 403), ("ada", 403), ("dev", 403)])
def test_only_operators_and_administrators_release(enter, cast, agent, person, status):
    actions.engage_switch("agent", agent.pk, actor="timer")

    answer = enter(cast[person]).post(reverse("agents:release", args=[switch_of(agent).pk]), {"reason": "Fixed"})

    assert answer.status_code == status
    assert switch_of(agent).engaged is (status != 302)


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_releasing_asks_for_a_reason_first(enter, agent, cora, headers):
    actions.engage_switch("agent", agent.pk, actor="timer")
    url = reverse("agents:release", args=[switch_of(agent).pk]) + "?agent=ticket-desk"

    asked = enter(cora).get(url)
    refused = enter(cora).post(url, {"reason": " "}, headers=headers)
    released = enter(cora).post(url, {"reason": "Fixed"})

    assert b"Why may it go on?" in asked.content
    assert refused.status_code == 422
    assert released.headers["Location"] == "/agents/ticket-desk/"
    assert switch_of(agent).reason == "Fixed"


def test_everything_can_be_stopped_by_a_reviewer_of_any_team(enter, agent, eve):
    everything = KillSwitch.objects.get(scope="all")

    enter(eve).post(reverse("agents:engage", args=[everything.pk]), {"reason": "Fire"})

    everything.refresh_from_db()
    assert everything.engaged


def test_the_way_back_stays_in_the_house(enter, agent, ben):
    answer = enter(ben).post(reverse("agents:engage", args=[switch_of(agent).pk]), {"agent": "//evil.example"})

    assert answer.headers["Location"] == "/agents/stop/"


def test_an_unknown_switch_is_not_found(enter, ben):
    assert enter(ben).post("/agents/stop/999999/engage/").status_code == 404


def test_only_systems_of_the_persons_teams_are_offered(enter, team, other_team, ada):
    make_connector(team, key="our-desk")
    make_connector(other_team, key="their-desk")

    page = enter(ada).get("/agents/new/").content.decode()

    assert "our-desk" in page
    assert "their-desk" not in page
