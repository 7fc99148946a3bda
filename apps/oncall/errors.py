"""What can go wrong with a rota, in words for people. Nothing was changed."""


class OnCallError(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UnknownZone(OnCallError):
    """The time zone is none of the IANA database."""


class NobodyNamed(OnCallError):
    """A rotation without people."""


class ScheduleExists(OnCallError):
    """The team has its schedule already."""
