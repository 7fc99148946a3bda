class PeopleError(Exception):
    """A change of people that cannot be: the message says what is safe and what to do now."""


class FirstRunOver(PeopleError):
    """Somebody is here already; only an administrator adds people now."""


class LastAdministrator(PeopleError):
    """A team without an administrator could never change its people again."""


class NotYours(PeopleError):
    """The change would reach into teams whose people the actor may not change."""


class AddressTaken(PeopleError):
    """Two people cannot sign in by one address."""


class BadToken(PeopleError):
    """A token that may not be issued like this."""
