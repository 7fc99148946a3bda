from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from apps.agents import actions as agents
from apps.agents.models import Agent, AgentVersion
from apps.agents.workflows import workflow
from apps.runs.domain.files import Unreadable
from apps.runs.management.progress import bar
from apps.runs.reading import FaultyFile, bytes_of, learn_bytes, queues_in


class Command(BaseCommand):
    help = "Teach an agent's current version from decided cases (text, queue, priority, reply). The same case is learned once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--agent", required=True, help="short name of the agent, for example ticket-desk")
        parser.add_argument(
            "--part", action="append", default=[], help='of a file {"part": [[text, label], …]}; may repeat'
        )
        parser.add_argument(
            "--out-of-scope-part", action="append", default=[], help="a part whose cases a person takes"
        )
        parser.add_argument("--labels", type=Path, help='{"queue": ["label", …]}: which queue a label means')
        parser.add_argument(
            "--make-queues", action="store_true", help="publish a version with the queues that the file names first"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        agent = Agent.objects.filter(slug=options["agent"]).select_related("owner").first()
        version = agent.versions.filter(is_current=True).first() if agent else None
        if agent is None or version is None:
            raise CommandError(f"There is no agent {options['agent']} with a published version. Nothing was learned.")
        try:
            data = bytes_of(options["file"])
            labels = bytes_of(options["labels"]) if options["labels"] else None
            # A version is published together with what it learns, or not at all.
            with transaction.atomic():
                if options["make_queues"]:
                    version = self._with_queues(agent, version, queues_in(data, parts=options["part"], labels=labels))
                done = learn_bytes(
                    version,
                    data,
                    name=options["file"].name,
                    actor="system",
                    parts=options["part"],
                    labels=labels,
                    outside_parts=options["out_of_scope_part"],
                    progress=bar(self.stderr, "Learning"),
                )
        except Unreadable as refusal:
            raise CommandError(f"{refusal} Nothing was learned.") from refusal
        except FaultyFile as refusal:
            for line in refusal.lines:
                self.stderr.write(line)
            raise CommandError(f"{len(refusal.problems):,} faults, so nothing was learned.") from refusal
        self.stdout.write(f"{version}: {done.created:,} cases learned, {done.known:,} known already.")

    def _with_queues(self, agent: Agent, version: AgentVersion, wanted: Sequence[str]) -> AgentVersion:
        """Publish a version with these queues, unless the current one has them."""
        if not wanted:
            raise CommandError("The file names no queue. Nothing was learned.")
        if [queue["key"] for queue in version.settings.get("queues", ())] == wanted:
            return version
        runs_on = workflow(agent.workflow)
        if runs_on is None:
            raise CommandError(f"The workflow {agent.workflow} is not installed here. Nothing was learned.")
        queues = [{"key": key, "name": key.replace("_", " ").capitalize(), "hint": ""} for key in wanted]
        return agents.change_agent(
            agent,
            workflow=runs_on,
            settings={**version.settings, "queues": queues},
            instructions=version.instructions,
            actor=agent.owner,
        )
