import threading

import pytest
from django.db import connection, transaction

from apps.audit.clock import clock
from apps.audit.locks import try_advisory_lock, try_xact_lock

pytestmark = pytest.mark.django_db(transaction=True)


def elsewhere(function):
    """Run on a connection of its own, as another process would."""
    answers = []

    def work():
        try:
            answers.append(function())
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return answers[0]


def try_here():
    with transaction.atomic(), try_xact_lock("slo.collect") as got:
        return got


def test_of_two_transactions_one_gets_the_lock():
    with transaction.atomic(), try_xact_lock("slo.collect") as got:
        assert got
        assert not elsewhere(try_here)

    assert elsewhere(try_here)


def test_a_lock_without_a_transaction_is_refused():
    with pytest.raises(RuntimeError, match="open a transaction first"), try_xact_lock("slo.collect"):
        pass


def test_a_lock_of_the_connection_is_given_back_at_the_end():
    def try_session():
        with try_advisory_lock("audit.verify") as got:
            return got

    with try_advisory_lock("audit.verify") as got:
        assert got
        assert not elsewhere(try_session)

    assert elsewhere(try_session)


def test_the_clock_moves_on_inside_a_transaction():
    with transaction.atomic():
        first = clock()

        assert clock() > first
