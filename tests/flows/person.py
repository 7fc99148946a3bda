"""A person at the web process: signs in once, then sends what a browser would send."""

import re
from typing import Final

import httpx

ANSWER_WITHIN: Final = 60.0
_TOKEN: Final = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


def sign_in(url: str, *, email: str, password: str, connections: int = 4) -> httpx.Client:
    """Return a client with the person's session and CSRF token; it may be used by several threads."""
    client = httpx.Client(
        base_url=url,
        timeout=ANSWER_WITHIN,
        trust_env=False,
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
    )
    form = {"login": email, "password": password, "csrfmiddlewaretoken": _token(client, "/accounts/login/")}
    answer = client.post("/accounts/login/", data=form)
    if answer.status_code != httpx.codes.FOUND:
        raise PermissionError(f"{email} could not sign in at {url}: {answer.status_code}.")
    # Signing in changes the token.
    client.headers["X-CSRFToken"] = _token(client, "/accounts/password/change/")
    return client


def _token(client: httpx.Client, path: str) -> str:
    page = client.get(path).raise_for_status().text
    found = _TOKEN.search(page)
    if found is None:
        raise LookupError(f"{path} has no form.")
    return found[1]
