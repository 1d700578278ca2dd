"""The room's side of its connections: one thread, a socket and a bounded queue for each.

All state of a fake room is guarded by one condition, `Wire.changed`: whoever reads or changes it
holds it, and every message and timer is handled under it. The thread never waits for a peer: what
a connection does not take is queued, media up to `MAX_MEDIA_BYTES` (the oldest is dropped and
counted), events up to `MAX_EVENTS` (then the connection is cut, as a server does with a client
that has stopped reading).

The thread holds no reference to the `FakeRoom`, so a room that was forgotten can be collected.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from ringroom.errors import RoomError, StartupError, WireError
from ringroom.processes.machine import MACHINE, Machine
from ringroom.providers.fake import messages, wire
from ringroom.system import why

__all__ = ["Clock", "Line", "LineReader", "Wire"]

MAX_MEDIA_BYTES = 1 << 26
MAX_EVENTS = 20_000
LONGEST_WAIT = 3_600.0
"""Seconds; what the system waits for is a whole number of milliseconds that has an end."""
_READ_BYTES = 1 << 18
# Seconds between two looks at what a test waits for, while nothing happens in the room.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25
# Below a nanosecond two times are the same: sums of floating-point durations differ by less.
_SAME = 1e-9
T = TypeVar("T")


class Clock(Protocol):
    """Where a room's time comes from, if not from the machine."""

    def time(self) -> float:
        """Seconds, never going back."""

    def call_at(self, when: float, callback: Callable[[], None]) -> object:
        """Calls back once ``time()`` is at least ``when``, on any thread."""


class LineReader(Protocol):
    """Is told what comes over a line; called under `Wire.changed`."""

    def received(self, line: Line, message: messages.Message) -> None:
        """The next message, in order. A `WireError` out of it cuts the line."""

    def hung_up(self, line: Line) -> None:
        """The line is gone; the last call."""


class Line:
    """The room's end of one connection. All methods are called under `Wire.changed`."""

    def __init__(
        self, connection: socket.socket, reader: LineReader, wake: Callable[[], None]
    ) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.reader = reader
        self.decoder = wire.Decoder()
        self.dropped = 0
        """Media messages that the peer was too slow for."""
        self.error = ""
        """What it sent that is not a message of ours."""
        self.heard = False
        """Whether anything came over the line."""
        self.watched = selectors.EVENT_READ
        """What the wire waits for on its socket."""
        self.ending = False
        self.broken = False
        self._said_goodbye = False
        self._wake = wake
        self._numbers = itertools.count()
        self._events: deque[tuple[int, bytes]] = deque()
        self._media: deque[tuple[int, bytes]] = deque()
        self._media_bytes = 0
        self._under_way: memoryview = memoryview(b"")

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not (self._under_way or self._events or self._media)

    def send(self, message: messages.Message) -> None:
        """Queues the message."""
        if self.ending:
            return
        entry = (next(self._numbers), wire.encode(message))
        if isinstance(message, messages.Audio | messages.Video | messages.Reading):
            self._media.append(entry)
            self._media_bytes += len(entry[1])
            while self._media_bytes > MAX_MEDIA_BYTES:
                self._media_bytes -= len(self._media.popleft()[1])
                self.dropped += 1
        elif len(self._events) >= MAX_EVENTS:
            self.cut()
        else:
            self._events.append(entry)
        self._wake()

    def end(self) -> None:
        """Sends what is queued, then waits for the peer to hang up: a peer that writes into a
        socket that is closed already would lose what it has not read."""
        self.ending = True
        self._wake()

    def cut(self) -> None:
        """Hangs up at once; what is queued is lost."""
        self._events.clear()
        self._media.clear()
        self._under_way = memoryview(b"")
        self.broken = True
        self.end()

    def flush(self) -> None:
        """Sends what the socket takes now. Raises `OSError` when the peer is gone."""
        with contextlib.suppress(BlockingIOError):
            while not self.idle:
                if not self._under_way:
                    self._under_way = memoryview(self._next())
                sent = self.socket.send(self._under_way)
                self._under_way = self._under_way[sent:]
            if self.ending and not self._said_goodbye:
                self.socket.shutdown(socket.SHUT_WR)
                self._said_goodbye = True

    def _next(self) -> bytes:
        media_first = self._media and (not self._events or self._media[0] < self._events[0])
        if not media_first:
            return self._events.popleft()[1]
        data = self._media.popleft()[1]
        self._media_bytes -= len(data)
        return data


class Wire:
    """The thread, its timers, and the lines it serves."""

    def __init__(self, name: str, clock: Clock | Machine | None = None) -> None:
        self._machine = clock if isinstance(clock, Machine) else MACHINE
        self._clock = None if isinstance(clock, Machine) else clock
        self.changed = self._machine.condition()
        self._selector = selectors.DefaultSelector()
        self._wake = _Wake()
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._lines: dict[Line, None] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._closing: float | None = None
        self._news = False
        """The thread itself has found more to do."""
        self._thread = self._machine.start_thread(f"fake room {name}", self._run)

    def time(self) -> float:
        """Seconds by the room's clock."""
        return self._machine.now() if self._clock is None else self._clock.time()

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Calls back on the thread, under `changed`, once ``when`` has come."""
        with self.changed:
            heapq.heappush(self._timers, (when, next(self._numbers), callback))
        if self._clock is not None:
            self._clock.call_at(when, self._wake)
        self._wake_thread()

    def wait_until(self, condition: Callable[[], T], timeout: float) -> T:
        """The first true value of ``condition``, which is asked whenever something happens; what
        it says at last when the time is up."""
        with self.changed:
            return self.changed.wait_for(condition, timeout)

    def look_until(self, condition: Callable[[], T], timeout: float) -> T:
        """The same for a condition that may look elsewhere than into the room: it is asked in
        between, too, less and less often."""
        ends, pause = self._machine.now() + timeout, _SHORTEST_PAUSE
        with self.changed:
            while True:
                left = ends - self._machine.now()
                found = self.changed.wait_for(condition, min(left, pause))
                if found or left <= pause:
                    return found
                pause = min(2 * pause, _LONGEST_PAUSE)

    def dial(self, reader: LineReader) -> socket.socket:
        """A fresh connection: the peer's end, while this end is served. Raises `RoomError`,
        `StartupError`."""
        with self.changed:
            if self._closing is not None:
                raise RoomError("fake: the room is closed", reason="unreachable")
            try:
                ours, theirs = socket.socketpair()
            except OSError as error:
                raise StartupError(f"fake: no socket to the room: {why(error)}") from error
            line = Line(ours, reader, self._wake_thread)
            self._lines[line] = None
            self._selector.register(ours, selectors.EVENT_READ, line)
        self._wake()
        return theirs

    def close(self, grace: float) -> None:
        """Ends every line, giving each ``grace`` seconds to take what is queued. Idempotent."""
        self.close_soon(grace)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def close_soon(self, grace: float) -> None:
        """The same, without waiting for it."""
        with self.changed:
            if self._closing is None:
                self._closing = self._machine.now() + grace
            for line in self._lines:
                # A peer that never spoke is not told that it is over.
                (line.end if line.heard else line.cut)()
        self._wake()

    def _wake_thread(self) -> None:
        """Have the thread look again before it waits; on the thread itself that takes no socket."""
        if threading.get_ident() == self._thread.ident:
            self._news = True
        else:
            self._wake()

    def _run(self) -> None:
        while not self._is_over():
            self._machine.wait((self._selector.fileno(),), self._patience())
            ready = self._selector.select(0)
            with self.changed:
                for key, _ in ready:
                    if key.data is None:
                        self._wake.clear()
                    else:
                        self._read(key.data)
                self._run_timers()
                self._news = False
                for line in list(self._lines):
                    self._write(line)
                self.changed.notify_all()
        self._selector.close()
        self._wake.close()

    def _is_over(self) -> bool:
        with self.changed:
            if self._closing is None:
                return False
            if self._machine.now() >= self._closing:
                for line in list(self._lines):
                    self._hang_up(line)
            return not self._lines

    def _patience(self) -> float | None:
        """Seconds until the thread has something to do by itself, None for never."""
        with self.changed:
            if self._news:
                return 0.0
            moments = []
            if self._closing is not None:
                moments.append(self._closing - self._machine.now())
            if self._timers and self._clock is None:
                moments.append(self._timers[0][0] - self._machine.now())
            return max(0.0, min(*moments, LONGEST_WAIT)) if moments else None

    def _run_timers(self) -> None:
        now = self.time() + _SAME
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def _read(self, line: Line) -> None:
        try:
            data = line.socket.recv(_READ_BYTES)
            line.heard = True
            for message in line.decoder.feed(data):
                if not line.ending:
                    line.reader.received(line, message)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        except WireError as error:
            line.error, data = str(error), b""
        if not data:
            self._hang_up(line)

    def _write(self, line: Line) -> None:
        try:
            line.flush()
        except OSError:
            self._hang_up(line)
            return
        if line.broken:
            self._hang_up(line)
            return
        events = selectors.EVENT_READ if line.idle else selectors.EVENT_READ | selectors.EVENT_WRITE
        if line.watched != events:
            line.watched = events
            self._selector.modify(line.socket, events, line)

    def _hang_up(self, line: Line) -> None:
        if line not in self._lines:
            return
        del self._lines[line]
        self._selector.unregister(line.socket)
        line.socket.close()
        line.ending = True
        line.reader.hung_up(line)


class _Wake:
    """Makes the selector return; cheap to call often and from any thread."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)

    def fileno(self) -> int:
        return self._near.fileno()

    def __call__(self) -> None:
        # Full: a wake-up is under way. Closed: nobody is left to wake.
        with contextlib.suppress(OSError):
            self._far.send(b"!")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._near.recv(4096):
                pass

    def close(self) -> None:
        self._near.close()
        self._far.close()
