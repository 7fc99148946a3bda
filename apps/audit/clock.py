from datetime import datetime
from typing import cast

from django.db import connection


def clock() -> datetime:
    """Read the database's clock: the one clock that all processes share. It moves on inside a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (moment,) = cursor.fetchone()
    return cast("datetime", moment)
