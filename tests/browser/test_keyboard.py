"""Two reviewers clear a mixed queue in real Chromium by keys alone; `make bench` does the same with a hundred cards."""

from collections import Counter

import pytest

from apps.accounts.models import Role
from apps.approvals.models import Decision, Proposal, State
from tests.factories.accounts import make_member
from tests.factories.mixed_queue import make_mixed_queue
from tests.flows.keyboard import clear

pytestmark = pytest.mark.browser


def test_two_reviewers_clear_a_mixed_queue_without_touching_the_mouse(browse, team, ada, ben):
    kim = make_member(team, Role.REVIEWER, name="Kim")
    risks = make_mixed_queue(team, ada, low=14, medium=4, high=2)
    first, second = browse(ben), browse(kim)

    cleared = clear(first, cards=20, risk_of=risks.__getitem__)
    assert Counter(cleared.verdicts.values()) == {"approve": 16, "reject": 1, "edit": 1, "confirm": 2}
    half = Proposal.objects.filter(risk_class="high").values_list("state", "approvals_given")
    assert set(half) == {(State.PENDING, 1)}
    second.reload()
    clear(second, cards=2, risk_of=risks.__getitem__)

    assert not Proposal.objects.waiting().exists()
    assert Counter(Decision.objects.values_list("actor__name", "verdict")) == {
        ("Ben", "approve"): 18,
        ("Ben", "reject"): 1,
        ("Ben", "edit"): 1,
        ("Kim", "approve"): 2,
    }
    assert first.reports == second.reports == []
