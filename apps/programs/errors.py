class ProgramError(Exception):
    """A refusal in words; `status` is the HTTP status it answers with."""

    status = 409


class NotYours(ProgramError):
    """The person may not answer for this gate. The other fields are for the audit log."""

    status = 403
    right = "gates.sign"

    def __init__(self, sentence: str, *, subject: str, team_id: int) -> None:
        self.subject = subject
        self.team_id = team_id
        super().__init__(sentence)


class NotReady(ProgramError):
    """The transition cannot be recorded; `open_gates` says which gates stand open."""

    def __init__(self, sentence: str, open_gates: list[str]) -> None:
        self.open_gates = open_gates
        super().__init__(sentence)


class BadEvidence(ProgramError):
    """The evidence cannot be taken as given."""

    status = 422
