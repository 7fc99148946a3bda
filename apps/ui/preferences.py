"""Theme, density, keys and what follows a verdict: a person's own choices, kept in cookies so that the first paint is already right."""

from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

# The first choice is the default.
CHOICES: Final = {
    "theme": ("auto", "light", "dark"),
    "density": ("comfortable", "compact"),
    "keys": ("on", "off"),
    "advance": ("on", "off"),
}
# A choice is kept for one year after it was made.
KEPT_FOR_SECONDS: Final = 365 * 24 * 60 * 60


def read(request: HttpRequest, name: str) -> str:
    """Return the person's choice, or the default where the cookie holds something else."""
    value = request.COOKIES.get(name, "")
    return value if value in CHOICES[name] else CHOICES[name][0]


def keep(response: HttpResponse, name: str, value: str) -> None:
    """Keep a choice in the browser."""
    response.set_cookie(
        name,
        value,
        max_age=KEPT_FOR_SECONDS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
