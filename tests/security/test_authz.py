"""S6 and its table of roles, written here as the design has it; ASVS 8.2.1-8.2.3, 8.3.1-8.3.3.

A row says what each role may do. Which rights of the code a row is about stands below it; a right that no row is
about needs a reason of its own.
"""

import pytest
from django.urls import reverse

from apps.accounts.domain.rights import RIGHTS, ROLES
from apps.accounts.models import Role
from apps.agents.queries import may
from apps.audit.clock import clock
from tests.factories.accounts import make_member
from tests.factories.approvals import make_agent, make_proposal

pytestmark = pytest.mark.django_db

# R read, W change (and read), – no. A slash parts two rights of one row.
DESIGN = """
| Right | reviewer | operator | tpm | executive | agent_owner | auditor | admin |
| Inbox cards / decide | R / W | R / – | – | – | R / – | R / – | – |
| Kill switch engage / release | W / – | W / W | – | – | W / – | – | W / W |
| Reconcile unknown, repair thread, incidents, schedules | – | W | R | – | R | R | – |
| ActionType, ApprovalPolicy, Objective, Runbook | R | R | R | – | W own agents | R | R |
| Programs, plan, Asks sent / gate catalogue | R / R | R / R | W / W | R / – | W own agents (evidence, submit) / R | R / R | R / W |
| Sign or refuse a gate | W | W | W | – | W | – | W |
| Portfolio | – | R | R | R | R | R | R |
| Raw traces and arguments (logged) | R own cards | R | – | – | R own agents | R | – |
| Audit search, verify, export / erase | – | – | – | – | – | R / – | – |
| Users, roles, tokens, credentials (write-only), keys | – | – | – | – | – | R | W |
"""

# Row of the design, part of its cell, what the letter must at least be → the rights that it gives.
GIVES = {
    ("Inbox cards / decide", 0, "R"): ["approvals.view"],
    ("Inbox cards / decide", 1, "W"): ["approvals.decide", "approvals.undo", "work.close_hand_over"],
    ("Kill switch engage / release", 0, "W"): ["kill.engage"],
    ("Kill switch engage / release", 1, "W"): ["kill.release"],
    ("Reconcile unknown, repair thread, incidents, schedules", 0, "R"): ["repairs.view", "oncall.view"],
    ("Reconcile unknown, repair thread, incidents, schedules", 0, "W"): ["runs.repair", "oncall.change"],
    ("ActionType, ApprovalPolicy, Objective, Runbook", 0, "R"): ["agents.view", "slo.view"],
    ("ActionType, ApprovalPolicy, Objective, Runbook", 0, "W"): ["agents.change", "slo.change"],
    ("Programs, plan, Asks sent / gate catalogue", 0, "R"): ["programs.view"],
    ("Programs, plan, Asks sent / gate catalogue", 0, "W"): ["programs.submit"],
    ("Programs, plan, Asks sent / gate catalogue", 1, "W"): ["catalogue.change"],
    ("Sign or refuse a gate", 0, "W"): ["gates.sign"],
    ("Portfolio", 0, "R"): ["portfolio.view"],
    ("Raw traces and arguments (logged)", 0, "R"): ["traces.read"],
    ("Audit search, verify, export / erase", 0, "R"): ["audit.search"],
    ("Users, roles, tokens, credentials (write-only), keys", 0, "R"): ["people.view", "connectors.view"],
    ("Users, roles, tokens, credentials (write-only), keys", 0, "W"): ["people.change", "connectors.change"],
}
# What the design's table does not speak of, or only in brackets: who, and why.
BESIDE = {
    "programs.plan": ({"tpm"}, "agent owners write evidence and submissions only, so the plan is the TPM's"),
    "runs.view": (
        {"reviewer", "operator", "tpm", "agent_owner", "auditor"},
        "a run's state and outcome, for whoever follows the work; its trace is `traces.read`",
    ),
    "work.import": ({"operator", "agent_owner"}, "who brings an agent its cases"),
    "approvals.withdraw": (
        {"operator", "admin"},
        "T11: who stops things takes a card back in its agent's place; it is no verdict, so no reviewer's right",
    ),
    "channels.view": (
        {"reviewer", "operator", "auditor", "admin"},
        "whoever decides must know whether messages arrive; addresses and secrets are shown to nobody",
    ),
    "channels.change": (
        {"operator", "admin"},
        "a channel carries titles of cards out of the house: who runs the desk, or who keeps credentials",
    ),
    "vigilance.view": (
        {"auditor", "admin"},
        "R17 reveals drills to them; how a reviewer looks is their own business and that of who looks after people",
    ),
    "drills.plant": ({"admin"}, "who runs the exercises must not be the one who is exercised"),
    "agents.register": ({"agent_owner", "admin"}, "an empty house has an administrator and nobody else"),
}
BY_ROLE = {
    "reviewer": "ben",
    "operator": "cora",
    "tpm": "dev",
    "executive": "max_",
    "agent_owner": "ada",
    "auditor": "olga",
    "admin": "ivo",
}


def cells():
    """Yield row, part, role and letter of each cell of the design."""
    header, *rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in DESIGN.strip().splitlines()]
    for name, *row in rows:
        for role, cell in zip(header[1:], row, strict=True):
            for part, words in enumerate(cell.split(" / ")):
                yield name, part, role, words[0]


def designed(role):
    """Return the rights that the design gives to a role."""
    letters = {(name, part): letter for name, part, whose, letter in cells() if whose == role}
    given = {right for right, (roles, _) in BESIDE.items() if role in roles}
    for (name, part, least), rights in GIVES.items():
        if letters.get((name, part), "–") in ("W", least):
            given.update(rights)
    return given


def test_the_design_is_about_every_role_and_every_right():
    assert {role for _, _, role, _ in cells()} == set(ROLES)
    assert {name for name, *_ in cells()} == {name for name, *_ in GIVES}
    assert {right for rights in GIVES.values() for right in rights} | set(BESIDE) == set(RIGHTS)


@pytest.mark.parametrize("role", ROLES)
def test_role_action_team_matrix(cast, team, other_team, role):
    person = cast[BY_ROLE[role]]

    assert {right for right in RIGHTS if person.has_perm(right, team.pk)} == designed(role)
    assert not {right for right in RIGHTS if person.has_perm(right, other_team.pk)}


def test_an_outsider_with_every_role_has_no_right_here(eve, team):
    assert not {right for right in RIGHTS if eve.has_perm(right, team.pk)}


def test_an_auditor_changes_nothing(olga, team):
    verbs_of_change = {right for right in RIGHTS if right.split(".")[1] not in {"view", "search", "read"}}

    assert not {right for right in verbs_of_change if olga.has_perm(right, team.pk)}


class TestOwnAgents:
    """Where the design's table says "own agents", the role alone is not enough."""

    @pytest.fixture
    def agent(self, team, ada):
        return make_agent(team, ada)

    @pytest.fixture
    def another_owner(self, team):
        return make_member(team, Role.AGENT_OWNER, name="Otto")

    @pytest.mark.parametrize("right", ["agents.change", "traces.read"])
    def test_an_agent_owner_holds_it_over_their_own_agents_only(self, agent, ada, another_owner, right):
        assert may(ada, right, agent)
        assert not may(another_owner, right, agent)

    def test_another_role_holds_it_over_all_agents_of_the_team(self, cast, agent):
        assert [name for name in BY_ROLE.values() if may(cast[name], "traces.read", agent)] == [
            "ben",
            "cora",
            "ada",
            "olga",
        ]

    def test_two_roles_give_what_either_gives(self, agent, team):
        both = make_member(team, Role.AGENT_OWNER, Role.OPERATOR)

        assert may(both, "traces.read", agent)
        assert not may(both, "agents.change", agent)

    def test_an_owner_who_lost_the_role_owns_in_name_only(self, agent, ada):
        ada.memberships.all().delete()

        assert not may(ada, "agents.change", agent)

    def test_an_outsider_holds_nothing_over_it(self, agent, eve):
        assert not any(may(eve, right, agent) for right in RIGHTS)


def test_no_self_approval(client, team, ada):
    proposal = make_proposal(team, ada, at=clock())
    ada.memberships.create(team=team, role=Role.REVIEWER)
    client.force_login(ada)

    verdict = {"verdict": "approve", "version": proposal.version, "digest": proposal.digest}
    answer = client.post(reverse("approvals:decide", args=[proposal.pk]), verdict)

    assert answer.status_code == 403
    assert not proposal.decisions.exists()
