from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Append-only, tamper-evident log of what people, agents, policies and timers did."""

    name = "apps.audit"
    label = "audit"

    def ready(self) -> None:
        from apps.ui import navigation

        navigation.register(
            navigation.Item(label="Audit", url_name="audit:search", icon="scroll-text", right="audit.search", order=100)
        )
