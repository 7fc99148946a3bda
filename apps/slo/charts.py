"""Plotly figures as plain dicts. Colours are tokens; the page resolves them when it draws."""

from collections.abc import Sequence
from fractions import Fraction
from math import floor
from typing import Any

from apps.slo.domain.budget import percent_to_the_worse
from apps.slo.domain.burndown import Point
from apps.slo.domain.windows import moment


def burn_down_figure(points: Sequence[Point], *, zone: str) -> dict[str, Any]:
    """Budget left over time with the line where it is spent and the band below which the agent is restricted."""
    at = [moment(point.at).isoformat() for point in points]
    left = [None if point.remaining is None else _percent(point.remaining) for point in points]
    words = ["no data" if point.remaining is None else percent_to_the_worse(point.remaining) for point in points]
    lowest = min([value for value in left if value is not None], default=0.0)
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "Budget left",
                "x": at,
                "y": left,
                "text": words,
                "connectgaps": False,
                "line": {"color": "--accent", "width": 2},
                "hovertemplate": "%{text} left<br>%{x|%d %b %H:%M}<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "lines",
                "name": "Restricted below 25 %",
                "x": [at[0], at[-1]] if at else [],
                "y": [25, 25] if at else [],
                "line": {"color": "--warn", "width": 1, "dash": "dot"},
                "hoverinfo": "skip",
            },
        ],
        "layout": {
            "xaxis": {"title": {"text": f"Time ({zone})"}, "type": "date"},
            "yaxis": {"ticksuffix": " %", "range": [min(-5.0, lowest * 1.05), 105], "zeroline": True},
            "annotations": [
                {
                    "x": at[-1],
                    "y": 25,
                    "text": "restricted below 25 %",
                    "showarrow": False,
                    "xanchor": "right",
                    "yanchor": "bottom",
                }
            ]
            if at
            else [],
        },
    }


def _percent(share: Fraction) -> float:
    """Return hundredths of a percent rounded to the worse side, from the exact share: 100 only if nothing failed."""
    return floor(share * 10_000) / 100
