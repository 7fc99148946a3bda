"""What can go wrong with an outside system. The class says what is known about a write; the text says it to a person."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apps.connectors.models import ActionExecution


class ConnectorError(Exception):
    """A call to an outside system did not succeed."""

    def __init__(self, message: str, *, target: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.target = target
        self.status = status


class NotFound(ConnectorError):
    """The system has no such record. Nothing was written."""


class Changed(ConnectorError):
    """The record is not the one that was read. Nothing was written."""


class AlreadyThere(ConnectorError):
    """The system has a record of that name already, which stays as it is. Nothing was written."""


class Refused(ConnectorError):
    """The system, or we before it, definitely said no. Nothing was written."""


class UnknownSystem(Refused):
    """There is no connector of that key."""


class CredentialMissing(Refused):
    """The connector needs a credential that is not stored, or cannot be opened with the key of this process."""


class NotSent(ConnectorError):
    """No connection was made, so no byte of the request left. Nothing was written."""


class Unclear(ConnectorError):
    """The request left and no clear answer came back. A write may or may not have happened."""


class NoAnswer(Unclear):
    """Time ran out or the connection was cut before the answer was whole."""


class Unsafe(ConnectorError):
    """The address is one that must not be called (rule S5). Nothing was sent there."""


class AlreadyExecuted(Exception):
    """The ledger already has this tool call: it must not be sent again."""

    def __init__(self, execution: "ActionExecution") -> None:
        super().__init__(f"{execution.idempotency_key} is already in the ledger: {execution.state}.")
        self.execution = execution


class OutcomeKnown(Exception):
    """The execution already has another outcome, which stays."""


class KeyTaken(Exception):
    """Another connector already has this short name."""


class BadSecret(Exception):
    """A secret that no header can carry."""
