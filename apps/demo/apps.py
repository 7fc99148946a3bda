from django.apps import AppConfig
from django.conf import settings


class DemoConfig(AppConfig):
    """A small simulated enterprise and its scenario. Nothing imports it; it can be deleted."""

    name = "apps.demo"
    label = "demo"

    def ready(self) -> None:
        from apps.ui import panels

        if settings.DEMO:
            panels.register("sign-in", panels.Panel("Look around as", "demo:logins"))
