"""Server-sent events: the hint that makes an open page ask early. One listener per process, fanned out to its streams.

Whatever breaks here, pages go on asking every five seconds: nothing depends on a stream.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Collection
from time import monotonic
from types import FrameType
from typing import Any, Final
from weakref import WeakKeyDictionary

import structlog
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import AsyncConnection, sql

from apps.approvals.actions.hints import CHANNEL
from apps.audit.direct import conninfo

# A browser opens six connections to one host; with three streams its other tabs still get answers.
MOST_PER_PERSON: Final = 3
MOST_PER_PROCESS: Final = 500
# Proxies close what is silent for a minute; a reader that is gone is noticed at the next comment.
COMMENT_EVERY: Final = 15.0
# Then the browser comes back and its rights are read anew.
LASTS: Final = 600.0
# However much happens, a page hears of it at most so often.
PAUSE: Final = 0.25
RETRY_MS: Final = 3000
_RECONNECT_AFTER: Final = 2.0
_LOOK_EVERY: Final = 30.0

logger = structlog.get_logger(__name__)


class Stream:
    """One open page: whose it is, and of which teams it hears."""

    def __init__(self, user_id: int, team_ids: Collection[int]) -> None:
        self.user_id = user_id
        self.team_ids = frozenset(team_ids)
        self.is_over = False
        self._news = asyncio.Event()

    def tell(self) -> None:
        self._news.set()

    def end(self) -> None:
        self.is_over = True
        self._news.set()

    async def news(self, within: float) -> bool:
        """Wait for a change, or for the end; False if neither came in time."""
        try:
            await asyncio.wait_for(self._news.wait(), within)
        except TimeoutError:
            return False
        self._news.clear()
        return True


class Hub:
    """The streams of one process, and the one connection on which they hear of changes. It is open while there are streams."""

    def __init__(self) -> None:
        self._streams: set[Stream] = set()
        self._listener: asyncio.Task[None] | None = None
        self._is_listening = False
        self._is_closed = False
        self._give_signals_back: Callable[[], None] = _nothing

    def has_room(self, user_id: int) -> bool:
        own = sum(each.user_id == user_id for each in self._streams)
        return own < MOST_PER_PERSON and len(self._streams) < MOST_PER_PROCESS and not self._is_closed

    def join(self, stream: Stream) -> None:
        """Take a stream in. Its page was drawn a moment ago: what happened since counts as news."""
        self._streams.add(stream)
        if self._is_listening:
            stream.tell()
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = loop.create_task(self._listen(), name="approvals hints")
            self._give_signals_back = _at_the_end(lambda: loop.call_soon_threadsafe(self.close))

    def leave(self, stream: Stream) -> None:
        self._streams.discard(stream)
        if not self._streams and self._listener is not None:
            self._listener.cancel()
            self._listener = None
            self._is_listening = False
            self._give_signals_back()

    def close(self) -> None:
        """End every stream: a server that was asked to stop waits for its open answers."""
        self._is_closed = True
        for stream in self._streams:
            stream.end()

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except Exception as error:  # noqa: BLE001  # pages ask anyway; a listener that died silently would not come back
                logger.warning("hints are late", error=type(error).__name__)
            finally:
                self._is_listening = False
            await asyncio.sleep(_RECONNECT_AFTER)

    async def _hear(self) -> None:
        # Never through a pooler: the session that listens must be ours for as long as it listens.
        database = settings.DIRECT_DATABASE or connections.settings[DEFAULT_DB_ALIAS]
        address = conninfo(database, application_name="pastpilot hints")
        async with await AsyncConnection.connect(address, autocommit=True) as link:
            await link.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
            self._is_listening = True
            # Something may have happened while nobody listened.
            self._tell(None)
            while True:
                async for heard in link.notifies(timeout=_LOOK_EVERY):
                    self._tell(int(heard.payload) if heard.payload.isdecimal() else None)
                await link.execute("SELECT 1")

    def _tell(self, team_id: int | None) -> None:
        for stream in self._streams:
            if team_id is None or team_id in stream.team_ids:
                stream.tell()


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """Return the hub of the running loop; a server's process has one."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())


async def events(user_id: int, team_ids: Collection[int]) -> AsyncIterator[bytes]:
    """Yield the events of one page: nothing but "changed", and comments while nothing changes. It ends by itself."""
    streams, stream = hub(), Stream(user_id, team_ids)
    if not streams.has_room(user_id):
        return
    ends_at = monotonic() + LASTS
    streams.join(stream)
    try:
        yield f"retry: {RETRY_MS}\n: open\n\n".encode()
        while (left := ends_at - monotonic()) > 0:
            is_news = await stream.news(min(COMMENT_EVERY, left))
            if stream.is_over:
                return
            yield b"event: changed\ndata: changed\n\n" if is_news else b": still here\n\n"
            if is_news:
                await asyncio.sleep(PAUSE)
    finally:
        streams.leave(stream)


def _nothing() -> None:
    """Stand for signals that were never taken."""


def _at_the_end(act: Callable[[], object]) -> Callable[[], None]:
    """Call `act` when the process is asked to stop, besides whatever the server does then; return how to undo this.

    Servers offer no such call before they wait for their answers. asyncio hears of a signal by a file descriptor of its
    own, so that a handler in the interpreter takes nothing from it; one that was there before is called too.
    """
    if threading.current_thread() is not threading.main_thread():
        return _nothing
    before: dict[int, Any] = {}

    def ended(number: int, frame: FrameType | None) -> None:
        act()
        if callable(before[number]):
            before[number](number, frame)
        elif before[number] == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.getsignal(number)
        signal.signal(number, ended)

    def undo() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) is ended:
                signal.signal(number, handler)

    return undo
