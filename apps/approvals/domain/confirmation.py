"""What a person typed to show that they know what they decide."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any


def names_it(typed: str, *, target: str, args: Mapping[str, Any]) -> bool:
    """Say whether the text is the target, its last part, or one of the amounts: "40.00" names 40.0; "4" does not."""
    text = typed.strip()
    if text and text in (target, target.rpartition("/")[2]):
        return True
    amounts = [value for value in args.values() if isinstance(value, int | float) and not isinstance(value, bool)]
    try:
        number = Decimal(text)
    except InvalidOperation:
        return False
    return any(Decimal(str(amount)) == number for amount in amounts)
