from django.apps import AppConfig


class OnCallConfig(AppConfig):
    """Who answers: schedules, escalation, incidents, runbooks."""

    name = "apps.oncall"
    label = "oncall"

    def ready(self) -> None:
        from apps.audit import names
        from apps.oncall import queries
        from apps.ui import navigation, panels

        names.register("schedule", queries.names_of_schedules)
        navigation.register(
            navigation.Item("On call", "oncall:index", icon="phone-call", right="oncall.view", order=40, key="o")
        )
        panels.register("agent", panels.Panel("Who answers", "oncall:agent_panel", order=30))
