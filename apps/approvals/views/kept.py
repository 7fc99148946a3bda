"""What a person typed on a card before they had to sign in again: it waits in their session and is given back once."""

from django.http import HttpRequest, QueryDict

_KEY = "approvals.kept"
# A verdict is text; what is longer was no verdict of ours.
_MOST = 64 * 1024
# The first is made anew with each page, and the second must be typed for each decision.
_NOT_KEPT = ("csrfmiddlewaretoken", "confirm")


def keep(request: HttpRequest, pk: int) -> None:
    """Keep what was posted about a card; an earlier one is forgotten."""
    posted = request.POST.copy()
    for name in _NOT_KEPT:
        posted.pop(name, None)
    text = posted.urlencode()
    if len(text) <= _MOST:
        request.session[_KEY] = {"card": pk, "posted": text}


def give_back(request: HttpRequest, pk: int) -> QueryDict | None:
    """Return what was kept about this card, once; what was kept about another waits on."""
    kept = request.session.get(_KEY)
    if not kept or kept["card"] != pk:
        return None
    del request.session[_KEY]
    return QueryDict(kept["posted"])
