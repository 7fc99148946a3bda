"""Plotly figures as plain dicts. Colours are tokens; the page resolves them when it draws."""

from typing import Any

from apps.programs.queries import Portfolio


def stage_figure(portfolio: Portfolio) -> dict[str, Any]:
    """Agents by stage as horizontal bars with direct labels, the furthest stage on top."""
    shown = [(stage.label, count) for stage, count in portfolio.stages if stage != "retired" or count]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "x": [count for _, count in shown],
                "y": [str(label) for label, _ in shown],
                "text": [str(count) for _, count in shown],
                "textposition": "outside",
                "cliponaxis": False,
                "marker": {"color": "--accent"},
                "hovertemplate": "%{y}: %{x} agents<extra></extra>",
            }
        ],
        "layout": {
            "margin": {"r": 32},
            "xaxis": {"title": {"text": "Agents"}, "rangemode": "tozero", "dtick": 1},
            "yaxis": {"automargin": True},
        },
    }
