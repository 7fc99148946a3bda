from django.apps import AppConfig


class ProgramsConfig(AppConfig):
    """Programs, launch gates, dependencies, forecasts, and the executive portfolio view."""

    name = "apps.programs"
    label = "programs"

    def ready(self) -> None:
        from apps.ui import navigation, panels

        navigation.register(
            navigation.Item(
                label="Programs",
                url_name="programs:programs",
                icon="list-checks",
                right="programs.view",
                order=50,
                key="p",
            )
        )
        navigation.register(
            navigation.Item(
                label="Portfolio",
                url_name="programs:portfolio",
                icon="layout-dashboard",
                right="portfolio.view",
                order=60,
                key="f",
            )
        )
        panels.register("agent", panels.Panel("Launch program", "programs:agent-panel", order=30))
