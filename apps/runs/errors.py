"""What ends a run early, and how a hand-over says no. Each text tells what happened and what is safe."""


class HandOver(Exception):
    """The run ends here and a person takes the case. `reason` is one of Run.Reason."""

    def __init__(self, reason: str, explanation: str) -> None:
        super().__init__(explanation)
        self.reason = reason
        self.explanation = explanation


class OutcomeUnknown(Exception):
    """The write may or may not have happened. The question stays open until an operator has looked."""


class NotEnded(Exception):
    """A run was not ended by hand; nothing was changed."""


class BadReason(NotEnded):
    """A person ends a run and says why, neither with a grunt nor with an essay."""


class NotRepaired(Exception):
    """A thread was not planned anew; nothing was changed."""


class NotCompensated(Exception):
    """What would undo an executed action was not proposed; nothing was changed."""


class NotClosed(Exception):
    """A handed-over case was not closed; it still waits, unless the text says otherwise."""


class AlreadyClosed(NotClosed):
    """Somebody closed the case before."""


class CaseChanged(NotClosed):
    """The case is not in the state that the person read."""


class BadChoice(NotClosed):
    """The queue or the priority is not one of this agent's."""
