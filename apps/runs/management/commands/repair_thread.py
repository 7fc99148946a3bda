from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.models import User
from apps.runs import tasks
from apps.runs.errors import NotRepaired
from apps.runs.models import Run


class Command(BaseCommand):
    help = "Plans the last turn of a bricked thread anew. Its questions return with the same proposals; nothing runs twice."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("thread_id")
        parser.add_argument("--apply", action="store_true", help="without it only say what would be done")
        parser.add_argument("--actor", metavar="EMAIL", help="who repairs it, for the audit log; else the system")

    def handle(self, *args: Any, **options: Any) -> None:
        run = Run.objects.filter(thread_id=options["thread_id"]).first()
        if run is None:
            raise CommandError("There is no such thread.")
        if run.state != Run.State.WAITING:
            raise CommandError(
                f"Run {run.pk} is {run.get_state_display().lower()}; only a waiting one can be repaired."
            )
        actor = _actor(options["actor"])
        if not options["apply"]:
            self.stdout.write(f"Would plan the last turn of run {run.pk} anew. Add --apply to do it.")
            return
        try:
            ids = tasks.repair(options["thread_id"], actor=actor)
        except NotRepaired as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Run {run.pk} asks again: {', '.join(ids) or 'no open question; it went on'}.")


def _actor(email: str | None) -> str:
    if email is None:
        return "system"
    person = User.objects.filter(email__iexact=email, is_active=True).first()
    if person is None:
        raise CommandError(f"Nobody here has the address {email}. Nothing was changed.")
    return person.actor
