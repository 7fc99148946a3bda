from django.db import models
from django.db.models.functions import Now


class Heartbeat(models.Model):
    """When a periodic process last did its round, so that readiness can tell a silent one from a quiet one."""

    name = models.CharField(max_length=40, primary_key=True)
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.name} at {self.at:%Y-%m-%d %H:%M:%S}"
