"""The table of roles, written down a second time by hand; ASVS 8.2.1-8.2.3, 8.3.1-8.3.3."""

import pytest

from apps.accounts.domain.rights import RIGHTS, ROLES

pytestmark = pytest.mark.django_db

COLUMNS = ("reviewer", "operator", "tpm", "executive", "agent_owner", "auditor", "admin")
TABLE = {
    #                        rev op tpm exe own aud adm
    "approvals.view":       "y   y  -   -   y   y   -",
    "approvals.decide":     "y   -  -   -   -   -   -",
    "approvals.undo":       "y   -  -   -   -   -   -",
    "runs.view":            "y   y  y   -   y   y   -",
    "runs.repair":          "-   y  -   -   -   -   -",
    "work.import":          "-   y  -   -   y   -   -",
    "work.close_hand_over": "y   -  -   -   -   -   -",
    "agents.view":          "y   y  y   -   y   y   y",
    "agents.change":        "-   -  -   -   y   -   -",
    "agents.register":      "-   -  -   -   y   -   y",
    "kill.engage":          "y   y  -   -   y   -   y",
    "kill.release":         "-   y  -   -   -   -   y",
    "slo.view":             "y   y  y   -   y   y   y",
    "slo.change":           "-   -  -   -   y   -   -",
    "oncall.view":          "-   y  y   -   y   y   -",
    "oncall.change":        "-   y  -   -   -   -   -",
    "connectors.view":      "-   -  -   -   -   y   y",
    "connectors.change":    "-   -  -   -   -   -   y",
    "programs.view":        "y   y  y   y   y   y   y",
    "programs.plan":        "-   -  y   -   -   -   -",
    "programs.submit":      "-   -  y   -   y   -   -",
    "gates.sign":           "y   y  y   -   y   -   y",
    "catalogue.change":     "-   -  y   -   -   -   y",
    "portfolio.view":       "-   y  y   y   y   y   y",
    "audit.search":         "-   -  -   -   -   y   -",
    "people.view":          "-   -  -   -   -   y   y",
    "people.change":        "-   -  -   -   -   -   y",
}  # fmt: skip
BY_ROLE = {
    "reviewer": "ben",
    "operator": "cora",
    "tpm": "dev",
    "executive": "max_",
    "agent_owner": "ada",
    "auditor": "olga",
    "admin": "ivo",
}


def test_the_table_names_every_right_and_role():
    assert set(TABLE) == set(RIGHTS)
    assert set(COLUMNS) == set(ROLES)


@pytest.mark.parametrize("role", COLUMNS)
def test_role_action_team_matrix(cast, team, other_team, role):
    person = cast[BY_ROLE[role]]
    expected = {right for right, row in TABLE.items() if row.split()[COLUMNS.index(role)] == "y"}

    assert {right for right in RIGHTS if person.has_perm(right, team.pk)} == expected
    assert not {right for right in RIGHTS if person.has_perm(right, other_team.pk)}


def test_an_outsider_with_every_role_has_no_right_here(eve, team):
    assert not {right for right in RIGHTS if eve.has_perm(right, team.pk)}


def test_an_auditor_changes_nothing(olga, team):
    verbs_of_change = {right for right in RIGHTS if right.split(".")[1] not in {"view", "search"}}

    assert not {right for right in verbs_of_change if olga.has_perm(right, team.pk)}
