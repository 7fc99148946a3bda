from django.apps import AppConfig


class ConnectorsConfig(AppConfig):
    """Outside systems, credentials, grants and the ledger of what was executed in them."""

    name = "apps.connectors"
    label = "connectors"

    def ready(self) -> None:
        from apps.agents import systems
        from apps.audit import names
        from apps.connectors import queries
        from apps.ui import navigation

        names.register("connector", queries.names_of_systems)
        systems.register(queries.systems_for_agents, queries.is_connected)
        navigation.register(
            navigation.Item("Systems", "connectors:systems", icon="plug", right="connectors.view", order=70)
        )
