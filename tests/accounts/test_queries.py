import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import Http404

from apps.accounts import actions
from apps.accounts.access import Forbidden, Hidden, ensure, object_or_404, scoped
from apps.accounts.domain.rights import UnknownRight
from apps.accounts.models import Membership, Role, User
from apps.accounts.queries import people_of, team_ids_with, users_with
from tests.factories.accounts import make_member

pytestmark = pytest.mark.django_db


def test_a_right_holds_inside_the_team_only(ben, team, other_team):
    assert ben.has_perm("approvals.decide", team.pk)
    assert ben.has_perm("approvals.decide")
    assert not ben.has_perm("approvals.decide", other_team.pk)


def test_an_outsider_with_every_role_has_no_right_in_the_team(eve, team):
    assert not any(eve.has_perm(right, team.pk) for right in ("approvals.decide", "people.change", "audit.search"))


def test_a_role_gives_no_right_of_another_role(ben, team):
    assert not ben.has_perm("kill.release", team.pk)
    assert not ben.has_perm("kill.release")


def test_nobody_in_particular_has_no_right(db):
    assert team_ids_with(AnonymousUser(), "approvals.view") == frozenset()
    assert not AnonymousUser().has_perm("approvals.view")


def test_a_closed_account_has_no_right(ben, team):
    ben.is_active = False

    assert not ben.has_perm("approvals.decide", team.pk)


def test_asking_for_a_right_that_is_none_is_a_loud_slip(ben):
    with pytest.raises(UnknownRight):
        ben.has_perm("approvals.approve")


def test_templates_may_ask_for_any_right_of_an_app(ben):
    assert ben.has_module_perms("approvals")
    assert not ben.has_module_perms("audit")


def test_all_rights_of_a_request_cost_one_query(ben, team, django_assert_num_queries):
    person = User.objects.get(pk=ben.pk)

    with django_assert_num_queries(1):
        person.has_perm("approvals.decide", team.pk)
        person.has_perm("people.change")
        team_ids_with(person, "runs.view")


def test_who_holds_a_right_in_a_team_leaves_out_closed_accounts_and_outsiders(team, ben, ada, eve):
    closed = make_member(team, Role.REVIEWER, is_active=False)
    both = make_member(team, Role.REVIEWER, Role.OPERATOR)

    found = users_with("approvals.view", team.pk)

    assert set(found) == {ben, ada, both}
    assert closed not in found


def test_rows_are_limited_to_the_teams_of_the_right(ben, eve, team, other_team):
    assert {row.team for row in scoped(Membership.objects.all(), ben, "approvals.decide")} == {team}
    assert {row.team for row in scoped(Membership.objects.all(), eve, "approvals.decide")} == {other_team}
    assert not scoped(Membership.objects.all(), ben, "people.change").exists()


def test_an_object_is_reached_by_who_holds_the_right(ivo, ben, team):
    row = ben.memberships.get()

    assert object_or_404(Membership.objects.all(), ivo, "people.change", row.pk) == row


def test_to_an_outsider_the_object_does_not_exist(eve, ben):
    with pytest.raises(Hidden):
        object_or_404(Membership.objects.all(), eve, "people.change", ben.memberships.get().pk)


def test_a_member_without_the_right_learns_which_one_is_missing(ben, team):
    with pytest.raises(Forbidden) as refused:
        object_or_404(Membership.objects.all(), ben, "people.change", ben.memberships.get().pk)

    assert (refused.value.right, refused.value.team_id) == ("people.change", team.pk)


def test_an_object_that_never_was_is_plainly_not_found(ivo):
    with pytest.raises(Http404) as refused:
        object_or_404(Membership.objects.all(), ivo, "people.change", 10**9)

    assert not isinstance(refused.value, Hidden)


def test_an_object_by_its_path_costs_one_query_beside_the_roles(ivo, ben, django_assert_num_queries):
    row = ben.memberships.get()
    viewer = User.objects.get(pk=ivo.pk)

    with django_assert_num_queries(2):
        object_or_404(Membership.objects.all(), viewer, "people.change", row.pk)


def test_without_a_team_any_team_will_do(ivo, ben):
    ensure(ivo, "people.change")
    with pytest.raises(Forbidden):
        ensure(ben, "people.change")


def test_people_in_no_team_are_seen_by_administrators_only(ivo, olga, eve, ben):
    actions.revoke_role(ben.memberships.get(), actor=ivo)

    assert ben in people_of(ivo)
    assert ben not in people_of(olga)
    assert eve not in people_of(ivo)
