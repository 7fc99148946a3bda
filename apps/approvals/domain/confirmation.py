"""R3: what a person shows before they consent to a dear action: that they know what it is, and who they are."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

# Long enough to work through a few cards, too short for a desk that somebody left open over lunch.
SIGNED_IN_WITHIN: Final = timedelta(minutes=15)


def names_it(typed: str, *, target: str, args: Mapping[str, Any]) -> bool:
    """Say whether the text is the target, its last part, or one of the amounts: "40.00" names 40.0; "4" does not."""
    text = typed.strip()
    if text and text in (target, last_part(target)):
        return True
    try:
        number = Decimal(text)
    except InvalidOperation:
        return False
    return number.is_finite() and any(Decimal(str(amount)) == number for amount in amounts(args))


def hint(*, target: str, args: Mapping[str, Any]) -> str:
    """Return what to type: the amount if there is exactly one, written as money is; else the target's last part."""
    found = amounts(args)
    if len(found) != 1:
        return last_part(target)
    exact, as_money = str(found[0]), f"{found[0]:.2f}"
    return as_money if isinstance(found[0], float) and Decimal(as_money) == Decimal(exact) else exact


def last_part(target: str) -> str:
    return target.rpartition("/")[2]


def amounts(args: Mapping[str, Any]) -> list[int | float]:
    return [value for value in args.values() if isinstance(value, int | float) and not isinstance(value, bool)]


def is_fresh(signed_in_at: datetime | None, now: datetime) -> bool:
    """Say whether a sign-in is recent enough; exactly 15 minutes still are, and one that nobody knows of is not."""
    return signed_in_at is not None and now - signed_in_at <= SIGNED_IN_WITHIN
