"""A1 and R18: who saw which card, as it stood, and for how long. The one thing that reading a page writes."""

from datetime import datetime
from typing import Final

from django.db import connection

from apps.accounts.models import User
from apps.approvals.card import Card
from apps.approvals.models import CardView
from apps.audit import actions as audit

VIEWED: Final = "proposal.viewed"
# So many months have their partition before they begin; a longer outage of the task fills the default one.
MONTHS_AHEAD: Final = 3
# A year of figures and the month in which it is asked for; older looks say nothing about anybody's attention today.
MONTHS_KEPT: Final = 13


def record_view(card: Card, *, reader: User, at: datetime | None = None) -> None:
    """Note that a person has a card before them since now; whatever they had open before is closed.

    The log is told once for each version, however often they look. 1 query, 2 for a version they had not seen.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _OPEN,
            {
                "proposal": card.id,
                "user": reader.pk,
                "version": card.version,
                "at": at or card.as_of,
                "asked_at": card.created_at,
                "evidence": card.evidence_is_open,
            },
        )
        (is_new,) = cursor.fetchone()
    if not is_new:
        return
    audit.record(
        VIEWED,
        subject=f"proposal:{card.id}",
        actor=reader.actor,
        team_id=card.team_id,
        proposal_id=card.id,
        digest=card.digest,
        outcome=card.state,
        payload={"version": card.version},
    )


def open_evidence(proposal_id: int, *, actor: User, at: datetime | None = None) -> bool:
    """Note that a person opened the evidence of the card before them; False if it was open already. 1 query."""
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_EVIDENCE, {"proposal": proposal_id, "user": actor.pk, "at": at})
        return bool(cursor.rowcount > 0)


def close_views(proposal_id: int, *, actor: User, at: datetime) -> None:
    """Note that a card is no longer before a person, because they decided it. 1 query."""
    views = CardView.objects.filter(proposal_id=proposal_id, user=actor, closed_at__isnull=True)
    views.update(closed_at=at)


def make_partitions(*, months_ahead: int = MONTHS_AHEAD) -> list[str]:
    """Make the partitions of this month and the next ones, in an open transaction; return the names of the new ones."""
    with connection.cursor() as cursor:
        cursor.execute(_MONTHS, [0, months_ahead])
        missing = cursor.fetchall()
        for name, starts, ends in missing:
            # Names and bounds come from the database's own to_char: nothing of anybody's is in the statements. What was
            # seen before the month had its partition moves into it; nobody can look meanwhile, for a few milliseconds.
            cursor.execute("LOCK TABLE approvals_cardview_default IN ACCESS EXCLUSIVE MODE")
            cursor.execute(
                "CREATE TEMPORARY TABLE strays ON COMMIT DROP AS SELECT * FROM approvals_cardview_default"
                " WHERE opened_at >= %s AND opened_at < %s",
                [starts, ends],
            )
            cursor.execute(
                "DELETE FROM approvals_cardview_default WHERE opened_at >= %s AND opened_at < %s", [starts, ends]
            )
            cursor.execute(
                f"CREATE TABLE {name} PARTITION OF approvals_cardview FOR VALUES FROM ('{starts}') TO ('{ends}')"
            )
            cursor.execute("INSERT INTO approvals_cardview SELECT * FROM strays")
            cursor.execute("DROP TABLE strays")
    return [name for name, *_ in missing]


def drop_old_partitions(*, months_kept: int = MONTHS_KEPT) -> list[str]:
    """Drop the partitions that ended before so many months; return their names. What the default one holds stays."""
    with connection.cursor() as cursor:
        cursor.execute(_OLD, {"kept": months_kept})
        old = [name for (name,) in cursor.fetchall()]
        for name in old:
            cursor.execute(f"DROP TABLE {name}")
    return old


def stray_views() -> int:
    """Count the looks that found no partition of their month. The default partition should stay empty."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM approvals_cardview_default")
        (count,) = cursor.fetchone()
    return int(count)


# One statement: what was seen before, whatever else was open, and the new row. Two tabs of one person at once must not
# wait for each other, so a row that the other statement holds is left to it.
_OPEN: Final = """
WITH seen AS (
    SELECT bool_or(closed_at IS NULL) AS is_open, count(*) AS n FROM approvals_cardview
    WHERE proposal_id = %(proposal)s AND user_id = %(user)s AND version = %(version)s AND opened_at >= %(asked_at)s
), left_open AS (
    SELECT opened_at, id FROM approvals_cardview
    WHERE user_id = %(user)s AND proposal_id <> %(proposal)s AND closed_at IS NULL
        AND opened_at > %(at)s::timestamptz - interval '1 day'
    FOR UPDATE SKIP LOCKED
), closed AS (
    UPDATE approvals_cardview AS view SET closed_at = greatest(%(at)s, view.opened_at) FROM left_open
    WHERE view.opened_at = left_open.opened_at AND view.id = left_open.id
), opened AS (
    INSERT INTO approvals_cardview (proposal_id, user_id, version, opened_at, evidence_opened_at)
    SELECT %(proposal)s, %(user)s, %(version)s, %(at)s, CASE WHEN %(evidence)s THEN %(at)s::timestamptz END
    FROM seen WHERE seen.is_open IS NOT TRUE
)
SELECT n = 0 FROM seen
"""
_OPEN_EVIDENCE: Final = """
UPDATE approvals_cardview SET evidence_opened_at = coalesce(%(at)s, clock_timestamp())
WHERE proposal_id = %(proposal)s AND user_id = %(user)s AND closed_at IS NULL AND evidence_opened_at IS NULL
"""
# Months are UTC months, whatever the session's time zone is.
_MONTHS: Final = """
SELECT 'approvals_cardview_' || to_char(month, 'YYYY_MM'), to_char(month, 'YYYY-MM-DD') || ' 00:00:00+00',
    to_char(month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00'
FROM generate_series(%s, %s) AS ahead,
    LATERAL (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead) AS month) AS months
WHERE to_regclass('approvals_cardview_' || to_char(month, 'YYYY_MM')) IS NULL
"""
_OLD: Final = """
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'approvals_cardview'::regclass AND relname ~ '^approvals_cardview_[0-9]{4}_[0-9]{2}$'
    AND to_date(right(relname, 7), 'YYYY_MM') < date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => %(kept)s)
ORDER BY relname
"""
