from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """Proposals, policies, decisions, the inbox, and the evidence of trust they make."""

    name = "apps.approvals"
    label = "approvals"

    def ready(self) -> None:
        from apps.approvals.queries.inbox import waiting_count
        from apps.ui import navigation

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
