import json

import pytest
from django.db import connection


@pytest.fixture
def audit_events(db):
    """Read the headers and payloads of one proposal's audit events, oldest first."""

    def read(proposal):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT header, payload FROM audit_auditevent WHERE object = %s ORDER BY id",
                [f"proposal:{proposal.pk}"],
            )
            return [{**json.loads(header), "payload": json.loads(payload)} for header, payload in cursor.fetchall()]

    return read
