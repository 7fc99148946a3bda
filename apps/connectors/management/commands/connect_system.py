import os
import sys
from getpass import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from apps.accounts.models import Team
from apps.connectors import actions, client
from apps.connectors.domain.addresses import BadNetwork
from apps.connectors.errors import BadSecret, KeyTaken, Unsafe
from apps.connectors.models import Connector
from apps.connectors.sealing import NoSealingKey

SECRET_VARIABLE = "CONNECTOR_SECRET"  # noqa: S105  # the name of a variable, not its value


class Command(BaseCommand):
    """Connects a system from the machine itself; the only way to name one that speaks plain http on loopback."""

    help = f"Connect an outside system. Its API key is read from {SECRET_VARIABLE}, or asked for."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", help="short name, as in desk:tickets/T-1001")
        parser.add_argument("url", help="https://… or, with --network, http://127.0.0.1:PORT")
        parser.add_argument("--team", required=True, help="short name of the team that owns the system")
        parser.add_argument("--name", help="default: the key")
        parser.add_argument(
            "--network", action="append", default=[], help="internal network to grant, like 10.20.0.0/16"
        )
        parser.add_argument("--probe-path", default="/", help="what a test of the connection reads")
        parser.add_argument("--idempotent", action="store_true", help="the system honours Idempotency-Key")
        parser.add_argument("--no-auth", action="store_true", help="the system wants no API key")

    def handle(self, *args: Any, **options: Any) -> None:
        team = Team.objects.filter(slug=options["team"]).first()
        if team is None:
            known = ", ".join(Team.objects.order_by("slug").values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no team {options['team']}. Teams: {known}. Nothing was connected.")
        try:
            connector = self._connected(team, options)
        except (BadNetwork, BadSecret, KeyTaken, NoSealingKey, Unsafe) as error:
            raise CommandError(f"{error} Nothing was connected.") from error
        self.stdout.write(f"{connector} is connected. {client.probe(connector.key).note}")

    @transaction.atomic
    def _connected(self, team: Team, options: dict[str, Any]) -> Connector:
        connector = actions.connect_system(
            key=options["key"],
            name=options["name"] or options["key"],
            team=team,
            base_url=options["url"],
            auth=Connector.Auth.NONE if options["no_auth"] else Connector.Auth.API_KEY,
            allowed_cidrs=options["network"],
            is_idempotent=options["idempotent"],
            probe_path=options["probe_path"],
            actor="system",
        )
        secret = "" if options["no_auth"] else self._secret()
        if secret:
            actions.store_credential(connector, secret=secret, actor="system")
        return connector

    def _secret(self) -> str:
        given = os.environ.get(SECRET_VARIABLE, "")
        return given or (getpass("API key (empty: later): ") if sys.stdin.isatty() else "")
