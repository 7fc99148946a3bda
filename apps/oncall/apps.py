from django.apps import AppConfig


class OnCallConfig(AppConfig):
    """Who answers: schedules, escalation, incidents, runbooks."""

    name = "apps.oncall"
    label = "oncall"

    def ready(self) -> None:
        from apps.agents import first_steps
        from apps.audit import names
        from apps.oncall import queries
        from apps.ui import navigation, panels

        names.register("schedule", queries.names_of_schedules)
        first_steps.register(
            first_steps.Step(
                title="Say who answers",
                text="Who is on call when nobody decides: a rotation of people, so that no question waits for nobody.",
                action="Add a rotation",
                url_name="oncall:index",
                right="oncall.change",
                who="An operator can do this. An administrator gives that role on the page People.",
                is_done=queries.has_rotation,
            )
        )
        navigation.register(
            navigation.Item("On call", "oncall:index", icon="phone-call", right="oncall.view", order=40, key="n")
        )
        panels.register("agent", panels.Panel("Who answers", "oncall:agent_panel", order=30))
