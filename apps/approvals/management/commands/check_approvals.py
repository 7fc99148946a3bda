from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.approvals import checking


class Command(BaseCommand):
    help = "Check that digests, decisions, answers, the execution ledger and the audit log agree with each proposal's state."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--limit", type=int, default=20, help="How many mismatches to print (default 20).")

    def handle(self, *args: Any, **options: Any) -> None:
        found = 0
        for problem in checking.mismatches():
            found += 1
            if found <= options["limit"]:
                self.stderr.write(f"proposal {problem.proposal_id}: {problem.what}")
        if found:
            raise CommandError(f"{found} mismatches. Nothing was changed.", returncode=1)
        self.stdout.write("Digests, decisions, answers, the ledger and the audit log agree.")
