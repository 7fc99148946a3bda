import base64

import pytest

from apps.connectors.sealing import NoSealingKey, Sealed, seal, unseal

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(32)).decode()


def test_a_sealed_secret_opens_with_its_key():
    assert unseal(seal("tk_live", about="connector:1", key=KEY), about="connector:1", key=KEY) == "tk_live"


def test_the_sealed_bytes_hold_nothing_of_the_secret_and_differ_each_time():
    first, second = (seal("tk_live", about="connector:1", key=KEY) for _ in range(2))

    assert b"tk_live" not in first.sealed
    assert first.sealed != second.sealed
    assert first.key_id == second.key_id


def test_a_secret_moved_to_another_connector_stays_closed():
    with pytest.raises(NoSealingKey, match="changed or moved"):
        unseal(seal("tk_live", about="connector:1", key=KEY), about="connector:2", key=KEY)


@pytest.mark.parametrize("place", [0, 12, -1])
def test_one_changed_byte_is_noticed(place):
    sealed = bytearray(seal("tk_live", about="connector:1", key=KEY).sealed)
    sealed[place] ^= 1

    with pytest.raises(NoSealingKey, match="changed or moved"):
        unseal(Sealed(bytes(sealed), seal("x", about="", key=KEY).key_id), about="connector:1", key=KEY)


def test_another_key_is_named_instead_of_tried():
    sealed = seal("tk_live", about="connector:1", key=KEY)

    with pytest.raises(NoSealingKey, match=f"sealed with key {sealed.key_id}"):
        unseal(sealed, about="connector:1", key=OTHER_KEY)


@pytest.mark.parametrize("key", ["", "c2hvcnQ=", "not base64!", base64.b64encode(bytes(31)).decode(), "ü"])
def test_a_missing_or_malformed_key_is_said_clearly(key):
    with pytest.raises(NoSealingKey, match="CREDENTIAL_KEY"):
        seal("tk_live", about="connector:1", key=key)
