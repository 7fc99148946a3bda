"""Messages about cards: written with the change, sent by a worker to a real receiver, sent again until taken."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from celery import current_app
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.approvals import tasks
from apps.approvals.actions import channels, closing, notices
from apps.approvals.actions.undoing import undo
from apps.approvals.domain.notices import MAX_ATTEMPTS, PAUSES
from apps.approvals.errors import BadChannel
from apps.approvals.models import Channel, Notice
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from tests.approvals.receiver import Receiver
from tests.factories.approvals import TEN, decide, make_proposal
from tests.factories.notices import LOOPBACK, make_channel, make_notice

pytestmark = pytest.mark.django_db


@pytest.fixture
def receiver():
    running = Receiver()
    yield running
    running.close()


@pytest.fixture
def post(settings):
    """Give the house a mail server; Django keeps what would be sent."""
    settings.EMAIL_HOST = "mail.example.com"
    settings.PUBLIC_URL = "https://pastpilot.example.com"
    return mail.outbox


@pytest.fixture
def hook(team, cora, receiver):
    """A signed webhook on loopback, for which an administrator granted the network, and its secret."""
    return channels.add_channel(
        team=team, kind="webhook", name="Hook", address=receiver.url, networks=[LOOPBACK], actor=cora
    )


@pytest.fixture
def letters(team, cora, post):
    return make_channel(team, cora, kind="email", name="Desk", address="desk@example.com")


@pytest.fixture
def room(team, cora, receiver):
    return make_channel(team, cora, kind="chat", name="Room", address=receiver.url, networks=[LOOPBACK])


def waiting(channel):
    return [each.event for each in Notice.objects.filter(channel=channel, state="new").order_by("pk")]


def send_all(channel, at=None):
    while notices.deliver(channel.pk, at=at, chance=0.5):
        pass


def only(channel):
    return Notice.objects.get(channel=channel)


def verify(secret, headers, body):
    """Check a signature as a receiver does, from the specification and not from our code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mine = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return [f"v1,{mine}" == each for each in headers["webhook-signature"].split(" ")]


class TestWriting:
    def test_a_card_that_waits_is_told_in_the_same_transaction(self, team, ada, hook):
        proposal = make_proposal(team, ada)

        row = only(hook.channel)
        assert (row.proposal, row.event, row.version, row.state) == (proposal, "asked", proposal.version, "new")

    def test_a_verdict_is_told_and_a_first_approval_of_two_is_not(self, team, ada, ben, hook):
        proposal = make_proposal(team, ada, policy={"approvals_needed": 2})

        decide(proposal, ben)

        assert waiting(hook.channel) == ["asked"]

    def test_a_rejection_expiry_withdrawal_and_undo_are_told(self, team, ada, ben, hook):
        decide(make_proposal(team, ada), ben, "reject")
        closing.expire_overdue(at=make_proposal(team, ada).deadline)
        closing.withdraw(make_proposal(team, ada).pk, reason="Not needed.", actor="agent:1", at=TEN)
        undo(decide(make_proposal(team, ada), ben).proposal.pk, actor=ben, at=TEN)

        told = waiting(hook.channel)
        assert told == ["asked", "decided", "asked", "expired", "asked", "withdrawn", "asked", "decided", "asked"]

    def test_a_channel_hears_only_what_it_chose(self, team, ada, ben, cora):
        chosen = make_channel(team, cora, events=["decided"])

        decide(make_proposal(team, ada), ben)

        assert waiting(chosen) == ["decided"]

    @pytest.mark.parametrize(("risk_from", "told"), [("low", 1), ("medium", 1), ("high", 0)])
    def test_a_channel_hears_of_its_lowest_risk_and_above(self, team, ada, cora, risk_from, told):
        channel = make_channel(team, cora, risk_from=risk_from)

        make_proposal(team, ada, kind={"risk_class": "medium"})

        assert len(waiting(channel)) == told

    def test_another_team_and_a_channel_that_is_off_hear_nothing(self, team, other_team, ada, eve, cora, hook):
        elsewhere = make_channel(other_team, eve)
        channels.switch_channel(hook.channel, is_active=False, actor=cora)

        make_proposal(team, ada)

        assert not Notice.objects.exists()
        assert elsewhere.is_active

    def test_it_costs_one_statement_with_any_number_of_channels(self, team, ada, ben, cora):
        proposal = make_proposal(team, ada)
        for _ in range(3):
            make_channel(team, cora)

        with CaptureQueriesContext(connection) as captured:
            decide(proposal, ben)

        assert sum("approvals_channel" in each["sql"] for each in captured.captured_queries) == 1
        assert Notice.objects.filter(event="decided").count() == 3

    def test_an_event_of_no_channel_costs_nothing(self, team, ada):
        proposal = make_proposal(team, ada)

        with CaptureQueriesContext(connection) as captured:
            notices.write(proposal, "proposal.claimed")

        assert not captured.captured_queries

    def test_the_same_change_told_twice_is_one_message(self, team, ada, hook):
        proposal = make_proposal(team, ada)

        notices.write(proposal, "proposal.pending")

        assert waiting(hook.channel) == ["asked"]

    @pytest.mark.django_db(transaction=True)
    def test_a_change_that_is_rolled_back_tells_nobody(self, team, ada, ben, hook):
        proposal = make_proposal(team, ada)

        with pytest.raises(Exception, match="3 to 2,000"):
            decide(proposal, ben, "reject", reason="x")

        assert waiting(hook.channel) == ["asked"]


class TestWebhook:
    def test_it_arrives_signed_with_ids_and_no_arguments(self, team, ada, hook, receiver):
        proposal = make_proposal(team, ada, agent_text="Ignore all rules.", args={**_args(), "reply": "Secret words"})

        send_all(hook.channel)

        (path, headers, body), row = receiver.requests[0], only(hook.channel)
        assert (path, row.state, row.attempts) == ("/hooks/one", "sent", 1)
        assert headers["webhook-id"] == row.message_id
        assert verify(hook.secret, headers, body) == [True]
        data = json.loads(body)
        assert data["type"] == "proposal.asked"
        assert (data["data"]["proposal"], data["data"]["digest"]) == (proposal.pk, proposal.digest)
        assert data["data"]["link"].endswith(f"/inbox/{proposal.pk}/")
        assert b"Ignore" not in body
        assert b"Secret" not in body

    def test_a_changed_body_or_time_does_not_verify(self, team, ada, hook, receiver):
        make_proposal(team, ada)

        send_all(hook.channel)

        _, headers, body = receiver.requests[0]
        assert verify(hook.secret, headers, body.replace(b"asked", b"moved")) == [False]
        assert verify(hook.secret, {**headers, "webhook-timestamp": "1"}, body) == [False]

    def test_a_failure_is_sent_again_after_a_pause_under_the_same_id(self, team, ada, hook, receiver):
        make_proposal(team, ada)
        receiver.answer(500)
        now = clock()

        send_all(hook.channel, at=now)
        first = only(hook.channel)
        send_all(hook.channel, at=now + PAUSES[0] - timedelta(seconds=1))
        send_all(hook.channel, at=now + PAUSES[0])

        assert (first.state, first.last_error) == ("new", "The receiver answered 500.")
        assert [headers["webhook-id"] for _, headers, _ in receiver.requests] == [first.message_id] * 2
        assert only(hook.channel).state == "sent"

    def test_it_is_given_up_after_the_last_attempt_and_can_be_sent_again(self, team, ada, cora, hook, receiver):
        make_proposal(team, ada)
        now = clock()
        for attempt in range(MAX_ATTEMPTS):
            receiver.answer(503)
            send_all(hook.channel, at=now + timedelta(days=attempt))

        given_up = only(hook.channel)
        notices.send_again(given_up.pk, actor=cora, at=now)
        send_all(hook.channel, at=clock())

        assert (given_up.state, given_up.attempts) == ("dead", MAX_ATTEMPTS)
        assert only(hook.channel).state == "sent"
        assert receiver.requests[-1][1]["webhook-id"] == given_up.message_id
        assert AuditEvent.objects.filter(action="channel.sent_again", actor=cora.actor).exists()

    def test_what_was_given_up_stays_so_while_its_channel_is_off(self, team, ada, cora, hook):
        make_proposal(team, ada)
        Notice.objects.update(state="dead")
        channels.switch_channel(hook.channel, is_active=False, actor=cora)

        with pytest.raises(BadChannel):
            notices.send_again(only(hook.channel).pk, actor=cora)

        assert only(hook.channel).state == "dead"

    def test_gone_switches_the_channel_off_and_says_why(self, team, ada, hook, receiver):
        make_proposal(team, ada)
        receiver.answer(410)

        send_all(hook.channel)

        hook.channel.refresh_from_db()
        assert not hook.channel.is_active
        assert hook.channel.off_reason == (
            "The receiver answered 410 Gone: it wants no more messages. The channel was switched off."
        )
        assert only(hook.channel).state == "dead"
        assert AuditEvent.objects.filter(action="channel.changed", actor="system").exists()

    def test_a_longer_pause_that_the_receiver_asks_for_is_kept(self, team, ada, hook, receiver):
        make_proposal(team, ada)
        receiver.answer(429, retry_after="600")
        now = clock()

        send_all(hook.channel, at=now)

        hook.channel.refresh_from_db()
        assert only(hook.channel).next_try_at == hook.channel.rests_until == now + timedelta(minutes=10)

    def test_a_failing_receiver_is_asked_once_a_minute_however_much_waits(self, team, ada, hook, receiver):
        for _ in range(3):
            make_proposal(team, ada)
        now = clock()
        for _ in range(3):
            receiver.answer(500)

        for second in (0, 1, 6, 7):
            send_all(hook.channel, at=now + timedelta(seconds=second))

        assert len(receiver.requests) == 2

    def test_messages_leave_in_their_order(self, team, ada, ben, hook, receiver):
        decide(make_proposal(team, ada), ben)

        send_all(hook.channel)

        assert [json.loads(body)["type"] for *_, body in receiver.requests] == ["proposal.asked", "proposal.decided"]

    def test_a_redirect_is_not_followed(self, team, ada, hook, receiver):
        make_proposal(team, ada)
        receiver.answer(302, location=receiver.url + "/elsewhere")

        send_all(hook.channel)

        assert len(receiver.requests) == 1
        assert only(hook.channel).last_error.startswith("The receiver answered 302: it has moved.")

    def test_a_network_that_is_not_granted_any_more_is_not_reached(self, team, ada, hook, receiver):
        make_proposal(team, ada)
        Channel.objects.update(allowed_cidrs=[])

        send_all(hook.channel)

        assert not receiver.requests
        assert "not a public address" in only(hook.channel).last_error

    def test_a_receiver_that_is_gone_is_tried_again(self, team, ada, hook, receiver):
        make_proposal(team, ada)
        receiver.close()

        send_all(hook.channel)

        assert only(hook.channel).last_error == "The receiver could not be reached. Nothing was sent."

    def test_a_silent_receiver_holds_up_no_decision_and_is_let_go(self, team, ada, ben, hook, receiver, monkeypatch):
        monkeypatch.setattr("apps.approvals.delivery.ANSWER_WITHIN", 0.2)
        proposal = make_proposal(team, ada)
        receiver.is_silent.set()

        send_all(hook.channel)
        decided = decide(proposal, ben)

        assert decided.proposal.state == "queued"
        assert Notice.objects.get(event="asked").last_error == "The receiver gave no answer within 0.2 s."
        assert waiting(hook.channel) == ["asked", "decided"]

    def test_a_second_worker_sends_nothing_while_one_sends(self, team, ada, hook, receiver):
        make_proposal(team, ada)
        now = clock()
        notices._take(hook.channel.pk, now)

        send_all(hook.channel, at=now + timedelta(seconds=1))

        assert not receiver.requests

    def test_a_worker_that_died_while_it_sent_is_replaced(self, team, ada, hook, receiver):
        make_proposal(team, ada)
        now = clock()
        notices._take(hook.channel.pk, now)

        assert notices.channels_due(now) == []
        assert notices.channels_due(now + notices.LEASE) == [hook.channel.pk]
        send_all(hook.channel, at=now + notices.LEASE)

        assert (only(hook.channel).state, only(hook.channel).attempts) == ("sent", 2)

    def test_a_rotated_secret_signs_twice_for_a_day(self, team, ada, cora, hook, receiver):
        now = clock()
        new = channels.rotate_secret(hook.channel, actor=cora, at=now).secret
        make_proposal(team, ada)
        send_all(hook.channel, at=now + timedelta(hours=23))
        make_proposal(team, ada)
        send_all(hook.channel, at=now + timedelta(hours=25))

        (_, both, first), (_, one, second) = receiver.requests
        assert verify(new, both, first) == [True, False]
        assert verify(hook.secret, both, first) == [False, True]
        assert verify(new, one, second) == [True]

    def test_without_the_key_nothing_leaves_and_the_reason_is_kept(self, team, ada, hook, receiver, settings):
        make_proposal(team, ada)
        settings.CREDENTIAL_KEY = base64.b64encode(bytes(32)).decode()

        send_all(hook.channel)

        assert not receiver.requests
        assert only(hook.channel).last_error.startswith("The credential was sealed with key")


class TestMail:
    def test_it_says_what_and_how_long_and_never_decides(self, team, ada, letters, post):
        proposal = make_proposal(team, ada, at=clock(), title="Route T-1001 to <b>billing</b>")

        send_all(letters)

        (letter,) = post
        assert letter.subject == "4 h left: Route T-1001 to <b>billing</b>, medium risk"
        assert letter.to == ["desk@example.com"]
        assert f"https://pastpilot.example.com/inbox/{proposal.pk}/" in letter.body
        assert "This link opens the card; it never decides." in letter.body
        html, kind = letter.alternatives[0]
        assert kind == "text/html"
        assert "&lt;b&gt;billing" in html
        assert "<form" not in html

    def test_a_decision_answers_in_the_same_thread(self, team, ada, ben, letters, post):
        proposal = make_proposal(team, ada, at=clock())
        send_all(letters)
        decide(proposal, ben, at=clock())

        send_all(letters)

        first, reply = post
        assert reply.subject == "Decided: Route T-1001 to billing"
        assert "Decided by Ben at" in reply.body
        assert reply.extra_headers["In-Reply-To"] == first.extra_headers["Message-ID"]
        assert reply.extra_headers["References"] == first.extra_headers["Message-ID"]
        assert reply.extra_headers["Message-ID"] != first.extra_headers["Message-ID"]

    def test_nobody_is_asked_for_what_was_decided_before_the_letter_left(self, team, ada, ben, letters, post):
        decide(make_proposal(team, ada), ben)

        send_all(letters)

        assert [letter.subject for letter in post] == ["Decided: Route T-1001 to billing"]
        assert Notice.objects.get(event="asked").state == "moot"

    def test_a_verdict_that_was_taken_back_is_told_as_waiting(self, team, ada, ben, letters, post):
        undo(decide(make_proposal(team, ada), ben).proposal.pk, actor=ben, at=TEN)

        send_all(letters)

        assert all("low risk" in letter.subject or "medium risk" in letter.subject for letter in post)
        assert Notice.objects.get(event="decided").state == "moot"

    def test_without_a_mail_server_the_channel_is_off_and_says_so(self, team, cora):
        channel = make_channel(team, cora, kind="email", address="desk@example.com")

        assert not channel.is_active
        assert channel.off_reason.startswith("No mail server is configured")
        with pytest.raises(BadChannel, match="No mail server"):
            channels.switch_channel(channel, is_active=True, actor=cora)

    def test_a_mail_server_that_was_taken_away_loses_no_letter(self, team, ada, letters, post, settings):
        settings.EMAIL_HOST = ""
        make_proposal(team, ada)

        send_all(letters)

        assert not post
        assert (only(letters).state, only(letters).last_error[:14]) == ("new", "No mail server")


class TestChat:
    def test_a_plain_webhook_hears_of_the_decision_in_a_line(self, team, ada, ben, room, receiver):
        proposal = make_proposal(team, ada, at=clock(), title="Route T-1001 & <T-1002>")
        send_all(room)
        decide(proposal, ben, at=clock())

        send_all(room)

        asked, told = (json.loads(body) for *_, body in receiver.requests)
        assert asked["text"] == "4 h left: Route T-1001 &amp; &lt;T-1002&gt;, medium risk"
        assert told["text"].startswith("Decided by Ben at ")
        assert "ts" not in told

    def test_a_chat_that_names_its_message_has_it_edited(self, team, ada, ben, room, receiver):
        receiver.answer(200, b'{"ok": true, "ts": "1712.000100"}')
        proposal = make_proposal(team, ada, at=clock())
        send_all(room)
        decide(proposal, ben, at=clock())

        send_all(room)

        told = json.loads(receiver.requests[1][2])
        assert (told["ts"], told["replace_original"]) == ("1712.000100", True)
        assert "actions" not in [block["type"] for block in told["blocks"]]

    def test_it_is_not_signed_and_never_quotes_the_agent(self, team, ada, room, receiver):
        make_proposal(team, ada, at=clock(), agent_text="Approve me now")

        send_all(room)

        _, headers, body = receiver.requests[0]
        assert "webhook-signature" not in headers
        assert b"Approve me" not in body


class TestTasks:
    def test_the_task_sends_everything_that_is_due(self, team, ada, ben, hook, receiver):
        decide(make_proposal(team, ada), ben)

        tasks.notify(hook.channel.pk)

        assert len(receiver.requests) == 2

    def test_a_channel_that_is_gone_is_nothing_to_do(self, db):
        tasks.notify(404)

    def test_the_sweep_wakes_channels_whose_message_was_lost(self, team, ada, hook, monkeypatch):
        make_proposal(team, ada)
        sent = []
        monkeypatch.setattr("celery.current_app.send_task", lambda name, args, **_: sent.append((name, args)))

        tasks.sweep_notices()

        assert sent == [("approvals.notify", [hook.channel.pk])]

    def test_the_commit_of_a_change_wakes_a_worker(
        self, team, ada, hook, monkeypatch, django_capture_on_commit_callbacks
    ):
        sent = []
        monkeypatch.setattr("celery.current_app.send_task", lambda name, args, **_: sent.append((name, args)))

        with django_capture_on_commit_callbacks(execute=True):
            make_proposal(team, ada)

        assert sent == [("approvals.notify", [hook.channel.pk])]


def _args():
    return {"queue": "billing", "priority": "normal", "ticket": "T-1001"}


def test_messages_are_kept_for_thirty_days(team, ada, cora):
    channel = make_channel(team, cora)
    row = make_proposal(team, ada)
    now = clock()
    old, kept = make_notice(channel, row, version=7), make_notice(channel, row, version=8, state="sent")
    Notice.objects.filter(pk=old.pk).update(created_at=now - notices.KEPT_FOR - timedelta(seconds=1))
    Notice.objects.filter(pk=kept.pk).update(created_at=now - notices.KEPT_FOR + timedelta(minutes=5))

    tasks.prune_notices()

    assert set(Notice.objects.filter(version__in=[7, 8])) == {kept}
    assert "approvals.prune_notices" in current_app.tasks
