from django.apps import AppConfig


class SloConfig(AppConfig):
    """Service level indicators, roll-ups, objectives, error budgets and burn alerts."""

    name = "apps.slo"
    label = "slo"

    def ready(self) -> None:
        from apps.ui import navigation, panels

        navigation.register(
            navigation.Item(
                label="Reliability", url_name="slo:fleet", icon="activity", right="slo.view", order=30, key="r"
            )
        )
        panels.register("agent", panels.Panel("Error budget", "slo:agent-panel", order=10))
        panels.register("proposal", panels.Panel("This agent's error budget", "slo:proposal-panel", order=20))
