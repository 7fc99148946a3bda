"""S8 and R20: secrets leave marks, look-alike letters are called by name, and what people write survives."""

import string

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from apps.approvals.domain import lookalike, redaction
from apps.approvals.models import Proposal
from apps.approvals.queries import cards
from apps.approvals.redacting import redacted
from tests.factories.approvals import ROUTE_ARGS, TEN, decide, make_proposal

KEY = b"key of the tests"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
RANDOM = "wX9kQ2vLm8Zp4RtY7uBn3Ds6"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"
WORDS = st.text(alphabet=string.ascii_letters + "äöüßéèàç", min_size=1, max_size=30)


def redact(text):
    return redaction.redacted(text, key=KEY)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abc-123", "abc-123"),
        ('{"authorization": "Basic dXNlcjpwYXNz"}', "dXNlcjpwYXNz"),
        ("Proxy-Authorization: 0123456789abcdef", "0123456789abcdef"),
        ("sent with bearer 0123456789abcdefXYZ", "0123456789abcdefXYZ"),
        ("Cookie: sid=42; theme=dark", "sid=42; theme=dark"),
        ("Set-Cookie: session=s3cr3t; Path=/", "s3cr3t"),
        (f"key:\n{PEM}\nthat was it", "MIIEowIBAAKCAQEA"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI cut off", "MHcCAQEEI"),
        (f"token {JWT}", JWT),
        ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqLyjWDarjtT1zdp7dc"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("xoxb-123456789012-abcdefGHIJ", "xoxb-123456789012-abcdefGHIJ"),
        ("pp_ab12cd34_" + "A" * 43, "A" * 43),
        ("postgresql://bob:hunter2@db.example/orders", "hunter2"),
        ("redis://:hunter2@cache:6379/0", "hunter2"),
        ("Server=db;Password=hunter22;Database=x", "hunter22"),
        ("https://example.com/?api_key=abcdef123", "abcdef123"),
        (f"it says {RANDOM} on the note", RANDOM),
    ],
)
def test_a_secret_leaves_a_mark(text, secret):
    shown = redact(text)

    assert secret not in shown
    assert "[redacted:" in shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "d3b07384-d113-4ec6-a9b1-4f5c1b2a3d4e",
        "sha256:6f60273d47eae6f9269db22c18fa60b9e860dcb87199be8b1d4a34edd7e157d4",
        "6f60273d47eae6f9269db22c18fa60b9e860dcb87199be8b1d4a34edd7e157d4",
        "T-1001",
        "INC-2026-0001234567890",
        "desk:tickets/T-1001",
        "customer/C-77",
        "DE89370400440532013000",
        "+49 170 1234567",
        "2026-03-02T10:00:00.000000+00:00",
        "https://help.example.com/en/articles/1234567-how-to-reset-Your-Password-in-2026",
        "anna.schmidt-muellermann@example-company.example",
        "how-to-reset-your-password-2026-11",
        "tickets.route_and_answer.v2.final",
        "The password: reset it first. Authorization: required by finance. Cookie: yes, please bring one.",
        "Donaudampfschifffahrtsgesellschaftskapitänsmütze und Rechtsschutzversicherungsgesellschaften",
        "Straßenverkehrszulassungsordnung2026 gilt ab 01.01.2026",
        "anticonstitutionnellement, l'électroencéphalographie d'aujourd'hui",
        "Invoice 4711 was paid twice, 40.00 EUR each; order A-10293 is the wrong one.",
        "[redacted:0a1b2c3d]",
    ],
)
def test_what_people_and_systems_write_survives(text):
    assert redact(text) == text
    assert not redaction.has_secret(text)


def test_equal_secrets_leave_equal_marks_and_another_key_another_one():
    first, second = redact(f"a {RANDOM}"), redact(f"b {RANDOM}")

    assert first.removeprefix("a ") == second.removeprefix("b ")
    assert redaction.redacted(f"a {RANDOM}", key=b"another") != first


def test_a_json_value_is_walked_and_its_places_are_named():
    value = {"a/b": [1, {"note": RANDOM}], "plain": "yes", "n": 4.0}

    assert redact(value) == {"a/b": [1, {"note": redact(RANDOM)}], "plain": "yes", "n": 4.0}
    assert redaction.places(value, under="/args") == ["/args/a~1b/1/note"]


@given(st.text())
def test_twice_is_the_same_as_once(text):
    assert redact(redact(text)) == redact(text)


@given(st.lists(WORDS, max_size=12).map(" ".join))
def test_words_without_digits_survive(text):
    assert redact(text) == text


@given(WORDS, WORDS)
def test_what_stands_around_a_secret_stays(before, after):
    shown = redact(f"{before} {RANDOM} {after}")

    assert (shown.startswith(f"{before} "), shown.endswith(f" {after}"), RANDOM in shown) == (True, True, False)


@pytest.mark.parametrize(("text", "bits"), [("", 0), ("aaaa", 0), ("abab", 1), ("abcdefghijklmnop", 4)])
def test_entropy_is_in_bits_each(text, bits):
    assert redaction.bits_each(text) == pytest.approx(bits)


class TestLookalikes:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("pаypal", "The letter 'а' in 'pаypal' is Cyrillic."),
            ("desk:tickets/Т-1001 tТ", "The letter 'Т' in 'tТ' is Cyrillic."),
            ("Αnna", "The letter 'Α' in 'Αnna' is Greek."),
            ("ＡBC", "The letter 'Ａ' in 'ＡBC' is full-width."),
            ("𝐛ank", "The letter '𝐛' in '𝐛ank' is a mathematical sign."),
            ("send to раура now", "The letter 'р' in 'раура' is Cyrillic."),
        ],
    )
    def test_a_letter_that_is_not_what_it_looks_like_is_named(self, text, told):
        assert lookalike.warnings([text]) == [told]

    @pytest.mark.parametrize(
        "text",
        [
            "billing",
            "Straße für große Übung",
            "Привет, мир",
            "Москва и Sofia",
            "kΩ 5 μm β-Blocker Δt",
            "αβγ and more",
            "東京 Tokyo",
            "café",
            "",
        ],
    )
    def test_honest_text_is_left_alone(self, text):
        assert lookalike.warnings([text]) == []

    def test_the_same_is_told_once_and_not_without_end(self):
        assert len(lookalike.warnings(["pаypal", "pаypal"])) == 1
        assert len(lookalike.warnings(["aбвгджзийклмн"])) == lookalike.MOST

    @given(st.text(alphabet=st.characters(max_codepoint=0x24F)))
    def test_latin_is_never_warned_of(self, text):
        assert lookalike.warnings([text]) == []


class TestIntake:
    @pytest.fixture
    def row(self, team, ada):
        return make_proposal(
            team,
            ada,
            args={**ROUTE_ARGS, "reply": f"Your key is {RANDOM}"},
            title=f"Route {RANDOM}",
            evidence=[{"label": "Log", "text": "Authorization: Bearer abc-123", "source": "T-17"}],
            agent_text=f"I used {JWT}",
            trace_ref="https://bob:hunter2@traces.example/1",
            consequence=f"Approving sends {RANDOM}.",
            state_proposed={"status": "open", "text": f"my password is {RANDOM}"},
        )

    def test_everything_that_is_shown_is_redacted_and_what_is_sent_is_exact(self, row):
        body = Proposal.objects.get(pk=row.pk).body
        stored = (
            f"{row.title} {body.evidence} {body.agent_text} {body.trace_ref} {body.consequence} {body.state_proposed}"
        )

        for secret in (RANDOM, "abc-123", JWT, "hunter2"):
            assert secret not in stored
        assert row.args["reply"] == f"Your key is {RANDOM}"
        assert row.digest == row.action.digest
        assert body.redacted == [
            "/args/reply",
            "/title",
            "/consequence",
            "/evidence/0/text",
            "/state_proposed/text",
            "/agent_text",
            "/trace_ref",
        ]

    def test_the_card_hides_it_with_a_warning_and_lets_nobody_change_it(self, row, ben):
        card = cards.card(ben, row.pk, at=TEN)
        reply = next(each for each in card.args if each.name == "reply")

        assert reply.shown == f"Your key is {redacted(RANDOM)}"
        assert (reply.is_editable, reply.exact) == (False, "")
        assert any("looks like a secret" in each for each in card.warnings)

    def test_no_page_shows_it(self, client, row, ben):
        client.force_login(ben)

        assert RANDOM.encode() not in client.get(f"/inbox/{row.pk}/").content

    def test_it_is_executed_as_it_was_proposed(self, row, ben):
        decide(row, ben)

        assert Proposal.objects.get(pk=row.pk).args["reply"] == f"Your key is {RANDOM}"

    def test_a_watched_secret_that_did_not_change_has_not_moved(self, team, ada, ben, board):
        kind = {"watch_fields": ["status", "text"]}
        state = {"status": "open", "text": f"my key is {RANDOM}"}
        card = make_proposal(team, ada, kind=kind, state_proposed=state)
        board.change("desk:tickets/T-1001", **state)

        assert decide(card, ben).proposal.state == "queued"

    def test_the_mark_depends_on_the_houses_own_key(self):
        ours = redacted(RANDOM)

        with override_settings(SECRET_KEY="of-another-house-" + "0123456789" * 4):
            assert redacted(RANDOM) != ours

    def test_a_look_alike_target_is_called_by_name(self, team, ada, ben):
        card = make_proposal(team, ada, subject="customer/pаypal")

        assert cards.card(ben, card.pk, at=TEN).warnings == ("The letter 'а' in 'pаypal' is Cyrillic.",)
