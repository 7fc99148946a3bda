"""R3: many verdicts at once, only on what was shown to this person, and only after some of it was looked at."""

from datetime import timedelta

import pytest
from django.core import signing
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Membership, Role
from apps.approvals import errors, shown
from apps.approvals.actions import claims
from apps.approvals.actions.bulk import decide_bulk
from apps.approvals.domain import bulk
from apps.approvals.domain.bulk import GroupKey, Shown
from apps.approvals.models import Decision, Proposal, State
from apps.approvals.queries import groups
from apps.approvals.queries.targets import target_now
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from tests.factories.accounts import make_member
from tests.factories.approvals import decide, make_agent, make_proposal

HTMX = {"HX-Request": "true"}
KEY = b"a key of the tests"


class TestSample:
    @pytest.mark.parametrize(("n", "k"), [(0, 0), (1, 1), (2, 2), (12, 2), (20, 2), (21, 3), (50, 5)])
    def test_so_many_of_n_must_have_been_opened(self, n, k):
        assert bulk.sample_size(n) == k

    @given(st.integers(0, bulk.MOST))
    def test_one_in_ten_and_two_at_least(self, n):
        assert min(n, 2) <= bulk.sample_size(n) <= n
        assert bulk.sample_size(n) * bulk.ONE_IN >= n

    @given(st.sets(st.integers(1, 10_000), min_size=1, max_size=bulk.MOST), st.randoms())
    def test_it_is_the_same_however_often_and_in_whatever_order_it_is_asked(self, ids, random):
        page = [Shown(each, 1, f"digest {each}") for each in ids]
        mixed = random.sample(page, len(page))

        first = bulk.sample(sorted(ids), shown=page, key=KEY)

        assert set(first) <= ids
        assert len(first) == bulk.sample_size(len(ids))
        assert bulk.sample(sorted(ids), shown=mixed, key=KEY) == first

    @given(st.sets(st.integers(1, 10_000), min_size=3, max_size=bulk.MOST))
    def test_whoever_leaves_out_what_they_did_not_open_is_told_of_the_next_one(self, ids):
        page = [Shown(each, 1, f"digest {each}") for each in ids]
        named = bulk.sample(sorted(ids), shown=page, key=KEY)

        rest = bulk.sample(sorted(ids - {named[0]}), shown=page, key=KEY)

        assert named[0] not in rest
        assert len(rest) == bulk.sample_size(len(ids) - 1)

    def test_a_claim_changes_nothing_about_what_must_be_opened(self):
        ids = range(1, 31)

        before = bulk.sample(ids, shown=[Shown(each, 1, "d") for each in ids], key=KEY)
        after = bulk.sample(ids, shown=[Shown(each, 2, "d") for each in ids], key=KEY)

        assert before == after

    def test_another_key_or_another_page_names_others(self):
        ids = range(1, 51)
        page = [Shown(each, 1, "d") for each in ids]

        named = bulk.sample(ids, shown=page, key=KEY)

        assert bulk.sample(ids, shown=page, key=b"another") != named
        assert bulk.sample(ids, shown=[*page, Shown(51, 1, "d")], key=KEY) != named


class TestGroupKey:
    @given(st.integers(1, 10**12), st.sampled_from(bulk.RISKS), st.none() | st.integers(1, 10**12))
    def test_it_reads_what_it_wrote(self, kind, risk, policy):
        key = GroupKey(kind, risk, policy)

        assert GroupKey.parse(str(key)) == key

    @pytest.mark.parametrize(
        "text", ["", "1", "1.low", "1.high.2", "x.low.2", "1.low.x", "1.low.2.3", "-1.low.2", "²low.1"]
    )
    def test_anything_else_is_no_group(self, text):
        assert GroupKey.parse(text) is None


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from("ab")), max_size=20))
def test_a_duplicate_points_to_the_first_of_its_agent(facts):
    cards = [(pk, agent, digest) for pk, (agent, digest) in enumerate(facts)]

    found = bulk.duplicates(cards)

    assert all(facts[pk] == facts[original] and original < pk for pk, original in found.items())
    assert len(found) == len(facts) - len(set(facts))


@pytest.fixture
def agent(team, ada):
    return make_agent(team, ada)


@pytest.fixture
def cards(team, ada, agent):
    return [
        make_proposal(team, ada, agent=agent, at=clock(), title=f"Route T-{number}", target=f"desk:tickets/T-{number}")
        for number in range(1, 13)
    ]


def as_shown(rows):
    return [Shown(each.pk, each.version, each.digest) for each in rows]


def token_of(rows, person):
    return shown.sign(as_shown(rows), user_id=person.pk)


def open_cards(client, ids):
    for pk in ids:
        assert client.get(f"/inbox/{pk}/look/", headers=HTMX).status_code == 200


def wanted(rows, person):
    return bulk.sample([each.pk for each in rows], shown=as_shown(rows), key=shown.sample_key(person.pk))


@pytest.fixture
def as_ben(client, ben):
    client.force_login(ben)
    return client


@pytest.mark.django_db
class TestDecideBulk:
    def give(self, rows, actor, verdict="approve", **fields):
        facts = {"token": token_of(rows, actor), **fields}
        return decide_bulk(as_shown(rows), verdict=verdict, actor=actor, **facts)

    def test_it_approves_all_once_the_named_ones_were_opened(self, as_ben, ben, cards):
        open_cards(as_ben, wanted(cards, ben))

        outcomes = self.give(cards, ben)

        assert [each.outcome for each in outcomes] == ["decided"] * 12
        assert set(Proposal.objects.values_list("state", flat=True)) == {State.QUEUED}

    def test_looking_claims_nothing_so_that_the_page_stays_true(self, as_ben, cards):
        open_cards(as_ben, [cards[0].pk])

        cards[0].refresh_from_db()
        assert (cards[0].state, cards[0].version) == (State.PENDING, 1)

    def test_it_names_what_must_be_opened_and_decides_nothing(self, as_ben, ben, cards):
        named = wanted(cards, ben)
        open_cards(as_ben, named[:1])

        with pytest.raises(errors.OpenFirst) as refused:
            self.give(cards, ben)

        assert refused.value.ids == named[1:]
        assert (refused.value.code, refused.value.status) == ("open_first", 422)
        assert not Decision.objects.exists()

    def test_what_a_colleague_opened_does_not_count(self, client, team, ben, cards):
        kim = make_member(team, Role.REVIEWER, name="Kim")
        client.force_login(kim)
        open_cards(client, [each.pk for each in cards])

        with pytest.raises(errors.OpenFirst):
            self.give(cards, ben)

    def test_the_same_again_is_a_replay(self, as_ben, ben, cards):
        open_cards(as_ben, wanted(cards, ben))
        self.give(cards, ben)

        outcomes = self.give(cards, ben)

        assert [each.outcome for each in outcomes] == ["replayed"] * 12
        assert Decision.objects.count() == 12

    def test_each_card_has_its_own_end(self, as_ben, ben, team, cards):
        kim = make_member(team, Role.REVIEWER, name="Kim")
        page, token = as_shown(cards), token_of(cards, ben)
        open_cards(as_ben, [each.pk for each in cards])
        decide(cards[0], kim, "reject", at=clock())
        claims.claim(cards[1].pk, actor=kim)

        outcomes = decide_bulk(page, token=token, verdict="approve", actor=ben)

        assert [(each.outcome, each.code) for each in outcomes[:3]] == [
            ("refused", "already_decided"),
            ("refused", "claimed"),
            ("decided", ""),
        ]
        assert outcomes[1].message.startswith("Kim is deciding, until ")
        assert Proposal.objects.filter(state=State.QUEUED).count() == 10

    def test_one_that_changed_since_it_was_shown_is_refused_alone(self, as_ben, ben, team, cards):
        kim = make_member(team, Role.REVIEWER, name="Kim")
        page, token = as_shown(cards[:2]), token_of(cards[:2], ben)
        open_cards(as_ben, [each.pk for each in cards])
        claims.claim(cards[0].pk, actor=kim)
        claims.release(cards[0].pk, actor=kim)

        outcomes = decide_bulk(page, token=token, verdict="approve", actor=ben)

        assert [(each.outcome, each.code) for each in outcomes] == [("refused", "changed"), ("decided", "")]

    def test_a_system_that_is_down_is_asked_once_for_the_whole_page(self, as_ben, ben, cards, board):
        page, token = as_shown(cards), token_of(cards, ben)
        open_cards(as_ben, [each.pk for each in cards])
        board.is_broken = True
        target_now(cards[0])
        once = len(board.asked)

        outcomes = decide_bulk(page, token=token, verdict="approve", actor=ben)

        assert len(board.asked) == 2 * once
        assert len(outcomes) == len(cards) > 1

    def test_what_was_not_shown_is_not_decided(self, as_ben, ben, cards):
        open_cards(as_ben, [each.pk for each in cards])

        outcomes = decide_bulk(as_shown(cards[:3]), token=token_of(cards[:2], ben), verdict="approve", actor=ben)

        assert [(each.outcome, each.code) for each in outcomes] == [
            ("decided", ""),
            ("decided", ""),
            ("refused", "not_shown"),
        ]

    @pytest.mark.parametrize("changed", [{"version": 2}, {"digest": "sha256:" + "0" * 64}])
    def test_another_version_or_digest_than_was_shown_is_not_decided(self, as_ben, ben, cards, changed):
        open_cards(as_ben, [cards[0].pk])
        facts = {"id": cards[0].pk, "version": 1, "digest": cards[0].digest, **changed}

        [outcome] = decide_bulk([Shown(**facts)], token=token_of(cards, ben), verdict="approve", actor=ben)

        assert outcome.code == "not_shown"

    def test_what_was_shown_to_somebody_else_counts_for_nobody(self, as_ben, ben, team, cards):
        kim = make_member(team, Role.REVIEWER, name="Kim")
        open_cards(as_ben, [each.pk for each in cards])

        outcomes = decide_bulk(as_shown(cards), token=token_of(cards, kim), verdict="approve", actor=ben)

        assert {each.code for each in outcomes} == {"not_shown"}

    @pytest.mark.parametrize(("minutes", "code"), [(14, ""), (16, "not_shown")])
    def test_what_was_shown_counts_for_fifteen_minutes(self, as_ben, ben, cards, monkeypatch, minutes, code):
        open_cards(as_ben, [each.pk for each in cards])
        past = timezone.now() - timedelta(minutes=minutes)
        with monkeypatch.context() as patch:
            patch.setattr(signing.time, "time", past.timestamp)
            token = token_of(cards[:2], ben)

        outcomes = decide_bulk(as_shown(cards[:2]), token=token, verdict="approve", actor=ben)

        assert {each.code for each in outcomes} == {code}

    def test_a_forged_token_shows_nothing(self, as_ben, ben, cards):
        open_cards(as_ben, [each.pk for each in cards])

        outcomes = decide_bulk(as_shown(cards), token=token_of(cards, ben)[:-1] + "x", verdict="approve", actor=ben)

        assert {each.code for each in outcomes} == {"not_shown"}

    def test_high_risk_is_decided_one_by_one(self, as_ben, ben, team, ada):
        high = make_proposal(team, ada, at=clock(), kind={"risk_class": "high"})
        open_cards(as_ben, [high.pk])

        [outcome] = self.give([high], ben)

        assert (outcome.outcome, outcome.code) == ("refused", "high_risk")
        assert not Decision.objects.exists()

    def test_more_than_fifty_are_refused_as_a_whole(self, ben, cards):
        many = [Shown(number, 1, "sha256:x") for number in range(1, 52)]

        with pytest.raises(errors.TooManyAtOnce) as refused:
            decide_bulk(many, token="", verdict="approve", actor=ben)

        assert (refused.value.code, refused.value.status) == ("too_many", 422)

    @pytest.mark.parametrize(
        ("verdict", "reason", "code"),
        [("reject", "no", "bad_reason"), ("ask", "Which one?", "bad_verdict"), ("edit", "", "bad_verdict")],
    )
    def test_it_takes_two_verdicts_and_a_rejection_only_with_a_reason(self, as_ben, ben, cards, verdict, reason, code):
        open_cards(as_ben, [each.pk for each in cards])

        with pytest.raises(errors.BadVerdict) as refused:
            self.give(cards, ben, verdict, reason=reason)

        assert refused.value.code == code
        assert not Decision.objects.exists()

    def test_a_rejection_tells_every_agent_the_reason(self, as_ben, ben, cards):
        open_cards(as_ben, wanted(cards, ben))

        self.give(cards, ben, "reject", reason="All of them are for the night shift.")

        assert set(Decision.objects.values_list("verdict", "reason")) == {
            ("reject", "All of them are for the night shift.")
        }

    def test_one_card_named_twice_is_decided_once(self, as_ben, ben, cards):
        open_cards(as_ben, [cards[0].pk])

        outcomes = decide_bulk(as_shown([cards[0]] * 2), token=token_of(cards, ben), verdict="approve", actor=ben)

        assert [each.outcome for each in outcomes] == ["decided"]

    def test_an_outsider_learns_nothing(self, client, eve, cards):
        with pytest.raises(errors.OpenFirst):
            self.give(cards, eve)
        client.force_login(eve)
        assert client.get(f"/inbox/{cards[0].pk}/look/").status_code == 404


@pytest.mark.django_db
class TestGroupsPage:
    def test_a_group_is_one_kind_one_risk_and_one_policy_version(self, ben, team, ada, cards):
        make_proposal(team, ada, at=clock(), kind={"risk_class": "low", "key": "tickets.tag"})
        make_proposal(team, ada, at=clock(), kind={"risk_class": "high", "key": "tickets.close"})

        found = groups.groups(ben)

        assert [(each.key.risk, each.count) for each in found] == [("medium", 12), ("low", 1)]

    def test_the_page_lists_the_cards_and_marks_what_to_open_first(self, as_ben, ben, cards):
        page = as_ben.get("/inbox/groups/").content.decode()

        assert page.count('name="card"') == 12
        assert page.count("Open first</span>") == bulk.sample_size(12)

    def test_a_card_that_was_opened_is_marked(self, as_ben, ben, cards):
        answer = as_ben.get(f"/inbox/{cards[0].pk}/look/", headers=HTMX).content.decode()

        assert f'id="opened-{cards[0].pk}" hx-swap-oob="true"' in answer
        assert 'name="verdict"' not in answer

    def test_duplicates_are_marked(self, as_ben, team, ada, agent):
        for _ in range(2):
            make_proposal(team, ada, agent=agent, at=clock(), title="Route T-1")

        assert "the same as “Route T-1”" in as_ben.get("/inbox/groups/").content.decode()

    def test_selected_cards_are_approved_and_the_page_says_what_became_of_each(self, as_ben, ben, cards):
        page = as_ben.get("/inbox/groups/")
        open_cards(as_ben, wanted(cards, ben))

        answer = as_ben.post("/inbox/groups/decide/", self.filled(page, [each.pk for each in cards]), headers=HTMX)

        assert answer.status_code == 200
        assert "What became of these 12" in answer.content.decode()
        assert Decision.objects.filter(actor=ben, verdict="approve").count() == 12

    def test_without_opening_it_says_which_ones_and_keeps_the_selection(self, as_ben, ben, cards):
        page = as_ben.get("/inbox/groups/")
        chosen = [each.pk for each in cards[:5]]

        answer = as_ben.post("/inbox/groups/decide/", self.filled(page, chosen))

        text = answer.content.decode()
        assert answer.status_code == 422
        assert "Open 2 cards of these first. Nothing was decided." in text
        assert text.count("checked>") == 5
        assert not Decision.objects.exists()

    def test_what_was_typed_for_a_rejection_is_no_reason_to_approve(self, as_ben, ben, cards):
        page = as_ben.get("/inbox/groups/")
        open_cards(as_ben, [each.pk for each in cards])

        as_ben.post("/inbox/groups/decide/", self.filled(page, [cards[0].pk], reason="This is wrong."))

        assert Decision.objects.get().reason == ""

    def test_what_the_page_did_not_show_is_refused_in_words(self, as_ben, ben, team, ada, agent, cards):
        page = as_ben.get("/inbox/groups/")
        late = make_proposal(team, ada, agent=agent, at=clock(), title="Route T-99", target="desk:tickets/T-99")

        answer = as_ben.post("/inbox/groups/decide/", self.filled(page, [late.pk]))

        assert "The page did not show it like this" in answer.content.decode()
        assert not Decision.objects.exists()

    def test_a_card_leads_to_its_group_with_itself_selected(self, as_ben, cards):
        page = as_ben.get(f"/inbox/groups/?card={cards[3].pk}").content.decode()

        assert page.count("checked>") == 1
        assert as_ben.get(f"/inbox/groups/?card={cards[3].pk}&all").content.decode().count("checked>") == 12

    @pytest.mark.parametrize("query", ["group=x", "group=1.high.2", "card=x", "card=99999999999999999999", "card=-1"])
    def test_nonsense_in_the_address_opens_the_first_group(self, as_ben, cards, query):
        assert as_ben.get(f"/inbox/groups/?{query}").status_code == 200

    def test_an_outsider_sees_no_card_of_ours(self, client, eve, cards):
        client.force_login(eve)

        page = client.get(f"/inbox/groups/?card={cards[0].pk}").content.decode()

        assert "Route T-" not in page
        assert "Nothing waits that may be decided together" in page

    def test_whoever_only_reads_has_nothing_to_decide_together(self, client, olga, cards):
        client.force_login(olga)

        assert "Route T-" not in client.get("/inbox/groups/").content.decode()

    def test_what_one_owns_or_approved_already_is_not_offered(self, client, team, ada, ben, agent):
        Membership.objects.create(user=ada, team=team, role=Role.REVIEWER)
        card = make_proposal(team, ada, agent=agent, at=clock(), policy={"approvals_needed": 2})
        decide(card, ben, at=clock())

        assert (groups.groups(ada), groups.groups(ben)) == ([], [])

    def test_a_refused_self_approval_is_recorded(self, client, team, ada, agent, cards):
        Membership.objects.create(user=ada, team=team, role=Role.REVIEWER)
        client.force_login(ada)
        open_cards(client, [cards[0].pk])

        client.post("/inbox/groups/decide/", {"card": cards[0].pk, "shown": token_of(cards, ada), "verdict": "approve"})

        assert AuditEvent.objects.get(action="access.refused").object == f"proposal:{cards[0].pk}"

    def filled(self, page, chosen, verdict="approve", **fields):
        found = page.context["open"]
        return {"group": str(found.group.key), "shown": found.token, "card": chosen, "verdict": verdict, **fields}
