"""The transport's asyncio face. The loop watches the link, and handles all that comes over it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncIterator, Collection
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any, Self

from ringroom.aio.sender import Sender
from ringroom.errors import ClosedError
from ringroom.faces.awaiting import (
    LoopShare,
    LoopWaiter,
    RecoveryTask,
    end_of,
    runs_here,
    start,
    within,
)
from ringroom.faces.closing import leave
from ringroom.faces.connection import Connection, configured
from ringroom.faces.receiving import ReceivingEnd, wanted_kinds
from ringroom.frames import Item
from ringroom.option_checks import as_identities
from ringroom.options import TransportConfig
from ringroom.processes.hosts import Where
from ringroom.providers.provider import ProviderSpec
from ringroom.sessions.inbox import Inbox
from ringroom.system import unwatched

__all__ = ["Receiver", "Transport", "transport"]


def transport(
    provider: str | ProviderSpec,
    config: TransportConfig | None = None,
    *,
    io: Where = "process",
    **options: Any,
) -> Transport:
    """As `ringroom.transport`; connects on ``async with`` (or ``await t.open()``).

    Raises `ConfigurationError` here, before anything is started.
    """
    return Transport(Connection(provider, configured(provider, config, options), io))


class Transport(Sender):
    """What `transport` gives. For one event loop's thread: on another loop, every call that is
    awaited raises `BusyError`. `stats`, `ended` and `played` may be asked on any thread, and tell
    what the loop knows."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._watched = -1
        self._flushing: asyncio.TimerHandle | None = None
        """The timer that sends more, while the link keeps what its socket has not taken."""
        self._recovery: RecoveryTask | None = None
        self._starting: Future[None] | None = None
        self._closing: Future[None] | None = None
        """Done when the thread that closes the transport has ended."""
        self._hurried = False
        """Whether that thread is not to wait for the room to be left."""

    async def open(self) -> Self:
        """Connect. Raises as `ringroom.transport` does; `ClosedError` if closed meanwhile.
        If cancelled, it first stops what it has started. A second cancellation returns at once, and
        the rest is stopped in the background."""
        self._check_process()
        if self._starting is not None or self._connection.closed:
            raise ClosedError(f"{self._connection.spec.name}: a transport opens once")
        self._belong_here()
        self._starting = Future()
        run = partial(contextvars.copy_context().run, self._start)
        start(self._connection.machine, "ringroom-open", run, self._starting)
        try:
            await end_of(self._starting)
            self._starting.result()
            self._check_open()
            session = self._connection.session
            with self._connection.lock:
                self._watch()
                session.listeners.add(self._watch)
            what = f"{self._connection.spec.name}: no connection"
            async with within(self._connection.joining_seconds, what):
                await self._finish(self._until(lambda: session.joined))
        except BaseException:
            await self.close()
            raise
        if self._connection.can_be_mended:
            self._recovery = RecoveryTask(self._connection)
        return self

    def _watch(self) -> None:
        """Have the loop watch the link that the session has now. Called at each change of the
        session: the number of a closed link may name another descriptor at any moment."""
        fd = self._connection.session.fileno()
        if fd != self._watched:
            self._unwatch()
            if fd >= 0 and self._loop is not None and not self._loop.is_closed():
                try:
                    self._loop.add_reader(fd, self._pump)
                except OSError as error:
                    raise unwatched(error) from error
                self._watched = fd
        self._flush_later()

    def _flush_later(self) -> None:
        """Have the loop send more of what the link keeps, for nothing else may wake it."""
        patience = self._connection.session.link.patience()
        loop = self._loop
        if self._watched < 0 or patience is None or self._flushing is not None or loop is None:
            return
        if not loop.is_closed():
            self._flushing = loop.call_later(patience, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        with self._connection.lock:
            if self._watched >= 0:
                self._pump()
                self._flush_later()

    def _start(self) -> None:
        """Runs on a thread, for a token minter may take its time. Either this finds the transport
        closed, or `close` finds it opened; the one that does closes the connection."""
        self._connection.open()
        with self._connection.lock:
            self._connection.opened, closed = True, self._connection.closed
        if closed:
            self._connection.close()

    def _pump(self) -> None:
        with self._connection.lock:
            self._connection.session.pump()

    @property
    def _elsewhere(self) -> bool:
        """Whether the loop runs on another thread, or may begin to at any moment."""
        loop = self._loop
        if loop is None or loop.is_closed() or runs_here(loop):
            return False
        return loop.is_running() or threading.get_ident() != self._thread

    def _hear(self) -> None:
        """Handle what has come over the link, if this is the loop's thread. Until the loop is
        closed no other thread does: the loop watches the link's descriptor, and wakes the tasks
        that wait."""
        if not self._elsewhere:
            super()._hear()

    def _unwatch(self) -> None:
        fd, self._watched = self._watched, -1
        if fd >= 0 and self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(fd)

    def recv(
        self, *, kinds: Collection[str] | None = None, participants: Collection[str] | None = None
    ) -> Receiver:
        """As `ringroom.client.Transport.recv`; time limits with `asyncio.timeout`."""
        self._check_open()
        only = None if participants is None else as_identities(participants)
        wanted = wanted_kinds(self._connection, kinds)
        with self._connection.lock:
            inbox = self._connection.session.incoming.open_inbox(wanted, only)
        return Receiver(self, inbox)

    async def close(self) -> None:
        """As `ringroom.client.Transport.close`. Calls that come meanwhile wait until it is done. If
        cancelled, it does not wait for the room to be left, and a second cancellation returns at
        once. Any loop may close a transport whose own loop is closed."""
        if self._forked:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._check_loop()
        if self._closing is not None:
            await end_of(self._closing)
            return
        with self._connection.lock:
            self._connection.closed, opened = True, self._connection.opened
        if opened:
            await self._end(self._begin_to_close())
        elif self._starting is not None:
            self._closing = self._starting  # `_start` finds the transport closed
            await end_of(self._closing)

    def _begin_to_close(self) -> Future[None]:
        """Start the thread that closes, whatever becomes of this task and its loop meanwhile."""
        over: Future[None] = Future()
        with self._connection.lock:
            self._connection.session.listeners.discard(self._watch)
            self._unwatch()
            self._connection.session.notify()  # calls that wait end before the room is left
        if self._recovery is not None:
            self._recovery.close()
        start(self._connection.machine, "ringroom-close", self._shut, over)
        self._closing = over
        return over

    def _shut(self) -> None:
        try:
            leave(self._connection, lambda: self._hurried)
        finally:
            self._connection.close()

    async def _end(self, over: Future[None]) -> None:
        try:
            await end_of(over)
        except asyncio.CancelledError:
            self._hurried = True
            self._notify()
            await end_of(over)
            raise
        over.result()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None and self._plays:
                # If another task closes it, or the room ends, nothing plays any more.
                with contextlib.suppress(ClosedError):
                    seconds = self._connection.options.close_timeout
                    async with within(seconds, "not played out"):
                        await self.wait_playout()
        finally:
            await self.close()


class Receiver(ReceivingEnd[Transport], AsyncIterator[Item]):
    """Yields frames and events; cancelling a wait loses nothing. Also if the next one is always
    there, since the reader is behind, other tasks of the loop have their turns in between."""

    _over = StopAsyncIteration

    def __init__(self, owner: Transport, inbox: Inbox) -> None:
        super().__init__(owner, inbox)
        self._share = LoopShare(owner._connection.machine.now)

    def __aiter__(self) -> Receiver:
        return self

    async def __anext__(self) -> Item:
        if self._owner._loop is not asyncio.get_running_loop():
            self._owner._check_here()
        await self._share.wait()  # before anything is taken: a cancellation would lose it
        with LoopWaiter(self._owner._connection) as waiter:
            while (item := self._look()) is None:
                await waiter.wait(self._inbox.fileno())
        self._share.begin()
        return item

    async def aclose(self) -> None:
        """Idempotent. A task that waits for the next item gets `StopAsyncIteration`."""
        self._close()
