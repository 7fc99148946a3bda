from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.slo.checking import RECOUNTED_DAYS, recount


class Command(BaseCommand):
    help = "Count the ledger of events anew and compare it with the roll-ups. Differences are told, never repaired."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--days", type=int, default=RECOUNTED_DAYS, help=f"how far back to count (default {RECOUNTED_DAYS})"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        found = recount(days=options["days"])
        for difference in found:
            self.stderr.write(str(difference))
        if found:
            rows = "1 row differs" if len(found) == 1 else f"{len(found):,} rows differ"
            raise CommandError(f"{rows} from the ledger. Nothing was changed.", returncode=1)
        self.stdout.write(f"The roll-ups of the last {options['days']} days agree with the ledger.")
