import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.domain.rights import (
    OVER_OWN_AGENTS,
    RIGHTS,
    ROLES,
    UnknownRight,
    holds_over_agent,
    roles_with,
    teams_with,
)
from apps.accounts.models import Role


def test_the_roles_of_the_rules_are_the_roles_of_the_table():
    assert set(ROLES) == set(Role.values)


@pytest.mark.parametrize("right", sorted(RIGHTS))
def test_every_right_is_held_by_some_role_that_exists(right):
    assert RIGHTS[right]
    assert RIGHTS[right] <= set(ROLES)


def test_an_unknown_right_is_a_loud_slip():
    with pytest.raises(UnknownRight, match=r"approvals\.approve"):
        roles_with("approvals.approve")


roles_by_team = st.dictionaries(st.integers(1, 5), st.frozensets(st.sampled_from(ROLES)), max_size=5)


@given(st.sampled_from(sorted(RIGHTS)), roles_by_team)
def test_a_right_holds_exactly_where_one_of_its_roles_is_held(right, held):
    assert teams_with(right, held) == {team for team, roles in held.items() if any(r in RIGHTS[right] for r in roles)}


@given(st.sampled_from(sorted(RIGHTS)), roles_by_team, roles_by_team)
def test_a_role_in_one_team_never_gives_a_right_in_another(right, held, more):
    merged = held | {team + 100: roles for team, roles in more.items()}

    assert teams_with(right, merged) & held.keys() == teams_with(right, held)


@given(st.sampled_from(sorted(RIGHTS)), st.frozensets(st.sampled_from(ROLES)))
def test_owning_an_agent_gives_no_right_that_the_roles_do_not(right, roles):
    assert holds_over_agent(right, roles, owns=True) is bool(roles & RIGHTS[right])


@given(st.sampled_from(sorted(RIGHTS)), st.frozensets(st.sampled_from(ROLES)))
def test_over_somebody_elses_agent_only_the_agent_owners_share_falls_away(right, roles):
    others = roles - {"agent_owner"} if right in OVER_OWN_AGENTS else roles

    assert holds_over_agent(right, roles, owns=False) is bool(others & RIGHTS[right])
