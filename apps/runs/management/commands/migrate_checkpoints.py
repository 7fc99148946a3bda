from typing import Any

from django.core.management.base import BaseCommand

from apps.runs import checkpoints


class Command(BaseCommand):
    help = "Makes or updates the tables in which agents' threads are kept. Safe to run several at once."

    def handle(self, *args: Any, **options: Any) -> None:
        version = checkpoints.migrate()
        self.stdout.write(f"Checkpoint tables are at version {version}.")
