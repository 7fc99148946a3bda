from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.connectors.domain.addresses import (
    BadAddress,
    BadNetwork,
    check_addresses,
    check_grant,
    check_url,
    parse_networks,
    why_refused,
)
from apps.connectors.domain.ledger import MOVES, may_move
from apps.connectors.domain.targets import BadTarget, Target, parse_target

LOOPBACK = parse_networks(["127.0.0.0/8", "::1/128"])
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


# audit-security.md, section 8, "SSRF refused"; the redirect is in tests/security/test_ssrf.py.
REFUSED_URLS = [
    "http://example.org",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://169.254.169.254",
    "https://100.64.0.1",
    "https://224.0.0.1",
    "https://198.18.0.1",
    "https://[64:ff9b::7f00:1]",
    "https://[2002:7f00:1::]",
    "https://[fd00::1]",
    "https://ok.example@evil.example/",
    r"https://ok.example\@evil.example/",
]
MORE_REFUSED_URLS = [
    "",
    "tickets.example.com",
    "//tickets.example.com",
    "ftp://tickets.example.com",
    "file:///etc/passwd",
    "gopher://tickets.example.com",
    "https://",
    "https:///tickets",
    "https://tickets.example.com:0",
    "https://tickets.example.com:",
    "https://tickets.example.com:99999",
    "https://tickets.example.com:8o",
    "https://user:secret@tickets.example.com",
    "https://@tickets.example.com",
    "https://tickets.example.com?x=1",
    "https://tickets.example.com/#part",
    "https://tickets.example.com/a/../b",
    "https://tickets.example.com/a//b",
    "https://tickets.example.com/%2e%2e/",
    "https://tickets.example.com/a b",
    "https://tickets.example.com\t",
    "https://tickets.example.com\r\nHost: evil",
    "https://tickets\x00.example.com",
    "https://tickets..example.com",
    "https://-tickets.example.com",
    "https://tickets.example.com.",
    "https://ticketß.example.com",
    "https://１２７.0.0.1",
    "https://127.0.0.0x1",
    "https://0x7f.1",
    "https://0.0.0.0",
    "https://10.0.0.1",
    "https://172.16.0.1",
    "https://192.168.0.1",
    "https://192.0.0.8",
    "https://255.255.255.255",
    "https://[::]",
    "https://[::127.0.0.1]",
    "https://[fe80::1%25eth0]",
    "https://[fe80::1]",
    "https://[fec0::1]",
    "https://[ff02::1]",
    "https://[2001::1]",
    "https://[2001:db8::1]",
    "https://[3fff::1]",
    "https://[64:ff9b:1::1]",
    "https://[not-an-address]",
    "http://127.0.0.1:8010",
    "http://[::1]:8010",
    "http://localhost:8010",
    "https://" + "a" * 300 + ".example.com",
]


@pytest.mark.parametrize("url", REFUSED_URLS + MORE_REFUSED_URLS)
def test_it_refuses_an_unsafe_url(url):
    with pytest.raises(BadAddress):
        check_url(url)


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://tickets.example.com", "tickets.example.com", 443, ""),
        ("https://tickets.example.com:8443/api/v2/", "tickets.example.com", 8443, "/api/v2"),
        ("https://xn--ticket-eta.example", "xn--ticket-eta.example", 443, ""),
        ("https://93.184.216.34/", "93.184.216.34", 443, ""),
        ("https://[2606:2800:220:1::1]", "2606:2800:220:1::1", 443, ""),
    ],
)
def test_it_takes_https_to_a_public_host(url, host, port, path):
    place = check_url(url)

    assert (place.host, place.port, place.path) == (host, port, path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8010", "http://[::1]:8010", "https://127.0.0.1"])
def test_a_grant_opens_loopback(url):
    assert check_url(url, LOOPBACK).literal is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1",  # no port
        "http://localhost:8010",  # a name may lead elsewhere
        "http://10.20.0.1:8010",  # granted, not loopback
        "https://127.1",  # a grant does not make disguises readable
        "https://192.168.0.1",  # not granted
    ],
)
def test_a_grant_opens_nothing_else(url):
    with pytest.raises(BadAddress):
        check_url(url, (*LOOPBACK, *parse_networks(["10.20.0.0/16"])))


def test_a_granted_address_is_found_inside_its_mapped_form():
    assert why_refused(ip_address("::ffff:127.0.0.1"), LOOPBACK) == ""
    assert why_refused(ip_address("::ffff:127.0.0.1")) != ""


def test_one_bad_address_among_good_ones_refuses_the_name():
    good, bad = ip_address("93.184.216.34"), ip_address("10.0.0.1")

    check_addresses("ok.example", [good])
    with pytest.raises(BadAddress, match=r"ok\.example leads to 10\.0\.0\.1"):
        check_addresses("ok.example", [good, bad])


def test_a_name_without_an_address_is_refused():
    with pytest.raises(BadAddress, match="has no address"):
        check_addresses("ok.example", [])


@given(addresses)
def test_without_a_grant_only_global_addresses_pass(address):
    if why_refused(address) == "":
        plain = getattr(address, "ipv4_mapped", None) or address
        assert plain.is_global
        assert not plain.is_multicast
        assert not plain.is_loopback
        assert not plain.is_link_local


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_like_what_it_maps(address):
    mapped = IPv6Address(f"::ffff:{address}")

    assert (why_refused(mapped) == "") == (why_refused(address) == "")


@given(st.integers(0, 2**32 - 1), st.sampled_from(["64:ff9b::", "2002::", "2001::"]))
def test_no_tunnel_to_ipv4_passes_even_when_everything_is_granted(number, prefix):
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    shift = {"64:ff9b::": 0, "2002::": 80, "2001::": 0}[prefix]
    tunnel = IPv6Address(int(IPv6Address(prefix)) | number << shift)

    assert why_refused(tunnel, everything) != ""


@given(st.integers(0, 2**32 - 1))
def test_no_spelling_of_an_address_as_one_number_passes(number):
    for text in (str(number), hex(number), f"0{number:o}"):
        with pytest.raises(BadAddress):
            check_url(f"https://{text}/", (ip_network("0.0.0.0/0"),))


@given(st.text(max_size=60))
def test_any_text_is_taken_or_refused_never_a_crash(text):
    for url in (text, f"https://{text}", f"https://ok.example/{text}", f"http://{text}:80"):
        try:
            place = check_url(url)
        except BadAddress:
            continue
        assert place.scheme == "https"
        assert place.literal is None or place.literal.is_global


@pytest.mark.parametrize("cidr", ["10.20.0.0/16", "127.0.0.0/8", "192.168.4.7/32", "fd12:3456::/32", " 10.1.0.0/16 "])
def test_an_internal_network_can_be_granted(cidr):
    assert ip_network(check_grant(cidr)) == ip_network(cidr.strip())


@pytest.mark.parametrize(
    "cidr",
    [
        "",
        "everything",
        "10.20.0.1/16",  # host bits
        "0.0.0.0/0",
        "10.0.0.0/7",  # too wide
        "169.254.169.254/32",
        "168.0.0.0/6",
        "224.0.0.0/4",
        "::/0",
        "fd00::/8",
        "fe80::/64",
        "64:ff9b::/96",
        "2002:7f00::/32",
        "::ffff:10.0.0.0/104",
    ],
)
def test_a_network_that_holds_more_than_a_system_is_refused(cidr):
    with pytest.raises(BadNetwork):
        check_grant(cidr)


@given(addresses, addresses)
def test_a_grant_of_one_address_opens_only_that_address(granted, other):
    try:
        networks = parse_networks([check_grant(str(granted))])
    except BadNetwork:
        return

    assert why_refused(granted, networks) == ""
    plain = getattr(other, "ipv4_mapped", None) or other
    if plain != granted:
        assert (why_refused(other, networks) == "") == (why_refused(other) == "")


def test_a_target_names_connector_collection_and_record():
    target = parse_target("desk:tickets/T-1001")

    assert target == Target("desk", "tickets", "T-1001")
    assert (str(target), target.path) == ("desk:tickets/T-1001", "/tickets/T-1001")


@pytest.mark.parametrize(
    "text",
    ["", "desk", "desk:", "desk:tickets", "desk:tickets/", ":tickets/1", "desk:tickets/..", "desk:tickets/.",
     "desk:tickets/a/b", "desk:tickets/a?b", "desk:tickets/a#b", "desk:tickets/%2e", "desk:../1", "desk:tickets/a\n"],
)  # fmt: skip
def test_a_text_that_could_name_another_path_is_no_target(text):
    with pytest.raises(BadTarget):
        parse_target(text)


@given(st.text(max_size=40))
def test_a_target_that_is_read_is_spelt_the_same(text):
    try:
        target = parse_target(text)
    except BadTarget:
        return

    assert str(target) == text


def test_an_outcome_is_told_once_and_only_the_unknown_may_become_known():
    assert {(old, new) for old in MOVES for new in MOVES if may_move(old, new)} == {
        ("started", "done"),
        ("started", "failed"),
        ("started", "unknown"),
        ("unknown", "done"),
        ("unknown", "failed"),
    }


def test_addresses_of_both_families_can_be_asked_about_together():
    assert why_refused(IPv4Address("93.184.216.34"), parse_networks(["fd12:3456::/32"])) == ""
