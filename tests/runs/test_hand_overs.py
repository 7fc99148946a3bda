"""A person closes what an agent handed over."""

import pytest

from apps.accounts.access import Forbidden
from apps.audit.clock import clock
from apps.connectors.actions import start_execution
from apps.connectors.models import ActionExecution
from apps.runs.actions.hand_overs import close_hand_over
from apps.runs.errors import AlreadyClosed, BadChoice, CaseChanged, NotClosed
from apps.runs.models import Precedent, WorkItem
from tests.factories.accounts import make_member
from tests.factories.runs import CUSTOMER, TICKET, make_desk_agent, make_handed_over

CHOICE = {"queue": "login", "priority": "high", "reply": "We call you."}


@pytest.fixture
def agent(db, desk, desk_connector, team, ada):
    desk.load(tickets=[TICKET], customers=[CUSTOMER])
    return make_desk_agent(team, ada)


@pytest.fixture
def item(agent):
    return make_handed_over(agent)[0]


def test_it_writes_in_the_persons_name_closes_the_case_and_learns(item, ben, desk):
    close_hand_over(item, **CHOICE, actor=ben)

    (written,) = desk.journal()
    item.refresh_from_db()
    learned = Precedent.objects.get(work_item=item)
    assert written["actor"] == ben.actor
    assert (written["after"]["queue"], written["after"]["status"]) == ("login", "routed")
    assert (item.state, item.closed_by) == (WorkItem.State.DONE, ben)
    assert (learned.queue, learned.priority, learned.source) == ("login", "high", Precedent.Source.HAND_OVER)
    assert learned.text == TICKET["text"]


def test_it_refuses_to_close_a_case_twice(item, ben, team, desk):
    kim = make_member(team, "reviewer", name="Kim")
    close_hand_over(item, **CHOICE, actor=ben)

    with pytest.raises(AlreadyClosed):
        close_hand_over(item, **CHOICE | {"queue": "printing"}, actor=kim)

    assert len(desk.journal()) == 1


def test_it_tells_that_the_case_changed_and_writes_nothing(item, ben, desk):
    read = f'"{desk.ticket("T-1")["version"]}"' if "version" in desk.ticket("T-1") else '"1"'
    desk.edit("T-1", queue="printing")

    with pytest.raises(CaseChanged, match="Nothing was written"):
        close_hand_over(item, **CHOICE, actor=ben, etag=read)

    item.refresh_from_db()
    assert item.state == WorkItem.State.HANDED_OVER
    assert desk.ticket("T-1")["queue"] == "printing"


def test_after_a_conflict_the_same_person_may_try_again(item, ben, desk):
    with pytest.raises(CaseChanged):
        close_hand_over(item, **CHOICE, actor=ben, etag='"77"')

    close_hand_over(item, **CHOICE, actor=ben)

    assert len(desk.journal()) == 1


def test_a_queue_the_agent_does_not_have_is_refused(item, ben, desk):
    with pytest.raises(BadChoice):
        close_hand_over(item, **CHOICE | {"queue": "nowhere"}, actor=ben)

    assert desk.journal() == []


def test_a_desk_that_is_away_leaves_the_case_waiting(item, ben, desk):
    desk.kill()

    with pytest.raises(NotClosed, match="still waits here"):
        close_hand_over(item, **CHOICE, actor=ben)

    assert not ActionExecution.objects.exists()


def test_an_answer_that_was_cut_is_repeated_under_one_key(item, ben, desk):
    desk.stop()
    desk.start(faults="drop_after_write:1")

    close_hand_over(item, **CHOICE, actor=ben)

    assert len(desk.journal()) == 1


def test_an_unclear_write_is_settled_by_looking_and_not_by_writing_again(item, ben, desk, desk_connector):
    desk_connector.is_idempotent = False
    desk_connector.save(update_fields=["is_idempotent"])
    desk.stop()
    desk.start(faults="drop_after_write:1")
    with pytest.raises(NotClosed, match="may or may not"):
        close_hand_over(item, **CHOICE, actor=ben)

    close_hand_over(item, **CHOICE, actor=ben)

    item.refresh_from_db()
    assert item.state == WorkItem.State.DONE
    assert len(desk.journal()) == 1
    assert ActionExecution.objects.get().state == ActionExecution.State.DONE


def test_two_people_cannot_close_at_the_same_moment(item, agent, ben, desk):
    start_execution(
        thread_id=f"hand-over:{item.pk}",
        tool_call_id="close-1",
        proposal_id=None,
        agent_id=agent.pk,
        connector_key="desk",
        digest="sha256:" + "00" * 32,
        actor="user:99",
        worker="web",
        at=clock(),
    )

    with pytest.raises(NotClosed, match="at this moment"):
        close_hand_over(item, **CHOICE, actor=ben)

    assert desk.journal() == []


@pytest.mark.parametrize("person", ["ada", "cora", "dev", "olga", "eve"])
def test_only_reviewers_of_the_team_may_close(item, cast, desk, person):
    with pytest.raises(Forbidden):
        close_hand_over(item, **CHOICE, actor=cast[person])

    assert desk.journal() == []
