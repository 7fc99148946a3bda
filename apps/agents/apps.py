from django.apps import AppConfig


class AgentsConfig(AppConfig):
    """The registry of agents: versions, owner, action types and risk, stage, autonomy level and the only verbs that change it."""

    name = "apps.agents"
    label = "agents"

    def ready(self) -> None:
        from apps.accounts import speakers
        from apps.agents import queries
        from apps.audit import names
        from apps.ui import navigation

        speakers.register(queries.speakers_of)
        names.register("agent", queries.names_of_agents)
        names.register("action_type", queries.names_of_action_types)

        # First of all while there is no agent, so that an empty house opens with its guide.
        navigation.register(
            navigation.Item(
                "First steps",
                "agents:start",
                icon="footprints",
                right="agents.register",
                order=1,
                is_due=queries.is_empty,
            )
        )
        navigation.register(
            navigation.Item("Agents", "agents:index", icon="bot", right="agents.view", order=20, key="a")
        )
        navigation.register(
            navigation.Item("Stop", "agents:stop", icon="octagon-pause", right="kill.engage", order=190)
        )
