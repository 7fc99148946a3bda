"""Links by which a person chooses a password: signed, for three days, and used up by the first password chosen."""

from django.contrib.auth.tokens import default_token_generator
from django.urls import reverse
from django.utils.encoding import force_str
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from apps.accounts.models import User


def link_for(person: User) -> str:
    """Return the path that lets whoever holds it choose this person's password."""
    number = urlsafe_base64_encode(str(person.pk).encode())
    return reverse("accounts:welcome", args=[number, default_token_generator.make_token(person)])


def person_of(number: str, token: str) -> User | None:
    """Return the active person whom a link is for, or None if it is used, too old or not ours."""
    try:
        pk = int(force_str(urlsafe_base64_decode(number)))
    except (ValueError, OverflowError):
        return None
    person = User.objects.filter(pk=pk, is_active=True).first() if 0 < pk < 2**63 else None
    return person if person and default_token_generator.check_token(person, token) else None
