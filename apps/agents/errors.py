"""What can go wrong in the registry, in words for people."""


class AgentsError(Exception):
    """A refusal: nothing was changed. `message` says why and what helps."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SlugTaken(AgentsError):
    """Another agent has this short name."""


class AlreadyDefined(AgentsError):
    """The agent has an action type with this key."""


class OnlyLowers(AgentsError):
    """A level goes up one step at a time, with evidence and a signature; not by this verb."""


class ReasonMissing(AgentsError):
    """Releasing a switch needs a sentence for those who read the log later."""


class SwitchMissing(AgentsError):
    """The scope object has no switch, which counts as engaged."""
