"""What people decide becomes what the next answer starts from."""

from apps.runs.models import Precedent, Run


def remember(run: Run, *, text: str, queue: str, priority: str, reply: str, source: str) -> None:
    """Store a decided case for the version that ran it; a case has one precedent, and the last decision stands."""
    if not text.strip():
        return
    Precedent.objects.bulk_create(
        [
            Precedent(
                agent_version_id=run.agent_version_id,
                work_item_id=run.work_item_id,
                text=text,
                queue=queue,
                priority=priority,
                reply=reply,
                source=source,
            )
        ],
        update_conflicts=True,
        unique_fields=["agent_version", "work_item"],
        update_fields=["text", "queue", "priority", "reply", "source"],
    )
