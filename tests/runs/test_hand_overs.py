"""A person closes what an agent handed over."""

import json
from datetime import timedelta

import pytest

from apps.accounts.access import Forbidden
from apps.agents import actions as agents
from apps.audit.clock import clock
from apps.audit.domain.hashing import digest_of
from apps.audit.models import AuditEvent
from apps.connectors.actions import start_execution
from apps.connectors.models import ActionExecution
from apps.runs.actions.hand_overs import close_hand_over
from apps.runs.errors import AlreadyClosed, BadChoice, CaseChanged, NotClosed
from apps.runs.models import Precedent, WorkItem
from apps.runs.precedent import forget_indexes, index_of
from apps.runs.workflows.ticket_desk import cards
from tests.factories.accounts import make_member
from tests.factories.runs import CUSTOMER, TICKET, make_desk_agent, make_handed_over

CHOICE = {"queue": "login", "priority": "high", "reply": "We call you."}
WHY = "This is about a contract."
LONG_AGO = timedelta(minutes=5)


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


def left_open(item, agent, *, state="started", digest="sha256:" + "00" * 32):
    """A write whose web process died some time ago."""
    row = start_execution(
        thread_id=f"hand-over:{item.pk}",
        tool_call_id="close-1",
        proposal_id=None,
        agent_id=agent.pk,
        connector_key="desk",
        digest=digest,
        actor="user:99",
        worker="web",
        at=clock() - LONG_AGO,
    )
    ActionExecution.objects.filter(pk=row.pk).update(state=state)
    return row


def test_a_person_may_keep_a_case_that_no_queue_is_right_for(item, ben, desk):
    close_hand_over(item, reason=WHY, actor=ben)

    item.refresh_from_db()
    learned = Precedent.objects.get(work_item=item)
    assert (item.state, item.closed_by) == (WorkItem.State.DONE, ben)
    assert (learned.text, learned.queue, learned.source) == (TICKET["text"], "", Precedent.Source.HAND_OVER)
    assert desk.journal() == []
    assert not ActionExecution.objects.exists()


def test_what_people_keep_teaches_the_agent_what_is_outside_its_scope(agent, ben, desk):
    desk.load(tickets=[{"id": "T-7", "text": "May I terminate my contract early"}])
    version = agent.versions.get(is_current=True)
    item, _ = make_handed_over(agent, "T-7")

    close_hand_over(item, reason=WHY, actor=ben)

    forget_indexes()
    assert index_of(version.pk).answer("may I terminate the contract early").queue == ""


def test_keeping_a_case_is_in_the_log_with_its_reason(item, ben):
    close_hand_over(item, reason=f"  {WHY} ", actor=ben)

    told = AuditEvent.objects.get(action="work.hand_over_kept")
    assert (told.object, told.actor) == (f"work_item:{item.pk}", ben.actor)
    assert json.loads(told.payload)["why"] == WHY


@pytest.mark.parametrize("reason", ["", "  ", "no", "x" * 2_001])
def test_keeping_a_case_needs_a_reason(item, ben, reason):
    with pytest.raises(BadChoice, match="3 to 2,000 characters"):
        close_hand_over(item, reason=reason, actor=ben)

    item.refresh_from_db()
    assert item.state == WorkItem.State.HANDED_OVER


def test_a_case_that_its_system_does_not_know_can_only_be_kept_and_teaches_nothing(agent, ben):
    item, _ = make_handed_over(agent, "T-404", reason="not_found", payload={"text": "printer does not print"})
    with pytest.raises(NotClosed, match="The system has no T-404, so there is nothing to route"):
        close_hand_over(item, **CHOICE, actor=ben)

    close_hand_over(item, reason="It was a slip in the file.", actor=ben)

    item.refresh_from_db()
    assert item.state == WorkItem.State.DONE
    assert not Precedent.objects.filter(work_item=item).exists()


def test_a_case_may_be_kept_while_its_system_is_away_and_is_learned_as_it_came(agent, ben, desk):
    item, _ = make_handed_over(agent, payload={"text": "About my contract"})
    desk.kill()

    close_hand_over(item, reason=WHY, actor=ben)

    assert Precedent.objects.get(work_item=item).text == "About my contract"


@pytest.mark.parametrize("state", ["started", "unknown"])
def test_a_case_with_an_unsettled_write_is_not_kept_before_somebody_could_look(item, agent, ben, desk, state):
    left_open(item, agent, state=state)
    desk.kill()

    with pytest.raises(NotClosed, match="cannot be read now"):
        close_hand_over(item, reason=WHY, actor=ben)

    item.refresh_from_db()
    assert item.state == WorkItem.State.HANDED_OVER


@pytest.mark.parametrize("state", ["started", "unknown"])
def test_keeping_looks_first_whether_an_earlier_write_had_arrived_and_says_so(item, agent, ben, desk, state):
    changes = cards.changes("login", "high", "We call you.")
    row = left_open(item, agent, state=state, digest=digest_of(changes))
    desk.edit("T-1", **changes)

    with pytest.raises(CaseChanged, match="had worked after all"):
        close_hand_over(item, reason=WHY, actor=ben)

    row.refresh_from_db()
    item.refresh_from_db()
    assert (row.state, item.state) == ("done", WorkItem.State.HANDED_OVER)


def test_keeping_settles_an_earlier_write_that_had_not_arrived(item, agent, ben):
    row = left_open(item, agent)

    close_hand_over(item, reason=WHY, actor=ben)

    row.refresh_from_db()
    item.refresh_from_db()
    assert (row.state, item.state) == ("failed", WorkItem.State.DONE)


def test_nobody_keeps_a_case_while_somebody_else_writes_it(item, agent, ben):
    row = left_open(item, agent)
    ActionExecution.objects.filter(pk=row.pk).update(started_at=clock())

    with pytest.raises(NotClosed, match="at this moment"):
        close_hand_over(item, reason=WHY, actor=ben)


def test_a_kept_case_cannot_be_closed_again(item, ben, team, desk):
    close_hand_over(item, reason=WHY, actor=ben)

    with pytest.raises(AlreadyClosed):
        close_hand_over(item, **CHOICE, actor=make_member(team, "reviewer", name="Kim"))

    assert desk.journal() == []


@pytest.mark.parametrize("scope", ["all", "connector"])
def test_nothing_is_written_by_hand_while_everything_or_the_system_is_stopped(
    item, ben, ivo, desk, desk_connector, scope
):
    agents.engage_switch(scope, desk_connector.pk if scope == "connector" else 0, actor=ivo, reason="Look into it")

    with pytest.raises(NotClosed, match=r"Look into it\. Nothing was written\. The case still waits here"):
        close_hand_over(item, **CHOICE, actor=ben)

    item.refresh_from_db()
    assert item.state == WorkItem.State.HANDED_OVER
    assert desk.journal() == []
    assert not ActionExecution.objects.exists()


@pytest.mark.parametrize("scope", ["agent", "team"])
def test_people_do_the_work_while_only_the_agents_are_stopped(item, agent, ben, ivo, desk, scope):
    agents.engage_switch(scope, agent.pk if scope == "agent" else agent.team_id, actor=ivo, reason="Look into it")

    close_hand_over(item, **CHOICE, actor=ben)

    assert len(desk.journal()) == 1


def test_a_case_may_be_kept_while_everything_is_stopped_as_nothing_is_written(item, ben, ivo):
    agents.engage_switch("all", 0, actor=ivo, reason="Look into it")

    close_hand_over(item, reason=WHY, actor=ben)

    item.refresh_from_db()
    assert item.state == WorkItem.State.DONE


@pytest.mark.parametrize("person", ["ada", "cora", "dev", "olga", "eve"])
def test_only_reviewers_of_the_team_may_keep_a_case(item, cast, person):
    with pytest.raises(Forbidden):
        close_hand_over(item, reason=WHY, actor=cast[person])

    item.refresh_from_db()
    assert item.state == WorkItem.State.HANDED_OVER
