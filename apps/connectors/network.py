"""The only way out: connections to checked addresses, within a deadline, without redirects or proxies (rule S5)."""

import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from ipaddress import ip_address
from time import monotonic
from typing import Any

import httpcore
import httpx

from apps.connectors.domain.addresses import Address, BadAddress, Network, check_addresses, literal_address
from apps.connectors.errors import Unsafe

CONNECT_WITHIN = 3.0
KEEP_IDLE_FOR = 30.0
MAX_CONNECTIONS = 16

Resolve = Callable[[str, int], Sequence[Address]]

_deadline: ContextVar[float | None] = ContextVar("deadline of the running call", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound everything that happens on the network inside: a server that sends one byte now and then gains nothing."""
    token = _deadline.set(monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def open_line(
    base_url: str,
    networks: Sequence[Network],
    *,
    headers: dict[str, str],
    resolve: Resolve | None = None,
    trust: ssl.SSLContext | None = None,
) -> httpx.Client:
    """Make the keep-alive client of one system in one process. `resolve` and `trust` default to the machine's own."""
    transport = _Transport(_CheckedNetwork(networks, resolve or system_resolve), trust)
    return httpx.Client(
        base_url=base_url,
        headers=headers,
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        timeout=None,  # noqa: S113  # `deadline` bounds the whole call; httpx would only bound each step of it
    )


def system_resolve(host: str, port: int) -> Sequence[Address]:
    """Ask the machine's resolver once for all addresses of a name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


class _CheckedNetwork(httpcore.NetworkBackend):
    """Resolves once for each connection, checks every answer, and connects to a checked address, never to the name."""

    def __init__(self, networks: Sequence[Network], resolve: Resolve) -> None:
        self._networks = networks
        self._resolve = resolve
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        error: Exception = httpcore.ConnectTimeout("Time ran out before a connection was made.")
        with _at_most(timeout):
            for address in self._checked(host, port):
                try:
                    left = _left(httpcore.ConnectTimeout)
                    stream = self._sockets.connect_tcp(str(address), port, left, local_address, socket_options)
                    return _TimedStream(stream)
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as reason:
                    error = reason
        raise error

    def _checked(self, host: str, port: int) -> Sequence[Address]:
        literal = literal_address(host)
        try:
            addresses = [literal] if literal is not None else self._resolve(host, port)
        except OSError:
            raise httpcore.ConnectError(f"The name {host} was not found.") from None
        try:
            check_addresses(host, addresses, self._networks)
        except BadAddress as error:
            raise Unsafe(f"{error} Nothing was sent.") from error
        return addresses


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every read and write ends at the running call's deadline."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002  # the deadline decides
        return self._stream.read(max_bytes, _left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002  # the deadline decides
        self._stream.write(buffer, _left(httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        with _at_most(timeout):
            left = _left(httpcore.ConnectTimeout)
            return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Transport(httpx.BaseTransport):
    """httpx over httpcore with our network below it. Errors stay httpcore's: they tell whether bytes had left."""

    def __init__(self, network: httpcore.NetworkBackend, trust: ssl.SSLContext | None) -> None:
        self._network = network
        self._pool = httpcore.ConnectionPool(
            ssl_context=trust or _system_trust(),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEP_IDLE_FOR,
            network_backend=network,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        left = _left(httpcore.PoolTimeout)
        # Waiting for a free connection counts as connecting: nothing has left yet.
        within = CONNECT_WITHIN if left is None else min(left, CONNECT_WITHIN)
        answer = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions={"timeout": {"connect": within, "pool": within}},
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions)

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


@cache
def _system_trust() -> ssl.SSLContext:
    """Load the public authorities once; SSL_CERT_FILE names a company's own."""
    return httpx.create_ssl_context()


@contextmanager
def _at_most(seconds: float | None) -> Iterator[None]:
    """Shorten the running deadline for one step."""
    running = _deadline.get()
    ends = [running] if running is not None else []
    ends += [monotonic() + seconds] if seconds is not None else []
    token = _deadline.set(min(ends, default=None))
    try:
        yield
    finally:
        _deadline.reset(token)


def _left(expired: type[Exception]) -> float | None:
    end = _deadline.get()
    if end is None:
        return None
    left = end - monotonic()
    if left <= 0:
        raise expired("Time ran out.")
    return left
