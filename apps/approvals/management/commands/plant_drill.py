from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.agents.models import Agent
from apps.approvals.actions.drills import NothingToPlant, plant_drill
from apps.approvals.models import Drill


class Command(BaseCommand):
    help = "Plant one drill: a copy of a real approved case with one argument wrong. It looks like any card and never runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("agent", help="short name of the agent, for example ticket-desk")
        parser.add_argument("--mutation", choices=Drill.Mutation.values, help="which fault; without it any that fits")
        parser.add_argument("--seed", type=int, help="the same seed over the same cases plants the same fault")

    def handle(self, *args: Any, **options: Any) -> None:
        agent = Agent.objects.filter(slug=options["agent"]).first()
        if agent is None:
            known = ", ".join(Agent.objects.order_by("slug").values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no agent {options['agent']}; there are: {known}. Nothing was planted.")
        try:
            drill = plant_drill(agent, mutation=options["mutation"], seed=options["seed"], actor="system")
        except NothingToPlant as refusal:
            raise CommandError(refusal.message) from refusal
        self.stdout.write(f"Planted as proposal {drill.proposal_id}: {drill.get_mutation_display().lower()}.")
