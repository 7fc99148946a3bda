from typing import Any

from django.apps import AppConfig


class RunsConfig(AppConfig):
    """Executing agents with Celery and LangGraph: work items, runs, steps and write-back."""

    name = "apps.runs"
    label = "runs"

    def ready(self) -> None:
        from apps.agents import workflows
        from apps.approvals.signals import decided
        from apps.runs import checks  # noqa: F401  # registers itself
        from apps.runs.queries import hand_over_count
        from apps.runs.workflows.ticket_desk import cards, scope
        from apps.ui import navigation, panels

        navigation.register(
            navigation.Item(
                label="Handed over",
                url_name="runs:handed_over",
                icon="hand-helping",
                right="work.close_hand_over",
                order=15,
                count=hand_over_count,
            )
        )
        navigation.register(
            navigation.Item(
                label="Import work", url_name="runs:import_work", icon="upload", right="work.import", order=105
            )
        )
        workflows.register("ticket_desk", "Ticket desk: route and answer", scope.DEFAULT_SETTINGS, cards.action_types)
        panels.register("agent", panels.Panel("Work", "runs:agent-panel", order=20))
        panels.register("executed-proposal", panels.Panel("Roll back", "runs:compensation", order=30))
        decided.connect(_wake, dispatch_uid="runs.compensations")


def _wake(proposal_id: int, **_: Any) -> None:
    """For speed only; the sweep is for truth."""
    from apps.runs.actions import compensations

    compensations.wake(proposal_id)
