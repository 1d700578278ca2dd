"""The synchronous face: a transport that an application pulls frames from and pushes frames to.

Any number of threads may use one transport: a kind of frame has one reader at a time (a second one
gets `BusyError`), and a track has one writer (`sender.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Any, Self

from ringroom.errors import ClosedError
from ringroom.faces.connection import Connection, configured
from ringroom.faces.receiving import ReceivingEnd, wanted_kinds
from ringroom.faces.recovery import LEFT_BEHIND_SECONDS, RecoveryThread
from ringroom.frames import Item
from ringroom.option_checks import as_identities, check_timeout
from ringroom.options import TransportConfig
from ringroom.processes.hosts import Where
from ringroom.processes.waiting import Deadline
from ringroom.providers.provider import ProviderSpec
from ringroom.sender import Sender
from ringroom.sessions.inbox import Inbox
from ringroom.system import interrupts_at_the_end

__all__ = ["Receiver", "Transport", "transport"]


def transport(
    provider: str | ProviderSpec,
    config: TransportConfig | None = None,
    *,
    io: Where = "process",
    **options: Any,
) -> Transport:
    """Open a transport: ``transport("livekit", url=..., token=..., room="voice-room")``.

    ``provider`` is a registered name, or a spec such as ``ringroom.LiveKit(...)``. ``options`` are
    those of the provider (url, token, room, e2ee_key) and of `SessionOptions` (sample_rate=16000,
    channels=1, kinds=("audio",), participants, tracks, frame_ms=20, max_age=0.2, publish). ``io``
    says where the connection lives: its own ``"process"``, a ``"thread"``, or a shared `IOProcess`.

    Returns when the room is joined. Raises `ConfigurationError` (before anything is started, but
    for what the token or the SDK's version shows), `StartupError`, `RoomError` (unauthorized,
    unreachable, timeout), `LostProcessError`, or `TimeoutError` for an I/O process that says
    nothing for ``connect_timeout`` and 10 s.
    """
    return Transport(Connection(provider, configured(provider, config, options), io)).open()


class Transport(Sender):
    """What `transport` gives. A context manager: leaving it normally plays out what was sent
    (`TimeoutError` after ``close_timeout``, closed all the same), leaving it by an exception does
    not."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._recovery: RecoveryThread | None = None

    @property
    def _closing_seconds(self) -> float:
        return super()._closing_seconds + LEFT_BEHIND_SECONDS

    def open(self) -> Self:
        """Connect; called by `transport`. Raises `ClosedError` the second time."""
        self._check_process()
        if self._connection.opened or self._connection.closed:
            raise ClosedError(f"{self._connection.spec.name}: a transport opens once")
        try:
            self._connect()
            if self._connection.can_be_mended:
                self._recovery = RecoveryThread(self._connection)
        except BaseException:
            self.close()
            raise
        return self

    def recv(
        self,
        *,
        kinds: Collection[str] | None = None,
        participants: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> Receiver:
        """Frames (and events, if asked for) as they come, until the room ends.

        ``timeout`` is for each item, in seconds; its `TimeoutError` does not end the iteration.
        Raises `ClosedError` when closed, `BusyError` when another receiver has one of the kinds,
        `ConfigurationError` for an empty ``kinds``, for a kind that the transport does not receive,
        and for invalid participants or an invalid timeout, `StartupError` when no descriptors are
        left.
        """
        self._check_open()
        wanted = wanted_kinds(self._connection, kinds)
        timeout = check_timeout(timeout)
        only = None if participants is None else as_identities(participants)
        inbox = None
        with self._connection.lock:
            try:
                with interrupts_at_the_end():
                    inbox = self._connection.session.incoming.open_inbox(wanted, only)
                    return Receiver(self, inbox, timeout)
            except BaseException:  # by Ctrl-C: the caller would have nothing to close
                if inbox is not None:
                    inbox.close()
                raise

    def close(self) -> None:
        """Leave the room. Idempotent, with a deadline; what was sent and not played is lost
        (`wait_playout` first, or leave the ``with`` block normally). A second call, on another
        thread, waits until the first has closed it."""
        if not self._forked:
            self._closing.run(self._shut, self._closing_seconds)

    def _shut(self) -> None:
        try:
            self._connection.closed = True
            if self._recovery is not None:
                self._recovery.close()
            if self._connection.opened:
                self._leave()
        finally:
            if self._connection.opened:
                self._connection.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None and self._plays:
                # If another thread closes it, or the room ends, nothing plays any more.
                with contextlib.suppress(ClosedError):
                    self.wait_playout(timeout=self._connection.options.close_timeout)
        finally:
            self.close()


class Receiver(ReceivingEnd[Transport], Iterator[Item]):
    """Yields frames and events. An iterator object: a `TimeoutError` does not end it.

    One receiver for each kind at a time; it gives its kinds back when it is closed, exhausted or
    collected.
    """

    _over = StopIteration

    def __init__(self, owner: Transport, inbox: Inbox, timeout: float | None) -> None:
        super().__init__(owner, inbox)
        self._timeout = timeout

    def __iter__(self) -> Receiver:
        return self

    def __next__(self) -> Item:
        item = self._look()
        if item is not None:
            return item
        connection = self._owner._connection
        limit = Deadline(connection.machine, self._timeout, "nothing received")
        # The waiter has a counter of its own: a thread that closes the inbox while we wait does not
        # close that.
        try:
            with connection.waiter() as waiter:
                while (item := self._look()) is None:
                    if not waiter.wait((self._inbox.fileno(),), limit.remaining()):
                        raise limit.expired()
        except BaseException:
            if item is not None:
                self._inbox.put_back.append(item)
            raise
        return item

    def close(self) -> None:
        """Idempotent. A thread that waits for the next item gets `StopIteration`."""
        self._close()
