"""Every test finds the board of tests/board.py as factories propose on it."""

import pytest

from tests.board import board as the_board


@pytest.fixture(autouse=True)
def board():
    """Give the board to tests that change a target behind everybody's back."""
    found = the_board()
    found.reset()
    yield found
    found.may_answer.set()


@pytest.fixture(scope="session", autouse=True)
def _hang_up():
    """Close the kept connections at the end, as an unclosed socket is a warning."""
    yield
    from apps.connectors import client

    client.forget()
