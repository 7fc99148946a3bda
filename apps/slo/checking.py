"""Whether the roll-ups say what the ledger says: counted anew from its events, and never repaired here (slo.md rule 6)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import connection

from apps.audit.clock import clock
from apps.slo.domain.budget import Counts
from apps.slo.domain.windows import HOUR, hour_key, minute_key, moment
from apps.slo.models import Indicator

# How far back the ledger is recounted: beyond the thirty days over which budgets run.
RECOUNTED_DAYS: Final = 40


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of a roll-up, or a missing one, that does not say what the ledger says."""

    indicator: Indicator
    roll_up: str
    key: int
    ledger: Counts
    counted: Counts

    @property
    def hour(self) -> datetime:
        """The end of the hour in which it lies."""
        return moment(self.key if self.roll_up == "hour" else hour_key(self.key))

    def __str__(self) -> str:
        where = f"{self.indicator}, hour to {self.hour:%Y-%m-%d %H:%M} UTC"
        if self.roll_up == "minute":
            where += f", minute to {moment(self.key):%H:%M}"
        return f"{where}: {_good_of(self.ledger)} in the ledger, {_good_of(self.counted)} in the {self.roll_up} row"


def recount(*, days: int = RECOUNTED_DAYS, at: datetime | None = None) -> list[Difference]:
    """Return where the roll-ups of the last full `days` differ from the ledger, by indicator and hour: 2 queries.

    One statement reads all three tables, so that an event that is counted meanwhile is seen in all or in none. Minutes
    are compared from the oldest that is kept; older ones may have been let go.
    """
    since = minute_key((at or clock()) - timedelta(days=days)) // HOUR * HOUR
    with connection.cursor() as sql:
        sql.execute(_RECOUNT, {"since": since})
        rows = sql.fetchall()
    indicators = Indicator.objects.select_related("agent").in_bulk({row[0] for row in rows})
    return [
        Difference(indicators[indicator], roll_up, key, Counts(good, total), Counts(counted_good, counted_total))
        for indicator, roll_up, key, good, total, counted_good, counted_total in rows
    ]


# In whole microseconds: a fraction rounded to the minute's edge would move an event into its neighbour.
_RECOUNT: Final = """
    WITH event AS (
        SELECT indicator_id, (micro + 59999999) / 60000000 * 60 AS m, good, total
        FROM (
            SELECT indicator_id, (extract(epoch FROM occurred_at) * 1000000)::bigint AS micro, good, total
            FROM slo_slievent
            WHERE occurred_at > to_timestamp(%(since)s)
        ) AS told
    ), ledger AS (
        SELECT indicator_id, 'hour' AS roll_up, (m - 60) / 3600 * 3600 + 3600 AS key, sum(good) AS good, sum(total) AS total
        FROM event GROUP BY 1, 2, 3
        UNION ALL
        SELECT indicator_id, 'minute', m, sum(good), sum(total)
        FROM event WHERE m >= (SELECT min(m) FROM slo_sliminute) GROUP BY 1, 2, 3
    ), counted AS (
        SELECT indicator_id, 'hour' AS roll_up, h AS key, good, total FROM slo_slihour WHERE h > %(since)s
        UNION ALL
        SELECT indicator_id, 'minute', m, good, total FROM slo_sliminute WHERE m > %(since)s
    ), compared AS (
        SELECT indicator_id, roll_up, key, coalesce(ledger.good, 0)::bigint AS good, coalesce(ledger.total, 0)::bigint AS total,
            coalesce(counted.good, 0) AS counted_good, coalesce(counted.total, 0) AS counted_total
        FROM ledger FULL JOIN counted USING (indicator_id, roll_up, key)
    )
    SELECT * FROM compared WHERE (good, total) <> (counted_good, counted_total)
    ORDER BY indicator_id, (key - 60) / 3600, roll_up, key
"""


def _good_of(counts: Counts) -> str:
    return f"{counts.good:,} good of {counts.total:,}"
