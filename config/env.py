"""Typed readers of environment variables that fail loudly and name the variable."""

import os
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


def text(name: str, default: str | None = None) -> str:
    """Return the variable, or the default; without either, refuse to start."""
    value = os.environ.get(name, default)
    if value is None:
        message = f"{name} is not set. Set it in the environment; README lists every variable."
        raise ImproperlyConfigured(message)
    return value


def boolean(name: str, *, default: bool) -> bool:
    """Read 1/true/yes/on or 0/false/no/off; anything else is refused."""
    value = os.environ.get(name)
    if value is None:
        return default
    if value.strip().lower() in _TRUE:
        return True
    if value.strip().lower() in _FALSE:
        return False
    message = f"{name} is {value!r}; use 1 or 0."
    raise ImproperlyConfigured(message)


def integer(name: str, default: int) -> int:
    """Read a whole number."""
    value = os.environ.get(name)
    if value is None:
        return default
    try:
        return int(value)
    except ValueError:
        message = f"{name} is {value!r}; use a whole number."
        raise ImproperlyConfigured(message) from None


def one_of(name: str, default: str, choices: Collection[str]) -> str:
    """Read one of a few words; anything else is refused."""
    value = os.environ.get(name) or default
    if value not in choices:
        message = f"{name} is {value!r}; use one of: {', '.join(choices)}."
        raise ImproperlyConfigured(message)
    return value


def words(name: str, default: str = "") -> list[str]:
    """Read a comma-separated list; blanks are dropped."""
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def database(name: str, default: str) -> dict[str, Any]:
    """Read a postgresql:// URL; `?host=/path` names a socket folder, `?prepare_threshold=none` is psycopg's."""
    url = urlsplit(text(name, default))
    if url.scheme not in {"postgres", "postgresql"}:
        message = f"{name} must be a postgresql:// URL, not {url.scheme or 'nothing'}://"
        raise ImproperlyConfigured(message)
    options: dict[str, Any] = dict(parse_qsl(url.query))
    if "prepare_threshold" in options:
        options["prepare_threshold"] = _threshold(name, options["prepare_threshold"])
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(url.path.lstrip("/")),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": options.pop("host", url.hostname or ""),
        "PORT": options.pop("port", str(url.port or "")),
        "OPTIONS": options,
    }


def _threshold(name: str, value: str) -> int | None:
    if value.lower() == "none":
        return None
    if value.isdecimal():
        return int(value)
    message = f"prepare_threshold in {name} is {value!r}; use a whole number, or none."
    raise ImproperlyConfigured(message)
