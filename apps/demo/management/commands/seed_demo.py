from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.demo import actions


class Command(BaseCommand):
    help = "Make the demo's company with a month of generated history. A second time it does nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("Demo data are made only with DEMO=1, so that nobody mistakes them for real ones.")
        try:
            totals = actions.seed()
        except actions.RealHouse as refusal:
            raise CommandError(str(refusal)) from refusal
        actions.follow_desk()
        tickets = actions.fill_desk(Path(settings.DESK_STORE))
        actions.import_tickets()
        if totals:
            made = ", ".join(f"{count:,} {name}" for name, count in totals.items())
            self.stdout.write(f"    {made} of history; {tickets} records in the ticket desk")
