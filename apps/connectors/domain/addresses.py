"""Which addresses an outbound call may reach (rule S5). Pure: names are resolved elsewhere, and every result is asked about here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

HTTPS_PORT = 443
MAX_URL = 300
# A grant is for one system's network; these still hold the whole of 127/8 and 10/8, and one provider's IPv6 block.
SHORTEST_PREFIX = {4: 8, 6: 32}

# Not even a grant opens these: they hold no system of record, and metadata services and tunnels live behind them.
NEVER: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "means this machine"),
        ("169.254.0.0/16", "is link-local, where clouds keep their metadata"),
        ("192.88.99.0/24", "is a 6to4 relay"),
        ("224.0.0.0/4", "is multicast"),
        ("240.0.0.0/4", "is reserved"),
        ("::/128", "means this machine"),
        ("64:ff9b::/96", "translates to any IPv4 address"),
        ("64:ff9b:1::/48", "translates to any IPv4 address"),
        ("2001::/32", "tunnels to any IPv4 address (Teredo)"),
        ("2002::/16", "tunnels to any IPv4 address (6to4)"),
        ("fe80::/10", "is link-local"),
        ("ff00::/8", "is multicast"),
    )
)
# Of IPv6 only this block is routed in public; `is_global` also says yes to old site-local and IPv4-compatible forms.
PUBLIC_IPV6 = IPv6Network("2000::/3")
# `is_global` of Python 3.11 knows only parts of these two.
NOT_PUBLIC: tuple[Network, ...] = (ip_network("192.0.0.0/24"), ip_network("3fff::/20"))

_UNSAFE_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\]|[^\x00-\x7f]")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


class BadAddress(ValueError):
    """An address or URL that must not be called; the text says why."""


class BadNetwork(ValueError):
    """A network that may not be granted; the text says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a system answers. `host` has no brackets; `path` has no slash at its end."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def literal(self) -> Address | None:
        """The address, if the host is one; None for a name."""
        return literal_address(self.host)


def parse_networks(cidrs: Sequence[str]) -> tuple[Network, ...]:
    """Read the networks granted to a connector."""
    return tuple(ip_network(cidr) for cidr in cidrs)


def check_grant(cidr: str) -> str:
    """Return the network in its usual spelling. Raises BadNetwork for one that no connector may be given."""
    try:
        network = ip_network(cidr.strip())
    except ValueError:
        raise BadNetwork(f"{cidr.strip()!r} is no network. Write it like 10.20.0.0/16, without host bits.") from None
    for never, why in NEVER:
        if network.version == never.version and network.overlaps(never):
            raise BadNetwork(f"{network} touches {never}, which {why}. It cannot be granted.")
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise BadNetwork("Write IPv4 networks as IPv4.")
    if network.prefixlen < SHORTEST_PREFIX[network.version]:
        raise BadNetwork(f"{network} is too wide. Name a network of /{SHORTEST_PREFIX[network.version]} or smaller.")
    return str(network)


def why_refused(address: Address, networks: Sequence[Network] = ()) -> str:
    """Say why an address may not be called; an empty text means it may. IPv4-mapped addresses count as what they map."""
    plain = unwrapped(address)
    for never, why in NEVER:
        if plain in never:
            return f"{address} {why}"
    if any(plain in network for network in networks):
        return ""
    if not plain.is_global or any(plain in network for network in NOT_PUBLIC):
        return f"{address} is not a public address, and no granted network holds it"
    if isinstance(plain, IPv6Address) and plain not in PUBLIC_IPV6:
        return f"{address} is not a public address, and no granted network holds it"
    return ""


def check_addresses(host: str, addresses: Sequence[Address], networks: Sequence[Network] = ()) -> None:
    """Raise BadAddress unless every address of a host may be called: one good answer must not hide a bad one."""
    if not addresses:
        raise BadAddress(f"{host} has no address.")
    for address in addresses:
        why = why_refused(address, networks)
        if why:
            raise BadAddress(f"{why}." if str(address) == host else f"{host} leads to {address}: {why}.")


def check_url(url: str, networks: Sequence[Network] = ()) -> Place:
    """
    Read a system's URL. Raises BadAddress for anything but https to a plain host.

    Plain http is for a loopback address that one of the networks names. A host that is an address is checked at once;
    a name is checked when it is resolved, at each connection.
    """
    if len(url) > MAX_URL:
        raise BadAddress(f"The address is longer than {MAX_URL} characters.")
    # Before parsing: urlsplit silently drops tabs and line ends, and browsers read a backslash as a slash.
    if _UNSAFE_CHARACTERS.search(url):
        raise BadAddress("The address holds a space, a backslash, a control character or a letter beyond ASCII.")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise BadAddress("This is no address. Write it like https://tickets.example.com/api.") from None
    if parts.scheme not in {"http", "https"}:
        raise BadAddress("The address must begin with https://.")
    if "@" in parts.netloc:
        raise BadAddress("The address may not hold a user name or password.")
    if "?" in url or "#" in url:
        raise BadAddress("The address may not hold a query or a fragment.")
    if port == 0 or parts.netloc.endswith(":"):
        raise BadAddress("The port is missing or 0.")
    place = Place(parts.scheme, _checked_host(host), port or HTTPS_PORT, _checked_path(parts.path))
    if place.literal is not None:
        check_addresses(place.host, [place.literal], networks)
    if parts.scheme == "http":
        return _loopback_only(place, port)
    return place


def is_same_origin(url: str, place: Place) -> bool:
    """Say whether a URL that was taken before leads to the same scheme, host and port."""
    parts = urlsplit(url)
    return (parts.scheme, parts.hostname, parts.port or HTTPS_PORT) == (place.scheme, place.host, place.port)


def literal_address(host: str) -> Address | None:
    """Return the address that a host spells in the usual way, or None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def unwrapped(address: Address) -> Address:
    """Return the IPv4 address inside an IPv4-mapped one."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _checked_host(host: str) -> str:
    if not host:
        raise BadAddress("The address has no host.")
    if ":" in host:
        if "%" in host or literal_address(host) is None:
            raise BadAddress(f"[{host}] is no IPv6 address.")
        return host
    labels = host.split(".")
    # getaddrinfo turns 2130706433, 0x7f000001 and 127.1 into 127.0.0.1: a host that ends in a number must be spelt in full.
    if _NUMBER.fullmatch(labels[-1]):
        if literal_address(host) is None:
            raise BadAddress(f"{host} is an address in disguise. Write all four numbers in decimal.")
        return host
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise BadAddress(f"{host} is no host name.")
    return host


def _checked_path(path: str) -> str:
    path = path.rstrip("/")
    if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise BadAddress("The path of the address may hold letters, digits and . _ ~ - between single slashes.")
    return path


def _loopback_only(place: Place, port: int | None) -> Place:
    address = place.literal
    if address is None or not unwrapped(address).is_loopback:
        raise BadAddress("Plain http is only for a loopback address of this machine. Use https.")
    if port is None:
        raise BadAddress("Plain http needs a port.")
    return place
