import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.audit.domain import hashing
from apps.audit.domain.canonical import MAX_INTEGER, CanonicalError, canonical, parse
from apps.audit.domain.headers import around_the_moment, header_text

HEADER = {
    "v": 1,
    "id": "00000000-0000-4000-8000-000000000001",
    "ts": "2026-03-01T10:15:30.123456Z",
    "team": "team:3",
    "actor": "user:81",
    "on_behalf_of": None,
    "action": "proposal.approve",
    "object": "proposal:4711",
    "agent_version": "sha256:" + "ab" * 32,
    "policy": "approval-policy:7@3",
    "proposal": "4711",
    "digest": "sha256:" + "cd" * 32,
    "outcome": "approved",
    "request_id": "req-1",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
}
HEADER_TEXT = (
    '{"action":"proposal.approve","actor":"user:81","agent_version":"sha256:'
    + "ab" * 32
    + '","digest":"sha256:'
    + "cd" * 32
    + '","id":"00000000-0000-4000-8000-000000000001","object":"proposal:4711","on_behalf_of":null,'
    '"outcome":"approved","policy":"approval-policy:7@3","proposal":"4711","request_id":"req-1","team":"team:3",'
    '"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","ts":"2026-03-01T10:15:30.123456Z","v":1}'
)
SALT = bytes(range(16))
PAYLOAD = {"order": "A-10293", "amount": "42.50", "currency": "USD", "note": 'café, "ok"'}
PAYLOAD_TEXT = '{"amount":"42.50","currency":"USD","note":"café, \\"ok\\"","order":"A-10293"}'
PC = "a8e84f6be64719bd29e77e115b3dd28848e23e420bd54420bddc711608e04464"
LEAF = "216ca0ac6d3728793f6533f158b8c51766cb851ff803d5fd78da5d8c3b4c624e"


def test_the_header_of_the_vector_is_503_bytes():
    assert header_text(HEADER) == HEADER_TEXT
    assert len(HEADER_TEXT.encode()) == 503


def test_the_payload_of_the_vector_is_76_bytes():
    assert canonical(PAYLOAD) == PAYLOAD_TEXT
    assert len(PAYLOAD_TEXT.encode()) == 76


def test_the_commitment_and_the_leaf_of_the_vector():
    commitment = hashing.payload_commitment(SALT, PAYLOAD_TEXT)

    assert commitment.hex() == PC
    assert hashing.leaf(commitment, HEADER_TEXT).hex() == LEAF
    assert hashing.root([hashing.leaf(commitment, HEADER_TEXT)]).hex() == LEAF


def test_another_amount_gives_another_commitment():
    other = PAYLOAD_TEXT.replace("42.50", "420.50")

    assert hashing.payload_commitment(SALT, other).hex().startswith("631d54d69be9e6c4")


ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]


@pytest.mark.parametrize(
    ("size", "root"),
    [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (4, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        (7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ],
)
def test_the_roots_of_rfc_6962(size, root):
    leaves = [hashing.entry_leaf(bytes.fromhex(entry)) for entry in ENTRIES[:size]]

    assert hashing.root(leaves).hex() == root


def test_the_seal_hash_of_the_vector():
    body = (
        b"pastpilot-seal/v1\nepoch 1\nbatch 1\nfirst 0\ncount 1\nsize 1\n"
        b"root IWygrG03KHk/ZTPxWLjFF2bLhR/4A9X9eNpdjDtMYk4=\n"
        b"prev AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        b"time 2026-03-01T10:15:31.000000Z\nkey 04f18f8e\n"
    )
    signature = bytes.fromhex(
        "4d15626c2bcc5e5bf59bb46be4ed29ef850bc1226df90be50e3a638e1d8e4257"
        "866fa3752a5f44d8fe893187c9529c0451d97eba6ab88e919f1a2f718ed11205"
    )

    assert len(body) == 203
    assert hashing.seal_hash(body, signature).hex() == (
        "d1b2171d1bb22b24fc66d027312f0203b3440e3790c2c29624a79f186ed76ab9"
    )


def test_a_digest_names_the_value_whatever_the_order_of_its_keys():
    assert hashing.digest_of({"b": 1, "a": 2}) == hashing.digest_of({"a": 2, "b": 1})
    assert hashing.digest_of({}) == "sha256:" + hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (40.0, "40"),
        (1e-7, "1e-7"),
        (0.000001, "0.000001"),
        (1e16, "10000000000000000"),
        (1e21, "1e+21"),
        (-0.0, "0"),
        (0, "0"),
        (-1.5, "-1.5"),
        (1e20, "100000000000000000000"),
        (1.5e300, "1.5e+300"),
        (123456.789, "123456.789"),
        (0.1 + 0.2, "0.30000000000000004"),
        # RFC 8785, appendix B
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (-9007199254740992.0, "-9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (333333333.3333332, "333333333.3333332"),
        (MAX_INTEGER, "9007199254740991"),
        (True, "true"),
    ],
)
def test_numbers_are_written_as_ecmascript_writes_them(number, text):
    assert canonical(number) == text


def test_keys_are_in_the_order_of_utf_16_code_units():
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]

    ordered = list(json.loads(canonical(dict.fromkeys(keys))))

    assert ordered == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_text_is_escaped_as_little_as_json_allows():
    assert canonical('\x00\x1f\b\t\n\f\r"\\/\x7f€') == '"\\u0000\\u001f\\b\\t\\n\\f\\r\\"\\\\/\x7f€"'


def test_text_is_not_normalised():
    assert canonical("e\u0301") != canonical("\u00e9")


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"a": math.nan}, "/a"),
        ([1, math.inf], "/1"),
        ({"a": {"b": [2**53]}}, "/a/b/0"),
        ({"a": -(2**53)}, "/a"),
        ("\udc00", ""),
        ({"\ud800": 1}, "/\ud800"),
        ({1: 2}, ""),
        ({"a": b"bytes"}, "/a"),
        ({"a": {"set"}}, "/a"),
        ({"~/": math.nan}, "/~0~1"),
    ],
)
def test_it_refuses_what_has_no_single_text_and_says_where(value, pointer):
    with pytest.raises(CanonicalError) as refused:
        canonical(value)

    assert refused.value.pointer == pointer


def test_it_refuses_a_value_nested_without_end():
    endless = []
    endless.append(endless)

    with pytest.raises(CanonicalError, match="nested too deeply"):
        canonical(endless)


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('{"a":1,"a":1}', "/a"),
        ('[{"a":{"b":1,"b":2}}]', "/0/a/b"),
        ("[NaN]", "/0"),
        ('{"a":-Infinity}', "/a"),
        ("[9007199254740992]", "/0"),
        ('"\\ud800"', ""),
    ],
)
def test_reading_is_as_strict_as_writing(text, pointer):
    with pytest.raises(CanonicalError) as refused:
        parse(text)

    assert refused.value.pointer == pointer


def test_a_text_of_thousand_brackets_is_refused_not_a_crash():
    with pytest.raises(CanonicalError, match="nested too deeply"):
        parse("[" * 200_000)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values)
def test_reading_the_text_and_writing_it_again_gives_the_same_bytes(value):
    text = canonical(value)

    # 1e16 is written without a point and is a float again only to a reader that knows no other numbers.
    assert canonical(json.loads(text, parse_int=float)) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_reads_back_as_itself(number):
    assert float(canonical(number)) == number


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 9)), st.randoms())
def test_the_order_of_members_never_shows(value, random):
    shuffled = list(value.items())
    random.shuffle(shuffled)

    assert canonical(dict(shuffled)) == canonical(value)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40), st.data())
def test_a_changed_entry_changes_the_root(entries, data):
    index = data.draw(st.integers(0, len(entries) - 1))
    changed = [*entries[:index], entries[index] + b"!", *entries[index + 1 :]]

    before = hashing.root([hashing.entry_leaf(entry) for entry in entries])

    assert hashing.root([hashing.entry_leaf(entry) for entry in changed]) != before


@pytest.mark.parametrize("key", sorted(HEADER))
def test_a_header_without_a_key_is_refused(key):
    with pytest.raises(CanonicalError) as refused:
        header_text({name: value for name, value in HEADER.items() if name != key})

    assert refused.value.pointer == f"/{key}"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"note": "x"}, "/note"),
        ({"v": 1.0}, "/v"),
        ({"v": True}, "/v"),
        ({"proposal": 4711}, "/proposal"),
        ({"outcome": 0.5}, "/outcome"),
        ({"action": ""}, "/action"),
        ({"actor": None}, "/actor"),
    ],
)
def test_a_header_with_anything_else_is_refused(change, pointer):
    with pytest.raises(CanonicalError) as refused:
        header_text(HEADER | change)

    assert refused.value.pointer == pointer


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1))
def test_the_two_halves_around_the_moment_are_the_header(text):
    fields = HEADER | {"outcome": text, "trace_id": "0000-00-00T00:00:00.000000Z"}

    before, after = around_the_moment(fields)

    assert before + HEADER["ts"] + after == header_text(fields)
