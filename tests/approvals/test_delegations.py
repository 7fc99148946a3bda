"""R2 and R6: who may decide by hand, in their own right or in a colleague's place, and who never may."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.access import Forbidden
from apps.accounts.models import Role
from apps.approvals import errors
from apps.approvals.actions import claims, delegating, outbox, undoing
from apps.approvals.actions.execution import consume
from apps.approvals.domain.delegation import Case, Lent, Standing, standing
from apps.approvals.errors import NotConsumable
from apps.approvals.models import Decision, Delegation, ResumeOutbox
from apps.approvals.queries import cards, delegations, inbox, reviewers
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from tests.factories.accounts import make_member
from tests.factories.approvals import TEN, decide, make_action_type, make_agent, make_proposal, make_version

DAY = timedelta(days=1)
ME, ANN, OWNER, TEAM, KIND = 1, 2, 9, 7, 5
HTMX = {"HX-Request": "true"}


def fresh(person):
    """Read a person anew, as each request does: rights are asked once."""
    return type(person).objects.get(pk=person.pk)


class TestRule:
    def case(self, **facts):
        return Case(**{"team": TEAM, "kind": KIND, "people": frozenset(), "barred": frozenset({OWNER}), **facts})

    def lent(self, **facts):
        return Lent(**{"team": TEAM, "lender": ANN, "kinds": frozenset(), "has_right": True, **facts})

    @pytest.mark.parametrize(
        ("has_role", "lent", "case", "expected"),
        [
            (True, [], {}, Standing(may=True)),
            (False, [], {}, Standing(may=False)),
            (False, [{}], {}, Standing(may=True, on_behalf_of=ANN)),
            (True, [{}], {}, Standing(may=True)),
            (False, [{"kinds": frozenset({KIND})}], {}, Standing(may=True, on_behalf_of=ANN)),
            (False, [{"kinds": frozenset({KIND + 1})}], {}, Standing(may=False)),
            (False, [{"team": TEAM + 1}], {}, Standing(may=False)),
            (False, [{"has_right": False}], {}, Standing(may=False)),
            (True, [], {"people": frozenset({ANN})}, Standing(may=False)),
            (True, [{}], {"people": frozenset({ANN})}, Standing(may=True, on_behalf_of=ANN)),
            (False, [{}], {"people": frozenset({ME})}, Standing(may=False)),
            (True, [], {"barred": frozenset({ME})}, Standing(may=True, is_barred=True)),
            (True, [{}], {"barred": frozenset({ANN})}, Standing(may=True, is_barred=True)),
            (True, [{"kinds": frozenset({KIND + 1})}], {"barred": frozenset({ANN})}, Standing(may=True)),
            (True, [{"has_right": False}], {"barred": frozenset({ANN})}, Standing(may=True, is_barred=True)),
        ],
    )
    def test_who_decides(self, has_role, lent, case, expected):
        found = standing(ME, has_role=has_role, lent=[self.lent(**each) for each in lent], case=self.case(**case))

        assert found == expected

    @given(
        st.booleans(),
        st.lists(
            st.builds(Lent, st.integers(1, 2), st.integers(1, 3), st.frozensets(st.integers(1, 2)), st.booleans())
        ),
        st.builds(
            Case,
            st.integers(1, 2),
            st.integers(1, 2),
            st.frozensets(st.integers(0, 3)),
            st.frozensets(st.integers(0, 3)),
        ),
    )
    def test_nobody_decides_without_a_role_of_somebody_who_is_not_barred(self, has_role, lent, case):
        found = standing(0, has_role=has_role, lent=lent, case=case)

        if found.decides:
            assert 0 not in case.barred
            assert found.on_behalf_of not in case.barred
            assert has_role or any(each.has_right and each.lender == found.on_behalf_of for each in lent)
            assert not case.people or (found.on_behalf_of or 0) in case.people


@pytest.fixture
def ann(team):
    return make_member(team, Role.REVIEWER, name="Ann")


@pytest.fixture
def lend(team, cora):
    """Let a reviewer lend their right to Cora, who sees the inbox and reviews nothing, for a day from ten o'clock."""

    def give(giver, to=cora, **facts):
        facts = {"starts": TEN, "ends": TEN + DAY, "at": TEN - timedelta(hours=1), **facts}
        return delegating.delegate(team, to=to, actor=giver, **facts)

    return give


class TestDeciding:
    def test_a_delegate_decides_in_the_givers_name(self, team, ada, ben, cora, lend, audit_events):
        row = make_proposal(team, ada)
        lend(ben)

        decided = decide(row, cora)

        assert (decided.decision.actor, decided.decision.on_behalf_of) == (cora, ben)
        (told,) = [each for each in audit_events(row) if each["action"] == "proposal.decided"]
        assert (told["actor"], told["on_behalf_of"]) == (cora.actor, ben.actor)

    def test_who_has_the_role_decides_in_their_own_name(self, team, ada, ben, ann, lend):
        lend(ann, to=ben)

        assert decide(make_proposal(team, ada), ben).decision.on_behalf_of is None

    @pytest.mark.parametrize("at", [TEN - timedelta(seconds=1), TEN + DAY])
    def test_before_and_after_it_gives_nothing(self, team, ada, ben, cora, lend, at):
        lend(ben)
        row = make_proposal(team, ada, at=at)

        with pytest.raises(Forbidden):
            decide(row, cora, at=at)

    def test_it_covers_only_the_kinds_it_names(self, team, ada, ben, cora, lend):
        agents = [make_agent(team, ada) for _ in range(2)]
        first, second = (make_proposal(team, ada, agent=each) for each in agents)
        lend(ben, action_types=[first.action_type_id])

        assert decide(first, cora).decision.on_behalf_of == ben
        with pytest.raises(Forbidden):
            decide(second, cora)

    def test_once_revoked_it_gives_nothing(self, team, ada, ben, cora, lend):
        delegating.revoke(lend(ben).pk, actor=ben, at=TEN)

        with pytest.raises(Forbidden):
            decide(make_proposal(team, ada), cora)

    def test_from_somebody_who_lost_the_role_it_gives_nothing(self, team, ada, ben, cora, lend):
        lend(ben)
        ben.memberships.all().delete()

        with pytest.raises(Forbidden):
            decide(make_proposal(team, ada), fresh(cora))

    def test_from_somebody_who_left_it_gives_nothing(self, team, ada, ben, cora, lend):
        lend(ben)
        ben.is_active = False
        ben.save()

        with pytest.raises(Forbidden):
            decide(make_proposal(team, ada), fresh(cora))

    def test_the_delegate_of_a_barred_person_is_barred_also_as_a_reviewer(self, team, ada, ben, ann, lend):
        ada.memberships.create(team=team, role=Role.REVIEWER)
        row = make_proposal(team, ada)
        lend(fresh(ada), to=ben)

        with pytest.raises(errors.SelfApproval):
            decide(row, ben)
        with pytest.raises(errors.SelfApproval):
            claims.claim(row.pk, actor=ben, at=TEN)
        assert not cards.card(ben, row.pk, at=TEN).may_decide
        assert "stand in for somebody" in cards.card(ben, row.pk, at=TEN).why_not
        assert [each.may_decide for each in inbox.inbox_rows(ben, at=TEN)] == [False]
        assert decide(row, ann).decision.actor == ann

    def test_the_owner_gains_nothing_by_a_delegation(self, team, ada, ben, lend):
        row = make_proposal(team, ada)
        lend(ben, to=ada)

        with pytest.raises(errors.SelfApproval):
            decide(row, ada)

    def test_two_people_are_two_people_whoever_they_stand_in_for(self, team, ada, ben, cora, lend):
        row = make_proposal(team, ada, policy={"approvals_needed": 2})
        lend(ben)

        assert decide(row, cora).proposal.approvals_given == 1
        row.refresh_from_db()
        assert decide(row, cora).replayed
        assert decide(row, ben).proposal.state == "queued"

    def test_a_policy_that_names_its_people_is_decided_by_them_and_their_delegates(
        self, team, ada, ben, ann, cora, lend
    ):
        row = make_proposal(team, ada, policy={"approvers": [ann.pk]})
        lend(ann)

        with pytest.raises(Forbidden, match="names who decides"):
            decide(row, ben)
        assert "those whom its policy names" in cards.card(ben, row.pk, at=TEN).why_not
        assert [each.may_decide for each in inbox.inbox_rows(ben, at=TEN)] == [False]
        assert decide(row, cora).decision.on_behalf_of == ann

    def test_what_was_lent_is_not_lent_on(self, team, ada, ben, ann, cora, olga, lend):
        row = make_proposal(team, ada, policy={"approvers": [ann.pk]})
        lend(ann, to=ben)
        lend(ben)

        with pytest.raises(Forbidden):
            decide(row, cora)
        with pytest.raises(Forbidden, match="not lent on"):
            lend(cora, to=olga)

    def test_a_delegate_claims_gives_back_and_takes_back(self, team, ada, ben, cora, lend):
        row = make_proposal(team, ada, policy={"undo_s": 15})
        dana = make_member(team, Role.AUDITOR, name="Dana")
        lend(ben, to=dana)

        assert claims.claim(row.pk, actor=dana, at=TEN).claimed_by == dana
        assert claims.release(row.pk, actor=dana, at=TEN).state == "pending"
        row.refresh_from_db()
        decide(row, dana)
        assert cards.card(dana, row.pk, at=TEN).may_undo
        assert undoing.undo(row.pk, actor=dana, at=TEN).state == "pending"

    def test_the_card_and_the_queue_know_the_delegate(self, team, ada, ben, cora, lend):
        row = make_proposal(team, ada)
        assert inbox.waiting_count(cora, at=TEN) == 0
        lend(ben)

        card = cards.card(cora, row.pk, at=TEN)
        assert (card.may_decide, card.deciding_for, card.why_not) == (True, "Ben", "")
        assert [each.may_decide for each in inbox.inbox_rows(cora, at=TEN)] == [True]
        assert (inbox.waiting_count(cora, at=TEN), inbox.next_waiting(cora, at=TEN)) == (1, row.pk)
        assert reviewers.deciding_right(cora, row, at=TEN) == reviewers.Right(ben.pk)

    def test_the_count_of_a_delegate_holds_only_the_kinds_lent(self, team, ada, ben, cora, lend):
        first = make_proposal(team, ada)
        make_proposal(team, ada)
        lend(ben, action_types=[first.action_type_id])

        assert inbox.waiting_count(cora, at=TEN) == 1

    def test_an_outsider_gets_nothing_even_by_a_forged_delegation(self, team, ada, ben, eve):
        row = make_proposal(team, ada)
        Delegation.objects.create(team=team, from_user=ben, to_user=eve, starts=TEN, ends=TEN + DAY)

        with pytest.raises(errors.NotFound):
            decide(row, eve)
        with pytest.raises(errors.NotFound):
            claims.claim(row.pk, actor=eve, at=TEN)
        assert reviewers.deciding_right(eve, row, at=TEN) is None
        assert inbox.inbox_rows(eve, at=TEN) == []
        assert inbox.waiting_count(eve, at=TEN) == 0


class TestRunning:
    """R10: whoever consented must still be one who may, when it runs."""

    def run(self, row):
        outbox.mark_handed(ResumeOutbox.objects.get(proposal=row).pk, at=TEN)
        facts = {"args": row.args, "fingerprint": row.agent_version.fingerprint, "state_now": {"status": "open"}}
        return consume(row.pk, worker="w", at=TEN + timedelta(minutes=5), **facts)

    @pytest.fixture
    def consented(self, team, ada, ben, cora, lend):
        given = lend(ben)
        return decide(make_proposal(team, ada, policy={"undo_s": 0}), cora).proposal, given

    def test_a_delegates_consent_runs(self, consented):
        assert self.run(consented[0]).state == "started"

    def test_also_when_the_delegation_ended_after_the_decision(self, ben, consented):
        delegating.revoke(consented[1].pk, actor=ben, at=TEN + timedelta(minutes=1))

        assert self.run(consented[0]).state == "started"

    def test_not_when_the_giver_lost_the_role_since(self, ben, consented):
        ben.memberships.all().delete()

        with pytest.raises(NotConsumable) as refused:
            self.run(consented[0])
        assert refused.value.code == "withdrawn"

    def test_not_when_the_delegate_left_the_team_since(self, cora, consented):
        cora.memberships.all().delete()

        with pytest.raises(NotConsumable):
            self.run(consented[0])

    def test_not_when_nobody_had_lent_it(self, ben, consented):
        Delegation.objects.all().delete()

        with pytest.raises(NotConsumable):
            self.run(consented[0])

    def test_not_when_the_giver_owns_the_agent_by_now(self, ben, consented):
        agent = consented[0].agent_version.agent
        agent.owner = ben
        agent.save()

        with pytest.raises(NotConsumable):
            self.run(consented[0])


class TestLending:
    def test_it_is_told_to_the_log_and_so_is_its_end(self, team, ben, cora, lend):
        row = lend(ben, reason="Holiday")
        delegating.revoke(row.pk, actor=ben, at=TEN)
        delegating.revoke(row.pk, actor=ben, at=TEN + DAY)

        events = AuditEvent.objects.filter(object=f"delegation:{row.pk}").order_by("id")
        assert [each.action for each in events] == ["delegation.given", "delegation.revoked"]
        assert {each.actor for each in events} == {ben.actor}
        told = json.loads(events[0].payload)
        assert (told["from"], told["to"], told["reason"]) == (ben.actor, cora.actor, "Holiday")
        row.refresh_from_db()
        assert row.revoked_at == TEN

    @pytest.mark.parametrize(
        ("facts", "pointer"),
        [
            ({"ends": TEN}, "/ends"),
            ({"ends": TEN - timedelta(days=3), "starts": TEN - timedelta(days=4)}, "/ends"),
            ({"ends": TEN + timedelta(days=91)}, "/ends"),
        ],
    )
    def test_its_time_must_make_sense(self, ben, lend, facts, pointer):
        with pytest.raises(errors.BadDelegation) as refused:
            lend(ben, **facts)
        assert refused.value.pointer == pointer

    @pytest.mark.parametrize("person", ["ben", "dev", "eve"])
    def test_only_a_colleague_who_sees_the_inbox_can_have_it(self, cast, ben, lend, person):
        with pytest.raises(errors.BadDelegation) as refused:
            lend(ben, to=cast[person])
        assert refused.value.pointer == "/to"

    def test_only_ones_own_right_can_be_lent(self, cora, olga, eve, lend):
        with pytest.raises(Forbidden):
            lend(cora, to=olga)
        with pytest.raises(errors.NotFound):
            lend(eve, to=olga)

    def test_it_never_starts_in_the_past(self, ben, lend):
        assert lend(ben, starts=TEN - timedelta(days=2), at=TEN).starts == TEN

    @pytest.mark.parametrize("person", ["ben", "cora", "ivo"])
    def test_giver_delegate_and_administrator_end_it(self, cast, ben, lend, person):
        assert delegating.revoke(lend(ben).pk, actor=cast[person], at=TEN).revoked_at == TEN

    def test_nobody_else_ends_it(self, ben, olga, eve, lend):
        row = lend(ben)

        with pytest.raises(Forbidden):
            delegating.revoke(row.pk, actor=olga, at=TEN)
        with pytest.raises(errors.NotFound):
            delegating.revoke(row.pk, actor=eve, at=TEN)


class TestPage:
    @pytest.fixture
    def now(self):
        return clock()

    @pytest.mark.parametrize(
        ("person", "given", "received", "of_team"),
        [("ben", 1, 0, 0), ("cora", 0, 1, 0), ("ivo", 0, 0, 1), ("olga", 0, 0, 0), ("eve", 0, 0, 0)],
    )
    def test_each_sees_what_concerns_them(self, cast, lend, person, given, received, of_team):
        lend(cast["ben"])

        page = delegations.delegations_page(cast[person], at=TEN)

        assert (len(page.given), len(page.received), len(page.of_team)) == (given, received, of_team)

    def test_a_line_says_how_it_stands(self, team, ben, cora, lend):
        lend(ben)
        (line,) = delegations.delegations_page(ben, at=TEN).given
        assert (line.status, line.words, line.may_end, line.why_idle) == ("ok", "Runs", True, "")

        (line,) = delegations.delegations_page(ben, at=TEN - DAY).given
        assert (line.status, line.words) == ("wait", "Not yet")

        (line,) = delegations.delegations_page(ben, at=TEN + DAY).given
        assert (line.status, line.words, line.may_end) == ("idle", "Over", False)

    def test_a_line_says_why_it_gives_nothing(self, ben, cora, lend):
        lend(ben)
        ben.memberships.all().delete()

        (line,) = delegations.delegations_page(cora, at=TEN).received

        assert (line.status, line.why_idle) == ("warn", "Ben may not decide here any more, so it gives nothing.")

    def test_a_reviewer_lends_from_the_page_in_whole_days_of_their_own(self, client, team, ada, ben, cora, now):
        type(ben).objects.filter(pk=ben.pk).update(time_zone="Europe/Berlin")
        agent = make_agent(team, ada)
        kind = make_action_type(agent)
        make_version(agent)
        client.force_login(ben)
        first, last = (now + DAY).date(), (now + 3 * DAY).date()

        prefix = f"team-{team.pk}"
        response = client.post(
            f"/inbox/delegations/give/{team.pk}/",
            {
                f"{prefix}-to": cora.pk,
                f"{prefix}-first_day": first.isoformat(),
                f"{prefix}-last_day": last.isoformat(),
                f"{prefix}-action_types": [kind.pk],
                f"{prefix}-reason": "Holiday",
            },
            follow=True,
        )

        assert b"Cora decides in your place." in response.content
        assert b"Holiday" in response.content
        row = Delegation.objects.get()
        assert (row.from_user, row.to_user, list(row.action_types.all())) == (ben, cora, [kind])
        assert (row.ends - row.starts).days == 3

    def test_a_mistake_stands_beside_its_field_and_nothing_is_lent(self, client, team, ben, cora, now):
        client.force_login(ben)
        prefix, day = f"team-{team.pk}", now.date()

        response = client.post(
            f"/inbox/delegations/give/{team.pk}/",
            {
                f"{prefix}-to": cora.pk,
                f"{prefix}-first_day": day.isoformat(),
                f"{prefix}-last_day": (day - DAY).isoformat(),
            },
        )

        assert response.status_code == 422
        assert b"It must end after it starts" in response.content
        assert not Delegation.objects.exists()

    def test_it_is_ended_from_the_page(self, client, team, ben, cora, now):
        row = delegating.delegate(team, to=cora, starts=now, ends=now + DAY, actor=ben)
        client.force_login(cora)

        response = client.post(f"/inbox/delegations/{row.pk}/revoke/", follow=True)

        assert b"Cora no longer decides for Ben" in response.content
        row.refresh_from_db()
        assert row.revoked_at is not None

    def test_an_outsider_finds_no_delegation_and_no_team(self, client, team, ben, cora, eve, now):
        row = delegating.delegate(team, to=cora, starts=now, ends=now + DAY, actor=ben)
        client.force_login(eve)

        assert client.post(f"/inbox/delegations/{row.pk}/revoke/").status_code == 404
        assert client.post(f"/inbox/delegations/give/{team.pk}/").status_code == 404
        assert b"Cora" not in client.get("/inbox/delegations/").content

    def test_who_may_not_see_the_inbox_is_told_who_can_help(self, client, dev, cora, team):
        client.force_login(dev)
        assert client.get("/inbox/delegations/").status_code == 403

        client.force_login(cora)
        assert client.post(f"/inbox/delegations/give/{team.pk}/").status_code == 403

    def test_a_delegate_decides_on_the_page(self, client, team, ada, ben, cora, now):
        delegating.delegate(team, to=cora, starts=now, ends=now + DAY, actor=ben)
        row = make_proposal(team, ada, at=now)
        client.force_login(cora)

        page = client.get(f"/inbox/{row.pk}/")
        assert b"You decide in place of Ben." in page.content

        client.post(
            f"/inbox/{row.pk}/decide/",
            {"verdict": "approve", "version": row.version, "digest": row.digest},
            headers=HTMX,
        )
        assert Decision.objects.get().on_behalf_of == ben
