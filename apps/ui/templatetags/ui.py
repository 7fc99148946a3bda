"""The atoms of every page. They are builtins: no template loads them. Each escapes what it is given."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django import template
from django.forms import BoundField, CheckboxInput, CheckboxSelectMultiple, ClearableFileInput, RadioSelect
from django.http import QueryDict
from django.template.context import Context
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from lucide.templatetags.lucide import lucide

from apps.ui.panels import panels as panels_of

register = template.Library()

# Status = shape + word + colour, five and no more.
STATUS_ICONS = {
    "ok": "circle-check",
    "warn": "triangle-alert",
    "bad": "octagon-x",
    "wait": "hand",
    "idle": "circle-dashed",
}
# Shown where a number, a time or a share is not known.
UNKNOWN = "\N{EN DASH}"
# A real minus sign is as wide as a digit, so that columns of numbers line up.
MINUS = "\N{MINUS SIGN}"

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# From here on a date reads better than a count of days.
DATE_AFTER_DAYS = 30


@register.simple_tag
def icon(name: str, size: int = 16) -> SafeString:
    """Draw a lucide icon inline. It is decoration: the word beside it carries the meaning."""
    return _drawn(str(name), int(size))


@register.simple_tag
def chip(status: str, word: str, *, icon: str = "", plain: bool = False) -> SafeString:
    """Show one of the five statuses as shape, word and colour; `plain` leaves out the tinted pill."""
    if status not in STATUS_ICONS:
        raise ValueError(f"{status!r} is not one of the five statuses: {', '.join(STATUS_ICONS)}.")
    return format_html(
        '<span class="chip{}" data-status="{}">{}<span>{}</span></span>',
        " plain" if plain else "",
        status,
        _drawn(str(icon or STATUS_ICONS[status]), 14),
        word,
    )


@register.simple_tag
def status_icon(status: str) -> SafeString:
    """Draw the shape of a status alone, for places where its word stands beside it."""
    return _drawn(STATUS_ICONS[status], 16)


@register.simple_tag
def ago(at: datetime | None, *, short: bool = False, now: datetime | None = None) -> SafeString:
    """Say how long ago something happened; the absolute time is in the title. `short` leaves out the word "ago"."""
    if at is None:
        return format_html("{}", UNKNOWN)
    return _time(at, _ago(at, now or timezone.now(), short=short), "age" if short else "ago")


@register.simple_tag
def until(at: datetime | None, *, now: datetime | None = None) -> SafeString:
    """Say how much time is left, or for how long it has been overdue."""
    if at is None:
        return format_html("{}", UNKNOWN)
    return _time(at, _until(at, now or timezone.now()), "until")


@register.simple_tag
def countdown(at: datetime, *, now: datetime | None = None) -> SafeString:
    """Count seconds down in the open page ("8 s"); a toast that holds one closes at its end."""
    now = now or timezone.now()
    return format_html(
        '<time class="num" datetime="{}" data-countdown-until="{}" data-now="{}">{} s</time>',
        at.isoformat(),
        at.isoformat(),
        now.isoformat(),
        max(0, round((at - now).total_seconds())),
    )


@register.simple_tag
def moment(at: datetime | None) -> SafeString:
    """Give the absolute time, in the reader's zone."""
    return format_html("{}", UNKNOWN) if at is None else _time(at, _absolute(at))


@register.simple_tag
def duration(value: timedelta | float | None) -> str:
    """Write a timedelta (or seconds) with at most two units: "850 ms", "12 s", "4 h 12 m", "2 d 3 h"."""
    if value is None:
        return UNKNOWN
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    sign, seconds = (MINUS if seconds < 0 else ""), abs(seconds)
    if seconds < 1:
        return f"{sign}{round(seconds * 1000)} ms"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{sign}{whole} s"
    if whole < HOUR:
        return sign + _two(whole, MINUTE, "m", 1, "s")
    if whole < DAY:
        return sign + _two(whole, HOUR, "h", MINUTE, "m")
    return sign + _two(whole, DAY, "d", HOUR, "h")


@register.simple_tag
def percent(share: float | None, digits: int = 0) -> str:
    """Write a share as a percentage that never rounds into a claim: 0.9996 is ">99%", not "100%"; 0.002 is "<1%"."""
    if share is None:
        return UNKNOWN
    share, step = float(share), 10.0**-digits
    text = f"{abs(share) * 100:.{digits}f}"
    if 0 < abs(share) < 1 and float(text) == 100:  # noqa: PLR2004 - one hundred percent is what it says
        text = f">{100 - step:.{digits}f}"
    elif share and not float(text):
        text = f"<{step:.{digits}f}"
    return f"{MINUS if share < 0 else ''}{text}%"


@register.simple_tag
def spark(points: Iterable[float | None], label: str, *, status: str = "") -> SafeString:
    """Draw a sparkline, 96 by 24. A None in `points` is a gap, not a zero."""
    values = [None if point is None else float(point) for point in points]
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    lines = format_html_join(
        "", '<polyline points="{}"/>', ((_points(run, len(values), low, high),) for run in _runs(values))
    )
    return format_html(
        '<svg class="spark"{} viewBox="0 0 96 24" width="96" height="24" role="img" aria-label="{}">{}</svg>',
        _status_attribute(status),
        label,
        lines,
    )


@register.simple_tag
def budget_bar(share: float | None, label: str, *, status: str = "") -> SafeString:
    """Draw what is left of a budget (1.0 = untouched, 0 = spent, below = overspent, None = not known)."""
    left = 0.0 if share is None else max(0.0, min(1.0, float(share)))
    if not status:
        status = "idle" if share is None else "bad" if share <= 0 else ""
    return format_html(
        '<svg class="budget-bar"{} viewBox="0 0 100 6" width="100%" height="6" preserveAspectRatio="none" role="img"'
        ' aria-label="{}"><rect class="track" width="100" height="6"/><rect class="fill" width="{}" height="6"/></svg>',
        _status_attribute(status),
        label,
        f"{left * 100:.1f}",
    )


@register.simple_tag
def initials(name: str) -> SafeString:
    """Draw a person's initials; the name stands beside them."""
    words = str(name).replace(".", " ").replace("@", " ").split()
    letters = "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper()
    return format_html('<span class="avatar" aria-hidden="true">{}</span>', letters or "?")


@register.simple_tag
def kbd(keys: str) -> SafeString:
    """Show the keys of a button; hidden from screen readers, which hear them from the button itself."""
    caps = format_html_join("", "<kbd>{}</kbd>", ((key,) for key in str(keys).split()))
    return format_html('<span class="keys" aria-hidden="true">{}</span>', caps)


@register.simple_tag(takes_context=True)
def query_replace(context: Context, **changes: object) -> str:
    """Build this page's query string with some values replaced; None or "" removes one."""
    request = context.get("request")
    query = request.GET.copy() if request else QueryDict(mutable=True)
    for name, value in changes.items():
        if value is None or value == "":
            query.pop(name, None)
        else:
            query[name] = str(value)
    return f"?{query.urlencode()}" if query else "?"


@dataclass(frozen=True, slots=True)
class PanelPlace:
    id: str
    title: str
    url: str


@register.inclusion_tag("ui/panel.html")
def panels(slot: str, object_id: object = None) -> dict[str, Any]:
    """Place every panel that other apps registered for this slot; each loads when it scrolls into view."""
    args = [] if object_id in (None, "") else [object_id]
    return {
        "places": [
            PanelPlace(f"panel-{slot}-{number}", panel.title, reverse(panel.url_name, args=args))
            for number, panel in enumerate(panels_of(slot), start=1)
        ]
    }


@register.inclusion_tag("ui/field.html")
def field(bound: BoundField, *, hint: str = "", label: str = "") -> dict[str, Any]:
    """Place one form field with its label, hint and errors, wired together for screen readers."""
    widget = bound.field.widget
    hint = hint or str(bound.help_text)
    described = [f"{bound.id_for_label}_{part}" for part, there in (("hint", hint), ("error", bound.errors)) if there]
    attrs: dict[str, Any] = {"aria-describedby": " ".join(described) or None}
    if bound.errors:
        attrs["aria-invalid"] = "true"
    kind = "group" if isinstance(widget, RadioSelect | CheckboxSelectMultiple) else "plain"
    if isinstance(widget, CheckboxInput):
        kind = "check"
    if isinstance(widget, ClearableFileInput):
        kind = "upload"
    return {
        "bound": bound,
        "kind": kind,
        "control": bound.as_widget(attrs=attrs),
        "hint": hint,
        "label": label or bound.label,
        "described_by": attrs["aria-describedby"],
    }


@register.simple_tag
def chart(label: str, *, src: str = "", json_id: str = "", size: str = "") -> SafeString:
    """Place a chart that is drawn when it scrolls into view, from a URL or from a `json_script` of this page."""
    return format_html(
        '<div class="chart" role="img" aria-label="{}" data-chart="{}"{}></div>',
        label,
        src or f"#{json_id}",
        format_html(' data-size="{}"', size) if size else "",
    )


@register.simple_tag
def htmx_headers(token: object) -> str:
    """Give the value of `hx-headers` that carries the CSRF token with every htmx request."""
    return json.dumps({"X-CSRFToken": str(token)})


@cache
def _drawn(name: str, size: int) -> SafeString:
    return format_html(
        "{}", lucide(name, size=size, **{"class": "icon", "aria-hidden": "true", "stroke-width": "1.75"})
    )


def _status_attribute(status: str) -> SafeString:
    return format_html(' data-status="{}"', status) if status else format_html("")


def _absolute(at: datetime) -> str:
    return timezone.localtime(at).strftime("%Y-%m-%d %H:%M %Z")


def _time(at: datetime, text: str, relative: str = "") -> SafeString:
    live = format_html(' data-relative="{}"', relative) if relative else format_html("")
    return format_html('<time datetime="{}" title="{}"{}>{}</time>', at.isoformat(), _absolute(at), live, text)


def _ago(at: datetime, now: datetime, *, short: bool) -> str:
    seconds = (now - at).total_seconds()
    if seconds >= DATE_AFTER_DAYS * DAY:
        return timezone.localtime(at).strftime("%-d %b %Y")
    if seconds < MINUTE:
        return "now" if short else "just now"
    return _one(seconds) if short else f"{_one(seconds)} ago"


def _until(at: datetime, now: datetime) -> str:
    seconds = (at - now).total_seconds()
    if seconds < 0:
        return "overdue" if seconds > -MINUTE else f"overdue {_one(-seconds)}"
    return "under 1 m left" if seconds < MINUTE else f"{_one(seconds)} left"


def _one(seconds: float) -> str:
    """One unit is enough beside a precise title; whole units passed, never rounded up."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _two(whole: int, big: int, big_unit: str, small: int, small_unit: str) -> str:
    rest = whole % big // small
    return f"{whole // big} {big_unit}" + (f" {rest} {small_unit}" if rest else "")


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    runs: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((place, value))
    return [run for run in runs if run]


def _points(run: list[tuple[int, float]], count: int, low: float, high: float) -> str:
    width, height, edge = 92, 20, 2
    across = width / max(1, count - 1)
    up = height / (high - low) if high > low else 0
    places = [(edge + place * across, edge + height - (value - low) * up) for place, value in run]
    if high == low:
        places = [(x, 12.0) for x, _ in places]
    if len(places) == 1:
        places.append((places[0][0] + 0.1, places[0][1]))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
