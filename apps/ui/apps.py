from django.apps import AppConfig


class UiConfig(AppConfig):
    """How any page looks: components, icons, chart theme, htmx plumbing, panel registry. No word of the domain."""

    name = "apps.ui"
    label = "ui"
