"""What must hold before any process starts, beyond Django's own checks. Each finding says what to set."""

import os
import sys
from collections.abc import Iterable
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register, run_checks
from django.core.checks import Warning as Caution
from django.core.exceptions import ImproperlyConfigured

from config.stack.network import is_loopback

_JSON_ONLY = ("task_serializer", "result_serializer", "accept_content", "result_accept_content")
_CSP = "csp.middleware.CSPMiddleware"


def refuse_unsafe_settings() -> None:
    """Stop a process before it serves anybody when a setting is not safe where it is used. Raises ImproperlyConfigured."""
    errors = [found for found in run_checks(tags=[Tags.security]) if found.is_serious()]
    if errors:
        raise ImproperlyConfigured("\n".join(f"{found.msg} {found.hint or ''}".strip() for found in errors))


@register(Tags.security)
def this_machine_only(**_: Any) -> Iterable[CheckMessage]:
    """Refuse what is safe on this machine alone when others can reach it, through HOST or through a proxy in front of it."""
    public = [host for host in [settings.HOST, *settings.ALLOWED_HOSTS] if not is_loopback(host)]
    if not public:
        return
    names = ", ".join(sorted(set(public)))
    if settings.DEMO:
        yield Error(
            f"DEMO=1 lets anybody log in with one click, and others can reach {names}.",
            hint="Set DEMO=0, or HOST=127.0.0.1 without other ALLOWED_HOSTS.",
            id="config.E001",
        )
    if settings.PLAIN_HTTP:
        yield Error(
            f"PLAIN_HTTP=1 sends session cookies unprotected, and others can reach {names}.",
            hint="Set PLAIN_HTTP=0 and put a server that speaks TLS in front (BEHIND_TLS_PROXY=1).",
            id="config.E002",
        )
    if settings.DEBUG:
        yield Error(
            f"DEBUG=1 shows source code and settings on errors, and others can reach {names}.",
            hint="Set DEBUG=0.",
            id="config.E003",
        )


@register(Tags.security)
def callers_are_told_apart(**_: Any) -> Iterable[CheckMessage]:
    """Refuse to believe X-Forwarded-For where no proxy writes it, and warn where a proxy hides who calls."""
    proxies, behind_one = settings.TRUSTED_PROXIES, bool(settings.SECURE_PROXY_SSL_HEADER)
    if proxies < 0 or (proxies and not behind_one):
        yield Error(
            f"TRUSTED_PROXIES={proxies}, but no proxy stands in front, so any caller could say whence it comes.",
            hint="Set TRUSTED_PROXIES=0, or BEHIND_TLS_PROXY=1 with the number of proxies that a request passes.",
            id="config.E008",
        )
    if behind_one and not proxies:
        yield Caution(
            "Behind a proxy every caller seems to be the proxy: tokens that hold for one network open nothing.",
            hint="Set TRUSTED_PROXIES to the number of proxies that a request passes.",
            id="config.W001",
        )


@register(Tags.security)
def celery_speaks_json_only(**_: Any) -> Iterable[CheckMessage]:
    """Refuse pickle and friends: whoever can write to the broker could run code in a worker."""
    for name in _JSON_ONLY:
        value = current_app.conf[name]
        if set([value] if isinstance(value, str) else value) != {"json"}:
            yield Error(f"Celery's {name} is {value!r}.", hint="Set it to json in config/celery.py.", id="config.E004")


@register(Tags.security)
def pages_have_a_content_policy(**_: Any) -> Iterable[CheckMessage]:
    """Refuse to serve pages that could load scripts from anywhere."""
    policy = getattr(settings, "CONTENT_SECURITY_POLICY", None) or {}
    scripts = policy.get("DIRECTIVES", {}).get("script-src", ["*"])
    if _CSP not in settings.MIDDLEWARE:
        yield Error("No content security policy is sent.", hint=f"Add {_CSP} to MIDDLEWARE.", id="config.E005")
    elif {"*", "'unsafe-inline'", "'unsafe-eval'"} & set(scripts):
        yield Error(
            "The content security policy lets pages run scripts from anywhere.",
            hint="Name only 'self' in script-src of CONTENT_SECURITY_POLICY.",
            id="config.E006",
        )


@register(Tags.security)
def checkpoints_build_no_objects(**_: Any) -> Iterable[CheckMessage]:
    """Refuse LangGraph's lenient reading of checkpoints: a row someone wrote could build any object in a worker."""
    strict = os.environ.get("LANGGRAPH_STRICT_MSGPACK", "").lower() in {"1", "true", "yes"}
    # It is read once, at import; a later change of the environment would only look right.
    reader = sys.modules.get("langgraph.checkpoint.serde._msgpack")
    if not strict or not getattr(reader, "STRICT_MSGPACK_ENABLED", True):
        yield Error(
            "LangGraph may build arbitrary objects from stored checkpoints.",
            hint="Set LANGGRAPH_STRICT_MSGPACK=true before the process starts; settings do so unless it is set otherwise.",
            id="config.E007",
        )
