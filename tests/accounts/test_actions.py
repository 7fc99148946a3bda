import json
import threading

import pytest
from django.db import connection

from apps.accounts import actions
from apps.accounts.errors import AddressTaken, FirstRunOver, LastAdministrator, NotYours
from apps.accounts.models import Membership, Role, Team, User
from apps.audit.models import AuditEvent
from tests.factories.accounts import PASSWORD, make_member, make_team, make_user

pytestmark = pytest.mark.django_db


def told():
    return [(event.action, event.object, event.actor) for event in AuditEvent.objects.order_by("id")]


def first_run(**fields):
    given = {"name": "Ivo", "email": "Ivo@Example.com", "password": PASSWORD, "team_name": "Support"}
    return actions.create_first_administrator(**given | fields)


def test_the_first_person_administrates_the_first_team():
    ivo = first_run()

    team = Team.objects.get()
    assert (team.name, team.slug, team.lead) == ("Support", "support", ivo)
    assert ivo.has_perm("people.change", team.pk)
    assert (ivo.email, ivo.check_password(PASSWORD)) == ("ivo@example.com", True)
    assert [action for action, _, _ in told()] == ["person.created", "team.created", "role.granted"]


def test_there_is_only_one_first_person():
    first_run()

    with pytest.raises(FirstRunOver):
        first_run(email="mallory@example.com")

    assert User.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_first_persons_at_once_one_is_refused():
    outcomes = []

    def hurry(number):
        try:
            first_run(email=f"person-{number}@example.com")
            outcomes.append("created")
        except FirstRunOver:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=hurry, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["created", "refused", "refused", "refused"]
    assert User.objects.count() == 1


def test_a_new_person_has_a_role_and_no_password(ivo, team):
    person = actions.create_person(name="Nora", email="Nora@Example.com", team=team, role=Role.REVIEWER, actor=ivo)

    assert person.has_perm("approvals.decide", team.pk)
    assert not person.has_usable_password()
    assert told() == [("person.created", person.actor, ivo.actor), ("role.granted", person.actor, ivo.actor)]


def test_no_name_is_in_the_header_of_an_event(ivo, team):
    actions.create_person(name="Nora", email="nora@example.com", team=team, role=Role.REVIEWER, actor=ivo)

    assert not any("ora" in event.header for event in AuditEvent.objects.all())


def test_an_address_belongs_to_one_person(ivo, ben, team):
    with pytest.raises(AddressTaken):
        actions.create_person(name="Ben", email="BEN@example.com", team=team, role=Role.ADMIN, actor=ivo)

    assert told() == []


def test_who_creates_a_team_administrates_it(ivo):
    team = actions.create_team(name="Legal", purpose="Reads contracts", actor=ivo)

    assert ivo.has_perm("people.change", team.pk)
    assert [action for action, _, _ in told()] == ["team.created", "role.granted"]


def test_teams_of_like_names_get_different_addresses(ivo):
    first = actions.create_team(name="Trust & Safety", actor=ivo)
    second = actions.create_team(name="Trust, Safety", actor=ivo)

    assert (first.slug, second.slug) == ("trust-safety", "trust-safety-2")


def test_a_role_given_twice_is_given_once(ivo, ben, team):
    actions.grant_role(ben, team=team, role=Role.OPERATOR, actor=ivo)
    actions.grant_role(ben, team=team, role=Role.OPERATOR, actor=ivo)

    assert ben.has_perm("kill.release", team.pk)
    assert told() == [("role.granted", ben.actor, ivo.actor)]
    assert json.loads(AuditEvent.objects.get().payload) == {"role": "operator", "team": "Support"}


def test_a_role_taken_away_is_gone_at_once(ivo, ben, team):
    actions.revoke_role(ben.memberships.get(), actor=ivo)

    assert not User.objects.get(pk=ben.pk).has_perm("approvals.decide", team.pk)
    assert told() == [("role.revoked", ben.actor, ivo.actor)]


def test_a_role_taken_away_twice_is_recorded_once(ivo, ben):
    membership = ben.memberships.get()
    actions.revoke_role(membership, actor=ivo)
    actions.revoke_role(membership, actor=ivo)

    assert len(told()) == 1


def test_a_team_keeps_its_last_administrator(ivo, ben):
    with pytest.raises(LastAdministrator, match="Ivo is the last administrator of Support"):
        actions.revoke_role(ivo.memberships.get(), actor=ivo)

    assert Membership.objects.filter(user=ivo).exists()
    assert told() == []


def test_a_closed_account_does_not_count_as_an_administrator(ivo, team):
    make_member(team, Role.ADMIN, is_active=False)

    with pytest.raises(LastAdministrator):
        actions.revoke_role(ivo.memberships.get(), actor=ivo)


def test_an_account_is_closed_and_opened_again_with_its_roles(ivo, ben, team):
    actions.deactivate(ben, actor=ivo)
    assert not User.objects.get(pk=ben.pk).has_perm("approvals.decide", team.pk)

    actions.reactivate(ben, actor=ivo)

    assert User.objects.get(pk=ben.pk).has_perm("approvals.decide", team.pk)
    assert [action for action, _, _ in told()] == ["person.deactivated", "person.reactivated"]


def test_nobody_closes_their_own_account(ivo, team):
    make_member(team, Role.ADMIN)

    with pytest.raises(NotYours):
        actions.deactivate(ivo, actor=ivo)


def test_the_last_administrator_of_a_team_cannot_be_shut_out(ivo, ben):
    legal = make_team("Legal")
    Membership.objects.create(user=ben, team=legal, role=Role.ADMIN)
    Membership.objects.create(user=ivo, team=legal, role=Role.ADMIN)
    actions.revoke_role(ivo.memberships.get(team=legal), actor=ben)

    with pytest.raises(NotYours):
        actions.deactivate(ben, actor=ivo)


def test_a_person_of_another_team_too_is_not_one_administrators_to_close(ivo, ben, other_team):
    Membership.objects.create(user=ben, team=other_team, role=Role.REVIEWER)

    for verb in (actions.deactivate, actions.reactivate, actions.record_link):
        with pytest.raises(NotYours, match="Elsewhere"):
            verb(ben, actor=ivo)

    assert User.objects.get(pk=ben.pk).is_active


def test_a_person_in_no_team_is_any_administrators_to_close(ivo):
    alone = make_user("Nora")

    actions.deactivate(alone, actor=ivo)

    assert not User.objects.get(pk=alone.pk).is_active


def test_a_profile_changes_with_before_and_after(ben):
    actions.change_profile(ben, name="Benedict", time_zone="Europe/Berlin")
    actions.change_profile(ben, name="Benedict", time_zone="Europe/Berlin")

    assert json.loads(AuditEvent.objects.get().payload) == {
        "before": {"name": "Ben", "time_zone": "UTC", "wants_mail": True},
        "after": {"name": "Benedict", "time_zone": "Europe/Berlin", "wants_mail": True},
    }
