from apps.accounts.models import User
from apps.audit import actions as audit
from apps.runs.models import Run


def record_read(run: Run, *, reader: User) -> None:
    """Tell the log that a person read what an agent read, said and sent: every time, as raw traces hold customers' words."""
    audit.record(
        "trace.read",
        subject=f"run:{run.pk}",
        actor=reader.actor,
        team_id=run.agent.team_id,
        agent_version=run.agent_version.fingerprint,
    )
