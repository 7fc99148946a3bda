from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """Proposals, policies, decisions, the inbox, and the evidence of trust they make."""

    name = "apps.approvals"
    label = "approvals"

    def ready(self) -> None:
        from apps.approvals.queries.inbox import waiting_count
        from apps.ui import navigation, panels

        navigation.register(
            navigation.Item(
                label="Inbox",
                url_name="approvals:inbox",
                icon="inbox",
                right="approvals.view",
                order=10,
                key="i",
                count=waiting_count,
            )
        )
        # Whoever looks after reviewers has no inbox of their own to come from.
        navigation.register(
            navigation.Item("Vigilance", "approvals:vigilance", icon="eye", right="vigilance.view", order=115)
        )
        panels.register("agent", panels.Panel("Policies", "approvals:agent-policies", order=15))
        navigation.register(
            navigation.Item("Channels", "approvals:channels", icon="megaphone", right="channels.view", order=115)
        )
