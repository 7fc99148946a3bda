"""How the inbox says no. Each error tells what happened and what is safe, and carries the API's code and status."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from apps.approvals.domain.edit import Problem

if TYPE_CHECKING:
    from apps.approvals.models import Proposal


class Refused(Exception):
    """A verb that did not happen; nothing changed unless the message says so."""

    code = "refused"
    status = 409

    def __init__(self, message: str, *, code: str = "", pointer: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.pointer = pointer


class NotFound(Refused):
    code, status = "not_found", 404

    def __init__(self) -> None:
        super().__init__("There is no such proposal.")


class AlreadyDecided(Refused):
    code = "already_decided"


class Changed(Refused):
    code = "changed"

    def __init__(self) -> None:
        super().__init__("This card changed while you read it. Nothing was decided. Read it again.")


class Claimed(Refused):
    code = "claimed"


class Expired(Refused):
    code = "expired"

    def __init__(self) -> None:
        super().__init__("Nobody answered in time; nothing was executed.")


class Stale(Refused):
    code = "stale"


class SelfApproval(Refused):
    """The person owns the agent or wrote its version. Doors record it like every other failed authorisation."""

    code, status = "self_approval", 403
    right = "approvals.decide"

    def __init__(self, proposal: "Proposal") -> None:
        super().__init__("Someone else must decide this one.")
        self.subject = f"proposal:{proposal.pk}"
        self.team_id = proposal.team_id


class BadVerdict(Refused):
    """The verdict cannot be given like this: bad_verdict, bad_reason."""

    code, status = "bad_verdict", 422


class BadArgs(Refused):
    """The arguments are refused: bad_args, not_editable, no_change or policy_denies. `problems` holds all of them."""

    code, status = "bad_args", 422

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(first.message, code=first.code, pointer=first.pointer)
        self.problems = list(problems)


class AlreadyExecuting(Refused):
    code = "already_executing"


class NotQueued(Refused):
    code = "not_queued"


class Conflict(Refused):
    """The same tool call was proposed before, with something else in it."""

    code = "conflict"


class TooMany(Refused):
    """The agent has put as much before people as it may; come back after `retry_after` seconds."""

    code, status = "too_many", 429

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotConsumable(Refused):
    """The action may not run now. `proposal` says where it stands; `execution` is the ledger row of an earlier try."""

    code = "not_consumable"

    def __init__(self, code: str, message: str, *, proposal: "Proposal | None" = None, execution: Any = None) -> None:
        super().__init__(message, code=code)
        self.proposal = proposal
        self.execution = execution


class NotReady(Refused):
    """An answer cannot be handed to its thread now: delivered, cancelled, parked, too_early, held, running, unknown."""

    code = "not_ready"
