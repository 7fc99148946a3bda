from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.access import Forbidden
from apps.accounts.models import User
from apps.agents.models import Agent
from apps.runs.actions.imports import lift_limits
from apps.runs.domain.files import Unreadable
from apps.runs.management.progress import bar
from apps.runs.reading import FaultyFile, bytes_of, import_bytes

NAMED: Final = 20
"""So many refused cases are named; the log has more."""


class Command(BaseCommand):
    help = "Import cases for an agent from CSV, JSON or JSON lines: all rows, or none. The same file twice creates nothing twice."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--agent", required=True, help="short name of the agent, for example ticket-desk")
        parser.add_argument(
            "--part", action="append", default=[], help='of a file {"part": [[text, label], …]}; may repeat'
        )
        parser.add_argument("--labels", type=Path, help='{"queue": ["label", …]}: which queue a label means')
        parser.add_argument(
            "--open-tickets",
            action="store_true",
            help="open the tickets that the agent's system does not know yet; without it their cases end with a person",
        )
        parser.add_argument(
            "--withdraw-as",
            metavar="EMAIL",
            help="take back, in this operator's name, the questions of cases whose row has changed, and begin them anew",
        )
        parser.add_argument("--dry-run", action="store_true", help="check everything and store nothing")
        parser.add_argument(
            "--unlimited", action="store_true", help="lift the agent's limits of pace and open questions"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        agent = Agent.objects.filter(slug=options["agent"]).first()
        if agent is None:
            known = ", ".join(Agent.objects.order_by("slug").values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no agent {options['agent']}; there are: {known}. Nothing was imported.")
        try:
            done = import_bytes(
                agent,
                bytes_of(options["file"]),
                name=options["file"].name,
                actor="system",
                parts=options["part"],
                labels=bytes_of(options["labels"]) if options["labels"] else None,
                open_tickets=options["open_tickets"],
                withdraw_as=_person(options["withdraw_as"]),
                dry_run=options["dry_run"],
                progress=bar(self.stderr, "Checking" if options["dry_run"] else "Importing"),
            )
        except Unreadable as refusal:
            raise CommandError(f"{refusal} Nothing was imported.") from refusal
        except Forbidden as refusal:
            raise CommandError(
                f"{options['withdraw_as']} may not take questions back. Nothing was imported."
            ) from refusal
        except FaultyFile as refusal:
            for line in refusal.lines:
                self.stderr.write(line)
            raise CommandError(f"{len(refusal.problems):,} faults, so nothing was imported.") from refusal
        if options["unlimited"] and not options["dry_run"]:
            lift_limits(agent, actor="system")
        would = "would be new" if options["dry_run"] else "new"
        self.stdout.write(f"{agent.name}: {done.created:,} cases {would}, {done.known:,} known already.")
        if done.renewed or done.restarted:
            self.stdout.write(
                f"{done.renewed:,} took their new row in before they began, {done.restarted:,} begin anew."
            )
        if done.refused:
            self.stderr.write(
                f"{len(done.refused):,} changed rows {'would be' if options['dry_run'] else 'were'} refused, as their cases are "
                f"in work: {', '.join(done.refused[:NAMED])}{' and more' if len(done.refused) > NAMED else ''}. "
                "Decide their questions first, or add --withdraw-as EMAIL to take them back."
            )


def _person(email: str | None) -> User | None:
    if email is None:
        return None
    person = User.objects.filter(email__iexact=email, is_active=True).first()
    if person is None:
        raise CommandError(f"Nobody here has the address {email}. Nothing was imported.")
    return person
