"""A broker's database for one run, and the ways to lose everything in it."""

import contextlib
from typing import Final
from urllib.parse import urlsplit

from kombu import Connection

QUEUES: Final = ("runs", "resume", "rollup", "notify", "default")
OWN_DATABASE: Final = 15
"""Of Redis and Valkey; other tests with workers use lower numbers."""


def own(url: str) -> str:
    """Return the address of a database that nobody else uses; a broker without numbered ones stays as it is."""
    address, _, _ = url.partition("?")
    if url.startswith("redis+socket:"):
        return f"{address}?virtual_host={OWN_DATABASE}"
    if url.startswith(("redis:", "rediss:")) and urlsplit(url).path in {"", "/", "/0"}:
        return f"{address.removesuffix('/0').rstrip('/')}/{OWN_DATABASE}"
    return url


def empty(url: str) -> None:
    """Lose every message: those that wait, and where the broker lets us, those that workers hold."""
    with Connection(url) as connection:
        channel = connection.default_channel
        if connection.transport.driver_type == "redis":
            channel.client.flushdb()
            return
        for name in QUEUES:
            # A queue that nobody has used yet does not exist, and asking for it closes the channel.
            with contextlib.suppress(*connection.channel_errors):
                connection.channel().queue_purge(name)


def waiting(url: str) -> int:
    """Count the messages that no worker holds."""
    with Connection(url) as connection:
        channel = connection.default_channel
        return sum(channel._size(name) for name in QUEUES) if connection.transport.driver_type == "redis" else 0
