"""Files of work and of decided cases, from their bytes to an action, with every fault told."""

from collections.abc import Sequence
from pathlib import Path

from apps.accounts.models import User
from apps.agents.models import Agent, AgentVersion
from apps.runs.actions.imports import Imported, Progress, import_work
from apps.runs.actions.learning import Learned, learn
from apps.runs.domain import files
from apps.runs.domain.files import Problem

# Faults that are listed; the rest is counted.
LISTED = 500


class FaultyFile(Exception):
    """Rows of a file cannot be used, so none was. `problems` holds all faults."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(f"{len(self.problems)} faults. Nothing was stored.")

    @property
    def lines(self) -> list[str]:
        """The first faults in words, and how many more there are."""
        shown = [str(problem) for problem in self.problems[:LISTED]]
        more = len(self.problems) - len(shown)
        return [*shown, f"and {more:,} more"] if more else shown


def import_bytes(
    agent: Agent,
    data: bytes,
    *,
    name: str,
    actor: str,
    parts: Sequence[str] = (),
    labels: bytes | None = None,
    open_tickets: bool = False,
    withdraw_as: User | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """
    Import a file of work. Raises files.Unreadable for the file as a whole, FaultyFile for its rows, Forbidden as import_work.

    Then nothing is stored.
    """
    sheet = files.read(data, parts=parts)
    rows, problems = files.work(sheet.rows, labels=files.queues_by_label(labels) if labels else None)
    problems = [*sheet.problems, *problems]
    if problems:
        raise FaultyFile(sorted(problems, key=lambda each: each.row))
    return import_work(
        agent,
        rows,
        name=name,
        sha256=sheet.sha256,
        actor=actor,
        open_tickets=open_tickets,
        withdraw_as=withdraw_as,
        dry_run=dry_run,
        progress=progress,
    )


def learn_bytes(
    version: AgentVersion,
    data: bytes,
    *,
    name: str,
    actor: str,
    parts: Sequence[str] = (),
    labels: bytes | None = None,
    outside_parts: Sequence[str] = (),
    progress: Progress | None = None,
) -> Learned:
    """Teach a version from a file of decided cases. Raises as import_bytes."""
    sheet = files.read(data, parts=[*parts, *outside_parts])
    rows, problems = files.taught(
        sheet.rows,
        labels=files.queues_by_label(labels) if labels else None,
        outside_parts=outside_parts,
        queues=[queue["key"] for queue in version.settings.get("queues", ())],
        priorities=version.settings.get("priorities", ()),
    )
    problems = [*sheet.problems, *problems]
    if problems:
        raise FaultyFile(sorted(problems, key=lambda each: each.row))
    return learn(version, rows, actor=actor, name=name, progress=progress)


def queues_in(data: bytes, *, parts: Sequence[str] = (), labels: bytes | None = None) -> list[str]:
    """Return the queues that the decided cases of a file went to, by name."""
    rows, _ = files.taught(files.read(data, parts=parts).rows, labels=files.queues_by_label(labels) if labels else None)
    return sorted({row.queue for row in rows if row.queue})


def bytes_of(path: Path) -> bytes:
    """Read a file. Raises files.Unreadable where it cannot be opened."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise files.Unreadable(f"{path} cannot be read: {error.strerror}.") from error
