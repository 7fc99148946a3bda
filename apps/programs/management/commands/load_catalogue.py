from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.programs.actions.catalogue import SHIPPED, load_catalogue
from apps.programs.domain.catalogue import CatalogueError


class Command(BaseCommand):
    help = "Check a catalogue of launch gates and keep it as a new immutable version."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, default=SHIPPED)

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            row = load_catalogue(file, actor="system")
        except CatalogueError as refusal:
            raise CommandError("Nothing was loaded:\n  " + "\n  ".join(refusal.problems)) from refusal
        self.stdout.write(f"{row}: {len(row.body['gates'])} gates.")
