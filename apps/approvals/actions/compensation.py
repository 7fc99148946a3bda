"""T19: what was executed is rolled back once the proposal that undoes it succeeded."""

from apps.approvals.actions import moves
from apps.approvals.actions.moves import Step
from apps.approvals.domain import states
from apps.approvals.models import Proposal


def lock_with_original(proposal_id: int) -> Proposal:
    """Lock a proposal; if it undoes another, that one too. Raises NotFound.

    The lower id first, as everywhere: two transactions that lock the same two rows then never wait for each other.
    """
    original_id = Proposal.objects.filter(pk=proposal_id).values_list("compensates_id", flat=True).first()
    if original_id is not None and original_id < proposal_id:
        moves.lock(original_id)
    row = moves.lock(proposal_id)
    if original_id is not None and original_id > proposal_id:
        moves.lock(original_id)
    return row


def roll_back_original(row: Proposal) -> None:
    """Move what a locked compensation undoes to rolled back, if the compensation succeeded and it still stands."""
    if row.compensates_id is None or row.state != states.SUCCEEDED:
        return
    original = moves.lock(row.compensates_id)
    if original.state != states.SUCCEEDED:
        return
    step = Step("T19", "system")
    moves.move(original, step)
    moves.announce(original)
    moves.tell(original, "proposal.rolled_back", step, actor="system", payload={"compensation": row.pk})
