class ProgramError(Exception):
    """A refusal in words; `status` is the HTTP status it answers with."""

    status = 409


class NotYours(ProgramError):
    """The person may not do this here."""

    status = 403


class NotReady(ProgramError):
    """The transition cannot be recorded; `open_gates` says which gates stand open."""

    def __init__(self, sentence: str, open_gates: list[str]) -> None:
        self.open_gates = open_gates
        super().__init__(sentence)


class BadEvidence(ProgramError):
    """The evidence cannot be taken as given."""

    status = 422
