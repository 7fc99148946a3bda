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
    """A watched field of the target moved since it was proposed; the message names old and new values."""

    code = "stale"


class Unreadable(Refused):
    """What the target is now cannot be known, and the action is not one that may pass without."""

    code = "unreadable"

    def __init__(self) -> None:
        super().__init__(
            "The target cannot be read now, so nothing was decided. Try again in a moment; to reject it or to ask still works."
        )


class NotMoved(Refused):
    code = "not_moved"

    def __init__(self) -> None:
        super().__init__("Nothing moved: decide it, or ask.")


class AskedEnough(Refused):
    code, status = "asked_enough", 422

    def __init__(self) -> None:
        super().__init__("It came back three times already. Decide it, or escalate it. Nothing was decided.")


class SelfApproval(Refused):
    """The person owns the agent or wrote its version. Doors record it like every other failed authorisation."""

    code, status = "self_approval", 403
    right = "approvals.decide"

    def __init__(self, proposal: "Proposal") -> None:
        super().__init__("Someone else must decide this one.")
        self.subject = f"proposal:{proposal.pk}"
        self.team_id = proposal.team_id


class SignInAgain(Refused):
    """R3: a dear action is decided soon after a sign-in only. Doors record it like every failed authorisation."""

    code, status = "sign_in_again", 403
    right = "approvals.decide"

    def __init__(self, proposal: "Proposal") -> None:
        super().__init__("Sign in again to decide a high-risk action. Nothing was decided.")
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


class TooLate(Refused):
    """Too little time is left for what was asked; nothing changed."""

    code = "too_late"


class BadColleague(Refused):
    """The card cannot go to this person."""

    code, status = "bad_colleague", 422


class BadDelegation(Refused):
    """The right cannot be lent like this; `pointer` names the field."""

    code, status = "bad_delegation", 422


class BadView(Refused):
    """The search cannot be kept like this; `pointer` names the field."""

    code, status = "bad_view", 422


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


class BadFormat(Refused):
    """A message that is not in the format it names, or names what is not there: bad_format, bad_action, bad_target."""

    code, status = "bad_format", 422


class NoSuchRequest(Refused):
    code, status = "not_found", 404

    def __init__(self) -> None:
        super().__init__("There is no such request.")


class TooManyAtOnce(Refused):
    """More cards than are decided at once; none of them was."""

    code, status = "too_many", 422


class OpenFirst(Refused):
    """R3: some of the cards must be looked at before all are decided; `ids` says which. None was decided."""

    code, status = "open_first", 422

    def __init__(self, ids: Sequence[int]) -> None:
        cards = "card" if len(ids) == 1 else "cards"
        super().__init__(f"Open {len(ids)} {cards} of these first. Nothing was decided.", pointer="/items")
        self.ids = tuple(ids)


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


class BadChannel(Refused):
    """A channel that cannot be kept like this: bad_channel. The pointer names the field."""

    code, status = "bad_channel", 422
