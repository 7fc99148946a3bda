"""The fixed cast. All but Eve belong to `team`; Eve holds every role, but in `other_team`: each access rule is run with her."""

import pytest

from apps.accounts.models import Role
from tests.factories.accounts import PASSWORD, make_member, make_team

CAST = ("ada", "ben", "cora", "dev", "max_", "olga", "ivo", "eve")


def _person(name, team, *roles):
    return make_member(team, *roles, name=name, email=f"{name.lower()}@example.com", password=PASSWORD)


@pytest.fixture
def team(db):
    """Make the team that the cast works in."""
    return make_team("Support", slug="support")


@pytest.fixture
def other_team(db):
    """Make Eve's team: nothing of `team` may be visible from here."""
    return make_team("Elsewhere", slug="elsewhere")


@pytest.fixture
def ada(team):
    """Ada owns the agent."""
    return _person("Ada", team, Role.AGENT_OWNER)


@pytest.fixture
def ben(team):
    """Ben reviews."""
    return _person("Ben", team, Role.REVIEWER)


@pytest.fixture
def cora(team):
    """Cora is on call."""
    return _person("Cora", team, Role.OPERATOR)


@pytest.fixture
def dev(team):
    """Dev is a program manager."""
    return _person("Dev", team, Role.TPM)


@pytest.fixture
def max_(team):
    """Max is an executive."""
    return _person("Max", team, Role.EXECUTIVE)


@pytest.fixture
def olga(team):
    """Olga audits."""
    return _person("Olga", team, Role.AUDITOR)


@pytest.fixture
def ivo(team):
    """Ivo administrates."""
    return _person("Ivo", team, Role.ADMIN)


@pytest.fixture
def eve(other_team):
    """Eve is an outsider with every role."""
    return _person("Eve", other_team, *Role)


@pytest.fixture
def cast(request):
    """Everybody, by the name of the fixture."""
    return {name: request.getfixturevalue(name) for name in CAST}
