"""A queue as a reviewer finds it in the morning: routine, some that needs reading, and some that is dear."""

from collections.abc import Mapping

from apps.accounts.models import Team, User
from apps.approvals.actions.intake import propose
from apps.audit.clock import clock
from tests.factories.approvals import make_action_type, make_agent, make_policy, make_request, make_version


def make_mixed_queue(team: Team, owner: User, *, low: int, medium: int, high: int) -> Mapping[str, str]:
    """Let one agent propose so many of each risk; return the risk of each card by its title."""
    wanted = {"low": low, "medium": medium, "high": high}
    total = sum(wanted.values())
    agent = make_agent(team, owner, max_open=total * 2, max_new_per_minute=total * 2)
    version = make_version(agent)
    risks = {}
    for risk, number in wanted.items():
        # Nothing is watched: how fast the system of record answers is not what such a queue is for.
        kind = make_action_type(agent, key=f"tickets.route-{risk}", risk_class=risk, watch_fields=[])
        make_policy(kind)
        for n in range(1, number + 1):
            title = f"Route {risk[0].upper()}-{n}"
            request = make_request(version, kind, title=title, target=f"desk:tickets/{risk[0].upper()}-{n}")
            propose(request, at=clock())
            risks[title] = risk
    return risks
