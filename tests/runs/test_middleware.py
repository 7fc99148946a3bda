"""R13: what stands around a write, and in which order."""

import pytest

from apps.runs import middleware
from apps.runs.middleware import Approval, CheckedTurn, ExecutionClaim, ReplyText, Retry


@pytest.fixture
def stack():
    return middleware.stack(
        write_tools=["route_ticket", "close_ticket"], ends=["hand_over"], case_arg="ticket", schemas={}
    )


def test_the_true_words_come_outside_the_question_and_the_claim_comes_inside_it(stack):
    assert [type(each) for each in stack] == [CheckedTurn, ReplyText, Approval, ExecutionClaim, Retry]


def test_every_write_is_asked_about_on_its_own_and_no_condition_lets_one_pass(stack):
    approval = stack[2]

    assert approval.interrupt_mode == "per_call"
    assert set(approval.interrupt_on) == {"route_ticket", "close_ticket"}
    assert not any(config.get("when") for config in approval.interrupt_on.values())


def test_what_is_asked_about_is_what_is_claimed(stack):
    assert stack[3].write_tools == set(stack[2].interrupt_on)
