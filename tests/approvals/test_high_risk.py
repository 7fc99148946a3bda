"""R3: what is dear is decided by somebody who typed what it is about, and who showed lately who they are."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Role
from apps.approvals import errors
from apps.approvals.actions.verdicts import decide_proposal
from apps.approvals.domain import confirmation
from apps.approvals.models import Decision, Proposal
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from tests.factories.accounts import PASSWORD, make_member
from tests.factories.approvals import ROUTE_ARGS, TEN, decide, make_proposal

HTMX = {"HX-Request": "true"}
REFUND_SCHEMA = {
    "type": "object",
    "required": ["order_id", "amount"],
    "properties": {"order_id": {"type": "string"}, "amount": {"type": "number"}, "note": {"type": "string"}},
}
REFUND = {
    "key": "payments.refund",
    "name": "Refund",
    "args_schema": REFUND_SCHEMA,
    "editable_fields": ["amount", "note"],
    "materiality": {},
    "watch_fields": ["status"],
    "consequence": "Approving sends {amount} EUR for {order_id}.",
    "risk_class": "high",
}
ARGS = {"order_id": "A1", "amount": 40.0}


@pytest.fixture
def ann(team):
    return make_member(team, Role.REVIEWER, name="Ann", password=PASSWORD)


@pytest.fixture
def refund(team, ada):
    return make_proposal(
        team, ada, kind=REFUND, args=ARGS, target="desk:orders/A1", title="Refund A1", policy={"undo_s": 0}
    )


@pytest.fixture
def open_refund(team, ada):
    return make_proposal(
        team, ada, kind=REFUND, args=ARGS, target="desk:orders/A1", title="Refund A1", at=clock(), policy={"undo_s": 0}
    )


def fresh(row):
    return Proposal.objects.select_related("action_type", "agent_version", "policy").get(pk=row.pk)


def consent(row, person, verdict="approve", **given):
    facts = {"version": row.version, "digest": row.digest, "at": TEN, "signed_in_at": TEN, **given}
    return decide_proposal(row.pk, verdict=verdict, actor=person, **facts)


@pytest.mark.parametrize("typed", ["40.00", "40", "4e1", "A1", "desk:orders/A1", " A1 "])
def test_the_amount_or_the_target_is_typed(refund, ann, typed):
    assert consent(refund, ann, confirm=typed).proposal.approvals_given == 1


@pytest.mark.parametrize("typed", [None, "", "4", "40.01", "yes", "A2", "NaN", "sNaN", "Infinity", "orders"])
def test_nothing_else_will_do(refund, ann, typed):
    with pytest.raises(errors.BadVerdict) as refused:
        consent(refund, ann, confirm=typed)

    assert (refused.value.status, refused.value.code, refused.value.pointer) == (422, "bad_confirm", "/confirm")
    assert fresh(refund).approvals_given == 0


@pytest.mark.parametrize(("typed", "counts"), [("25", True), ("40", False), ("A1", True)])
def test_of_an_edit_the_edited_amount_is_typed(refund, ann, typed, counts):
    edited = {**ARGS, "amount": 25.0}
    if counts:
        assert consent(refund, ann, "edit", args=edited, confirm=typed).proposal.args == edited
    else:
        with pytest.raises(errors.BadVerdict) as refused:
            consent(refund, ann, "edit", args=edited, confirm=typed)
        assert refused.value.code == "bad_confirm"
        assert fresh(refund).args == ARGS


@pytest.mark.parametrize(
    ("ago", "counts"),
    [
        (timedelta(minutes=15), True),
        (timedelta(minutes=15, milliseconds=1), False),
        (timedelta(hours=3), False),
        (None, False),
    ],
)
def test_a_sign_in_counts_for_fifteen_minutes(refund, ann, ago, counts):
    moment = None if ago is None else TEN - ago
    if counts:
        assert consent(refund, ann, confirm="A1", signed_in_at=moment).proposal.approvals_given == 1
    else:
        with pytest.raises(errors.SignInAgain) as refused:
            consent(refund, ann, confirm="A1", signed_in_at=moment)
        told = "Sign in again to decide a high-risk action. Nothing was decided."
        assert (refused.value.status, refused.value.code, refused.value.message) == (403, "sign_in_again", told)
        assert not Decision.objects.exists()


@pytest.mark.parametrize("verdict", ["reject", "ask"])
def test_a_no_and_a_question_need_neither(refund, ann, verdict):
    assert consent(refund, ann, verdict, reason="Too much.", signed_in_at=None).decision.verdict == verdict


@pytest.mark.parametrize("risk", ["low", "medium"])
def test_what_is_not_dear_needs_neither(team, ada, ann, risk):
    card = make_proposal(team, ada, kind={"risk_class": risk})

    assert consent(card, ann, signed_in_at=None).proposal.state == "queued"


class TestFourEyes:
    """The rows of the specification's table of test vectors for two approvals."""

    def test_ann_approves_and_again_and_bo_approves(self, refund, ann, ben):
        assert (decide(refund, ann).proposal.state, fresh(refund).approvals_given) == ("pending", 1)
        assert decide(fresh(refund), ann).replayed
        assert fresh(refund).approvals_given == 1
        assert decide(fresh(refund), ben).proposal.state == "queued"

    def test_ann_approves_and_bo_rejects(self, refund, ann, ben):
        decide(refund, ann)

        assert decide(fresh(refund), ben, "reject").proposal.state == "rejected"

    def test_ann_approves_40_bo_edits_to_25_ann_approves_that(self, refund, ann, ben):
        decide(refund, ann)
        edited = decide(fresh(refund), ben, "edit", args={**ARGS, "amount": 25.0})

        assert (edited.proposal.state, edited.proposal.approvals_given) == ("pending", 1)
        assert Decision.objects.get(actor=ann).voided_at == TEN
        assert decide(fresh(refund), ann).proposal.state == "queued"
        assert (fresh(refund).args["amount"], Decision.objects.filter(voided_at=None).count()) == (25.0, 2)


class TestHint:
    @pytest.mark.parametrize(
        ("target", "args", "hint"),
        [
            ("desk:orders/A1", {"amount": 40.0, "order": "A1"}, "40.00"),
            ("desk:orders/A1", {"amount": 40}, "40"),
            ("desk:orders/A1", {"amount": 0.125}, "0.125"),
            ("desk:tickets/T-1001", {"queue": "billing"}, "T-1001"),
            ("desk:tickets/T-1001", {"amount": 1, "tip": 2}, "T-1001"),
            ("desk:tickets/T-1001", {"is_urgent": True}, "T-1001"),
            ("elsewhere", {}, "elsewhere"),
        ],
    )
    def test_it_is_the_one_amount_or_else_the_targets_last_part(self, target, args, hint):
        assert confirmation.hint(target=target, args=args) == hint

    @given(
        st.dictionaries(
            st.text(max_size=5),
            st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=5),
            max_size=4,
        )
    )
    def test_what_it_says_is_always_accepted(self, args):
        hint = confirmation.hint(target="desk:tickets/T-1", args=args)

        assert confirmation.names_it(hint, target="desk:tickets/T-1", args=args)

    @given(st.text(max_size=30))
    def test_no_text_breaks_it(self, typed):
        accepted = confirmation.names_it(typed, target="desk:tickets/T-1", args={"amount": 40.0})

        assert not accepted or typed.strip() in {"T-1", "desk:tickets/T-1"} or Decimal(typed.strip()) == 40

    def test_the_card_asks_for_it_and_fills_nothing_in(self, client, ann, open_refund):
        client.force_login(ann)

        page = client.get(f"/inbox/{open_refund.pk}/").content.decode()

        assert "Type 40.00" in page
        assert 'name="confirm" maxlength="200" required' in page
        assert 'name="confirm" value' not in page


class TestThePage:
    def post(self, client, row, **fields):
        row.refresh_from_db()
        given = {"verdict": "approve", "version": row.version, "digest": row.digest, **fields}
        headers = given.pop("headers", None)
        return client.post(f"/inbox/{row.pk}/decide/", given, headers=headers)

    def grow_old(self, client, *, minutes=16):
        session = client.session
        records = session["account_authentication_methods"]
        session["account_authentication_methods"] = [{**each, "at": each["at"] - minutes * 60} for each in records]
        session.save()

    def test_a_typed_amount_and_a_fresh_session_count(self, client, ann, open_refund):
        client.force_login(ann)

        self.post(client, open_refund, confirm="40.00")

        assert fresh(open_refund).approvals_given == 1

    def test_without_it_the_card_stays_with_its_dialog_open(self, client, ann, open_refund):
        client.force_login(ann)

        response = self.post(client, open_refund, confirm="41", headers=HTMX)

        assert response.status_code == 422
        assert b"neither the target nor an amount" in response.content
        assert b'<dialog id="approve" aria-labelledby="approve-title" data-open>' in response.content

    def test_an_old_sign_in_leads_to_a_new_one_and_back_to_the_card(self, client, ann, open_refund):
        client.force_login(ann)
        self.grow_old(client)
        to = f"/accounts/reauthenticate/?next=%2Finbox%2F{open_refund.pk}%2F"

        plain = self.post(client, open_refund, confirm="A1")
        smooth = self.post(client, open_refund, confirm="A1", headers=HTMX)

        assert (plain.status_code, smooth.status_code, smooth["HX-Redirect"]) == (403, 403, to)
        assert f'<a href="{to}">'.encode() in plain.content
        assert b"Sign in again to decide a high-risk action. Nothing was decided." in plain.content
        refused = AuditEvent.objects.filter(action="access.refused", object=f"proposal:{open_refund.pk}")
        assert refused.count() == 2

    def test_what_was_typed_is_still_there_afterwards(self, client, ann, open_refund):
        client.force_login(ann)
        self.grow_old(client)
        edited = {"verdict": "edit", "arg-amount": "25.5", "arg-note": "Half of it", "reason": "Agreed by phone"}
        self.post(client, open_refund, confirm="A1", **edited)

        response = client.post(
            "/accounts/reauthenticate/", {"password": PASSWORD, "next": f"/inbox/{open_refund.pk}/"}, follow=True
        )

        assert response.redirect_chain[-1][0] == f"/inbox/{open_refund.pk}/"
        page = response.content.decode()
        assert '<dialog id="edit" aria-labelledby="edit-title" data-open>' in page
        for kept in ('value="25.5"', 'value="Half of it"', 'value="Agreed by phone"'):
            assert kept in page
        self.post(client, open_refund, confirm="25.5", **edited)
        assert fresh(open_refund).args == {"order_id": "A1", "amount": 25.5, "note": "Half of it"}
        assert b"Half of it" not in client.get("/inbox/999/").content
        assert AuditEvent.objects.filter(action="session.confirmed", actor=ann.actor).count() == 1

    def test_a_wrong_password_opens_nothing(self, client, ann, open_refund):
        client.force_login(ann)
        self.grow_old(client)

        response = client.post("/accounts/reauthenticate/", {"password": "wrong"})

        assert response.status_code == 200
        assert self.post(client, open_refund, confirm="A1").status_code == 403

    def test_whoever_has_no_password_reads_what_to_do(self, client, team):
        client.force_login(make_member(team, Role.REVIEWER, name="Kim"))

        assert b"Sign out, and in again the way you came in." in client.get("/accounts/reauthenticate/").content

    def test_a_real_sign_in_counts_from_its_moment(self, client, ann, open_refund):
        client.post("/accounts/login/", {"login": ann.email, "password": PASSWORD})

        self.post(client, open_refund, confirm="A1")

        assert fresh(open_refund).approvals_given == 1


class TestTheApi:
    def post(self, client, row, **fields):
        body = {"verdict": "approve", "version": row.version, "digest": row.digest, **fields}
        return client.post(f"/api/v1/proposals/{row.pk}/decide", json.dumps(body), content_type="application/json")

    def test_it_asks_for_the_same(self, client, ann, open_refund):
        client.force_login(ann)

        unnamed = self.post(client, open_refund)
        named = self.post(client, open_refund, confirm="40.00")

        assert (unnamed.status_code, unnamed.json()["code"], unnamed.json()["pointer"]) == (
            422,
            "bad_confirm",
            "/confirm",
        )
        assert (named.status_code, named.json()["state"]) == (200, "pending")

    def test_an_old_session_is_told_to_sign_in_again(self, client, ann, open_refund):
        client.force_login(ann)
        TestThePage().grow_old(client)

        refused = self.post(client, open_refund, confirm="40.00")

        assert (refused.status_code, refused.json()["code"]) == (403, "sign_in_again")


def test_a_field_that_nobody_declared_is_no_one_click(team, ada, ann):
    card = make_proposal(team, ada)
    Proposal.objects.filter(pk=card.pk).update(args={**ROUTE_ARGS, "cc": "x"})
    row = fresh(card)
    Proposal.objects.filter(pk=card.pk).update(digest=row.action.digest)
    row = fresh(card)

    with pytest.raises(errors.BadVerdict) as refused:
        consent(row, ann, signed_in_at=None)

    assert refused.value.code == "bad_confirm"
    assert consent(row, ann, confirm="T-1001", signed_in_at=None).proposal.state == "queued"
