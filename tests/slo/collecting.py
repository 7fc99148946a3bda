"""Collecting in tests, where the transactions of other tests hold the collector back."""

import time

from django.db import connection

from apps.slo import actions
from apps.slo.models import Cursor, Indicator, SliMinute


def collect(*, at=None):
    """Collect until everything that has committed by now is counted: other tests' open transactions hold the watermark back."""
    collect_up_to(current_xid() + 1, at=at)


def collect_up_to(xid, *, at=None):
    """Collect until every transaction up to this number is counted, or is the oldest that is still open."""
    end = time.monotonic() + 60
    actions.collect(at=at)
    while Cursor.objects.filter(xid__lt=xid).exists():
        assert time.monotonic() < end, "A transaction has been open for a minute."
        time.sleep(0.1)
        actions.collect(at=at)


def current_xid():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        return cursor.fetchone()[0]


def indicator_of(agent, kind):
    return Indicator.objects.get(agent=agent, kind=kind)


def counted(indicator):
    """Return good and total of an indicator, from its minutes."""
    rows = SliMinute.objects.filter(indicator=indicator)
    return sum(row.good for row in rows), sum(row.total for row in rows)
