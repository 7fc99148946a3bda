"""What every page knows without being told: its side bar, its preferences, and whether the data are for show."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from apps.ui import navigation, preferences


@dataclass(frozen=True, slots=True)
class Link:
    label: str
    url: str
    icon: str
    key: str
    count: int | None
    is_current: bool

    @property
    def slug(self) -> str:
        return self.label.lower()


def know_count(request: HttpRequest, url_name: str, count: int) -> None:
    """Spare the side bar a question that the page has asked already."""
    known = {**getattr(request, "known_counts", {}), url_name: count}
    request.known_counts = known  # type: ignore[attr-defined]


class Page:
    """The furniture of one page. The side bar is only worked out when a template asks for it: fragments do not."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def links(self) -> list[Link]:
        items = navigation.visible_to(self._request.user)
        urls = {item: reverse(item.url_name) for item in items}
        here = max((url for url in urls.values() if self._request.path.startswith(url)), key=len, default="")
        return [
            Link(
                label=item.label,
                url=url,
                icon=item.icon,
                key=item.key,
                count=self._count(item),
                is_current=url == here,
            )
            for item, url in urls.items()
        ]

    def _count(self, item: navigation.Item) -> int | None:
        known: Mapping[str, int] = getattr(self._request, "known_counts", {})
        if item.url_name in known:
            return known[item.url_name]
        return item.count(self._request.user) if item.count else None

    @cached_property
    def nouns(self) -> list[Link]:
        return self.links[: self._noun_count]

    @cached_property
    def settings(self) -> list[Link]:
        return self.links[self._noun_count :]

    @cached_property
    def bar(self) -> list[Link]:
        """The first four nouns with a key of their own have a place at the thumb on a phone; the rest is in the drawer."""
        return [link for link in self.nouns if link.key][:4]

    @property
    def theme(self) -> str:
        return preferences.read(self._request, "theme")

    @property
    def density(self) -> str:
        return preferences.read(self._request, "density")

    @property
    def keys(self) -> str:
        return preferences.read(self._request, "keys")

    @property
    def advance(self) -> str:
        return preferences.read(self._request, "advance")

    @property
    def path(self) -> str:
        return self._request.get_full_path()

    @cached_property
    def _noun_count(self) -> int:
        return sum(item.order < navigation.SETTINGS_FROM for item in navigation.visible_to(self._request.user))


def page(request: HttpRequest) -> dict[str, Any]:
    """Give every template `page` (side bar, preferences) and `demo` (the data are for show)."""
    return {"page": Page(request), "demo": settings.DEMO}
