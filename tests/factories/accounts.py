from itertools import count

from apps.accounts.models import Membership, Role, Team, User

PASSWORD = "correct horse battery"

_numbers = count(1)


def make_team(name: str = "", **fields) -> Team:
    number = next(_numbers)
    return Team.objects.create(**{"slug": f"team-{number}", "name": name or f"Team {number}", **fields})


def make_user(name: str = "", *, password: str | None = None, **fields) -> User:
    number = next(_numbers)
    fields = {"email": f"person-{number}@example.com", "name": name or f"Person {number}", **fields}
    return User.objects.create_user(fields.pop("email"), password, **fields)


def make_member(team: Team, *roles: Role | str, name: str = "", **fields) -> User:
    user = make_user(name, **fields)
    Membership.objects.bulk_create(Membership(user=user, team=team, role=role) for role in roles)
    return user
