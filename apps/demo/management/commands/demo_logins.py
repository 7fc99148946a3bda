from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from apps.demo.company import CAST


class Command(BaseCommand):
    help = "List whom the demo's sign-in page offers."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            return
        for person in CAST:
            if person.offered:
                self.stdout.write(f"  {person.name:<14} {person.says}")
