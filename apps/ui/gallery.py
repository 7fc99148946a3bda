"""What the gallery page shows: one example of everything, made here so that the templates stay plain."""

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone


class ExhibitForm(forms.Form):
    """Every kind of field, filled in wrongly on purpose."""

    name = forms.CharField(help_text="As people call it.")
    queue = forms.ChoiceField(choices=[("network", "Network"), ("access", "Access")])
    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), required=False)
    risk = forms.ChoiceField(choices=[("low", "Low"), ("high", "High")], widget=forms.RadioSelect)
    file = forms.FileField(help_text="CSV, JSON or JSON lines, at most 5 MB.")
    understood = forms.BooleanField(label="I have read what would change")


def context() -> dict[str, Any]:
    """Collect one example of everything a component can show."""
    now = timezone.now()
    left = [1 - 0.021 * day - 0.004 * (day % 5) for day in range(22)]
    return {
        "now": now,
        "minutes_ago": now - timedelta(minutes=31),
        "days_ago": now - timedelta(days=3),
        "soon": now + timedelta(minutes=13),
        "late": now - timedelta(minutes=1),
        "undo_until": now + timedelta(seconds=90),
        "budget_points": left,
        "gap_points": [3, 4, 4, None, None, 5, 3, 2, 2],
        "share": left[-1],
        "span": timedelta(hours=4, minutes=12),
        "form": ExhibitForm({"name": "", "queue": "access", "reason": "Twice today"}),
        "figure": _burn_down(left),
    }


def _burn_down(left: list[float]) -> dict[str, Any]:
    days = [f"2026-03-{day:02d}" for day in range(1, 31)]
    return {
        "data": [
            {"type": "scatter", "mode": "lines", "name": "Budget left", "x": days[: len(left)], "y": left},
            {
                "type": "scatter",
                "mode": "lines",
                "name": "Even burn",
                "x": [days[0], days[-1]],
                "y": [1, 0],
                "line": {"dash": "dot", "color": "--muted"},
            },
        ],
        "layout": {"showlegend": True, "yaxis": {"tickformat": ".0%", "range": [0, 1.05], "nticks": 4}},
    }
