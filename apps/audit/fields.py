from typing import Any

import pgtrigger
from django.db import models
from django.db.models import Func


class CurrentXid(Func):
    """The number of the running transaction; rows below the oldest running one can no longer change."""

    function = "pg_current_xact_id"
    template = "%(function)s()"
    arity = 0


class Xid8Field(models.Field):  # type: ignore[type-arg]  # Field cannot be subscripted when it runs
    """A PostgreSQL xid8. Readers that follow a table in commit order use it as a watermark."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("db_default", CurrentXid())
        options.setdefault("editable", False)
        super().__init__(**options)

    def db_type(self, connection: Any) -> str:  # noqa: ARG002
        return "xid8"

    def from_db_value(self, value: Any, *_: Any) -> int | None:
        return None if value is None else int(value)

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return str(value) if isinstance(value, int) else value


def stamp_xid() -> pgtrigger.Trigger:
    """Give a row the number of the transaction that changes it, whichever statement does: what reads in commit order sees it again."""
    return pgtrigger.Trigger(
        name="stamp_xid",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        func="NEW.xid = pg_current_xact_id(); RETURN NEW;",
    )
