from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The JSON door for people's sessions and outside agents."""

    name = "apps.api"
    label = "api"
