from django.apps import AppConfig


class HouseConfig(AppConfig):
    """Gives the web process, commands and tests the one configured Celery application."""

    name = "config"
    label = "config"

    def ready(self) -> None:
        # An unconfigured `current_app` silently writes to a broker on localhost.
        from config import celery, checks  # noqa: F401 - imported for what they register
