"""What channels are told, in which words, and how messages are signed: pure rules."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.approvals.domain import chat, notices, states, webhooks
from apps.approvals.domain.notices import Told
from apps.approvals.domain.webhooks import SigningSecret
from tests.factories.approvals import TEN

BERLIN, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
# The example of the specification, https://github.com/standard-webhooks/standard-webhooks.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def told(**fields):
    facts = {
        "event": "asked",
        "proposal_id": 17,
        "team_id": 3,
        "team": "Support",
        "agent": "Ticket desk",
        "action_type": "tickets.route",
        "title": "Route T-1001 to Access",
        "risk": "low",
        "digest": "sha256:" + "ab" * 32,
        "version": 1,
        "state": "pending",
        "deadline": TEN + timedelta(hours=2),
        "link": "https://pastpilot.example.com/inbox/17/",
    }
    return Told(**{**facts, **fields})


def decided(**fields):
    facts = {"event": "decided", "state": "queued", "by": "Kim", "verdict": "approve", "verdict_words": "Approved"}
    return told(**{**facts, "decided_at": TEN + timedelta(minutes=4), **fields})


def said(facts, *, zone=UTC_ZONE):
    return notices.message(facts, message_id="msg_1", at=TEN, now=TEN, zone=zone)


@pytest.mark.parametrize(
    ("action", "state", "event"),
    [
        ("proposal.pending", "pending", "asked"),
        ("proposal.undone", "pending", "asked"),
        ("proposal.escalated", "pending", "escalated"),
        ("proposal.decided", "queued", "decided"),
        ("proposal.decided", "rejected", "decided"),
        ("proposal.decided", "pending", None),
        ("proposal.expired", "expired", "expired"),
        ("proposal.stale", "stale", "stale"),
        ("proposal.withdrawn", "withdrawn", "withdrawn"),
        ("proposal.unknown", "unknown", "unknown"),
        ("proposal.claimed", "claimed", None),
        ("proposal.queued", "queued", None),
        ("answer.parked", "queued", None),
    ],
)
def test_what_the_log_tells_becomes_one_of_our_events_or_none(action, state, event):
    assert notices.event_of(action, state=state) == event


@pytest.mark.parametrize(
    ("risk", "heard"), [("low", ["low"]), ("medium", ["low", "medium"]), ("high", ["low", "medium", "high"])]
)
def test_a_card_is_heard_where_its_risk_is_at_least_the_lowest_chosen(risk, heard):
    assert notices.thresholds(risk) == heard


@given(st.sampled_from(sorted(notices.EVENTS)), st.integers(0, 30))
def test_a_stored_event_reads_as_what_was_spelt(event, tier):
    stored = notices.spelt(event, tier)

    assert notices.event_in(stored) == event
    assert len(stored) <= 12


def test_two_escalations_of_one_version_are_two_messages():
    assert notices.spelt("escalated", 1) != notices.spelt("escalated", 2)


@pytest.mark.parametrize(
    ("event", "state", "moot"),
    [
        ("asked", "pending", False),
        ("asked", "claimed", False),
        ("asked", "queued", True),
        ("escalated", "expired", True),
        ("decided", "queued", False),
        ("decided", "pending", True),
        ("expired", "expired", False),
        ("unknown", "unknown", False),
        ("unknown", "succeeded", True),
    ],
)
def test_a_message_that_is_not_true_any_more_is_moot(event, state, moot):
    assert notices.is_moot(event, state) is moot


@given(st.sampled_from(sorted(states.STATES)))
def test_nobody_is_asked_and_told_of_an_end_about_the_same_state(state):
    assert notices.is_moot("asked", state) != notices.is_moot("decided", state)


@given(st.integers(1, notices.MAX_ATTEMPTS - 1), st.floats(0, 0.999))
def test_a_pause_stays_near_its_place_in_the_list(attempts, chance):
    wait, base = notices.pause(attempts, chance=chance), notices.PAUSES[attempts - 1]

    assert base * 0.79 < wait < base * 1.21


def test_pauses_grow_and_end():
    waits = [notices.pause(attempts, chance=0.5) for attempts in range(1, notices.MAX_ATTEMPTS)]

    assert waits == sorted(waits)
    assert notices.pause(notices.MAX_ATTEMPTS, chance=0.5) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (7200, "2 h"),
        (7199.4, "2 h"),
        (13500, "3 h 45 min"),
        (300, "5 min"),
        (29, "under 1 min"),
        (-60, "under 1 min"),
        (183600, "2 d 3 h"),
    ],
)
def test_it_says_how_long_is_left(seconds, words):
    assert notices.left(TEN + timedelta(seconds=seconds), TEN) == words


def test_the_headline_says_what_and_how_long():
    assert said(told()).headline == "2 h left: Route T-1001 to Access, low risk"
    assert said(told(event="escalated")).headline == "Escalated, 2 h left: Route T-1001 to Access, low risk"


def test_a_decision_names_who_and_when_in_the_zone_of_the_house():
    message = said(decided(), zone=BERLIN)

    assert message.headline == "Decided: Route T-1001 to Access"
    assert message.lines[0] == "Decided by Kim at 11:04 CET: approved."
    assert message.short == "Decided by Kim at 11:04 CET: Route T-1001 to Access"


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ("expired", "Time ran out. Nothing was executed."),
        ("stale", "The target changed meanwhile. Nothing was executed."),
        ("withdrawn", "It was withdrawn. Nothing was executed."),
        ("unknown", "It may or may not have happened. An operator looks there and settles it."),
    ],
)
def test_every_other_end_says_what_is_safe(event, sentence):
    assert said(told(event=event)).lines[0] == sentence


def test_a_title_can_neither_begin_a_header_nor_hide_its_order():
    message = said(told(title="Route\r\nBcc: eve@example.com \u202e1001"))

    assert message.headline == "2 h left: Route Bcc: eve@example.com [U+202E]1001, low risk"


def test_the_payload_holds_ids_and_facts_and_no_arguments():
    body = json.loads(webhooks.body_of(said(decided())))

    assert body["type"] == "proposal.decided"
    assert body["timestamp"] == "2026-03-02T10:00:00.000000Z"
    assert set(body["data"]) == {
        *("proposal", "version", "state", "team", "agent", "action_type"),
        *("title", "risk", "digest", "deadline", "link", "decision"),
    }
    assert body["data"]["decision"] == {"verdict": "approve", "by": "Kim", "at": "2026-03-02T10:04:00.000000Z"}


def test_it_signs_as_the_specification_does():
    body = b'{"test": 2432232314}'
    moment = datetime.fromtimestamp(1614265330, UTC)

    headers = webhooks.signed_headers(
        body, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", secrets=[SigningSecret(SECRET)], now=moment
    )

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.binary(min_size=24, max_size=64), st.binary(max_size=200))
def test_any_secret_and_body_verify(raw, body):
    headers = webhooks.signed_headers(
        body, message_id="msg_1", secrets=[SigningSecret(webhooks.spell_secret(raw))], now=TEN
    )

    expected = hmac.new(raw, b"msg_1." + headers["webhook-timestamp"].encode() + b"." + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()


def test_a_rotated_secret_signs_beside_the_new_one_for_a_day():
    both = webhooks.rotated([SigningSecret("whsec_old=")], "whsec_new=", TEN)

    assert [each.text for each in webhooks.valid(both, TEN + timedelta(hours=23))] == ["whsec_new=", "whsec_old="]
    assert [each.text for each in webhooks.valid(both, TEN + timedelta(hours=24))] == ["whsec_new="]


def test_a_second_rotation_ends_the_oldest_secret_at_once():
    twice = webhooks.rotated(webhooks.rotated([SigningSecret("a")], "b", TEN), "c", TEN)

    assert [each.text for each in webhooks.valid(twice, TEN)] == ["c", "b"]


def test_a_secret_that_is_no_base64_signs_nothing():
    with pytest.raises(webhooks.BadSecret):
        webhooks.signed_headers(b"", message_id="m", secrets=[SigningSecret("whsec_!")], now=TEN)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("120", timedelta(minutes=2)),
        ("Mon, 02 Mar 2026 10:05:00 GMT", timedelta(minutes=5)),
        ("Mon, 02 Mar 2026 09:00:00 GMT", None),
        ("0", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("99999999999", timedelta(hours=6)),
    ],
)
def test_it_reads_how_long_a_receiver_asks_to_be_left_alone(header, wait):
    assert webhooks.retry_after(header, TEN) == wait


@given(st.text(max_size=40))
def test_no_retry_after_breaks_the_reader(header):
    found = webhooks.retry_after(header, TEN)

    assert found is None or timedelta(0) < found <= timedelta(hours=6)


def test_a_chat_message_escapes_what_slack_reads_as_markup():
    body = json.dumps(chat.asking(said(told(title="<!channel> Tom & <https://evil.example|Jerry>"))))

    assert "&lt;!channel&gt; Tom &amp; &lt;https://evil.example|Jerry&gt;" in body
    assert "<" not in body


def test_a_chat_message_has_a_fallback_and_one_button_that_opens_the_card():
    body = chat.asking(said(told()))

    assert body["text"] == "2 h left: Route T-1001 to Access, low risk"
    buttons = [each for block in body["blocks"] if block["type"] == "actions" for each in block["elements"]]
    assert [each["url"] for each in buttons] == ["https://pastpilot.example.com/inbox/17/"]
    assert "never decides" in json.dumps(body)


def test_a_decision_edits_the_message_that_a_chat_named_and_takes_its_button_away():
    body = chat.closing(said(decided()), reference="1712.000100")

    assert (body["ts"], body["replace_original"]) == ("1712.000100", True)
    assert body["text"] == "Decided by Kim at 10:04 UTC: Route T-1001 to Access"
    assert all(block["type"] == "section" for block in body["blocks"])


def test_a_plain_webhook_gets_one_line_about_the_decision():
    body = chat.closing(said(decided()))

    assert body["text"] == "Decided by Kim at 10:04 UTC: Route T-1001 to Access"
    assert "blocks" not in body


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ({"ok": True, "ts": "1712.000100"}, "1712.000100"),
        ({"message": {"ts": "1712.000100"}}, "1712.000100"),
        ("ok", ""),
        (None, ""),
        ({"ts": "https://evil.example/ x"}, ""),
        ({"ts": 17}, ""),
        ([1], ""),
    ],
)
def test_it_takes_a_reference_only_where_it_looks_like_one(answer, reference):
    assert chat.reference_in(answer) == reference
