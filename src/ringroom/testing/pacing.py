"""Sends what a microphone or camera has to say at the pace of real time.

Runs on timers of the room's thread. Times are absolute, so pieces that the thread was late for are
sent at once, and nothing drifts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypedDict

from ringroom.checks import shown
from ringroom.errors import ConfigurationError
from ringroom.option_checks import MAX_TIMEOUT, check_flag, check_range
from ringroom.testing.media_path import Media, SourceClock
from ringroom.testing.wire import Wire

__all__ = ["Pace", "Pacer", "Performance", "check_positive"]

_SAME = 1e-9
_TURN_SECONDS = 0.02


class Pace(TypedDict, total=False):
    """How fast, and whether the caller waits.

    ``realtime`` (True): as fast as it is spoken; False: all at once, as much as the application's
    queues take (a live track then drops what it cannot). ``speed`` (1.0): times real time.
    ``wait`` (False): return when it has been spoken, instead of at once. It is then on its way to
    the application. A test that closes or drains the application right away may do so before it
    arrives: wait first for what comes of it (`FakeRoom.wait_for_audio`, say).
    """

    realtime: bool
    speed: float
    wait: bool


@dataclass(eq=False)
class Performance:
    """One call's worth of media: pieces and the seconds each lasts."""

    pieces: Iterator[tuple[Media, float]]
    speed: float
    done: bool = False


class Pacer:
    """One source's queue of performances, one after the other."""

    def __init__(
        self,
        wire: Wire,
        send: Callable[[Media], None],
        pause: Callable[[], None],
        clock: SourceClock,
    ) -> None:
        self._wire = wire
        self._send = send
        self._pause = pause
        self._clock = clock
        self._queue: deque[Performance] = deque()
        self._due = 0.0
        self._running = False

    def put(self, pieces: Iterator[tuple[Media, float]], pace: Pace) -> Performance:
        """Queues them behind what is queued already. Raises `ConfigurationError`."""
        for name in pace.keys() - Pace.__annotations__.keys():
            known = ", ".join(Pace.__annotations__)
            raise ConfigurationError(f"no pace is called {name!r}, there are {known}")
        check_flag("realtime", pace.get("realtime", True))
        speed = check_positive("speed", pace.get("speed", 1.0))
        if not pace.get("realtime", True):
            speed = math.inf
        performance = Performance(pieces, speed)
        with self._wire.changed:
            self._queue.append(performance)
            if not self._running:
                self._running = True
                self._due = self._wire.time()
                self._advance()
        return performance

    def stop(self) -> None:
        """Throws away what is queued."""
        with self._wire.changed:
            for performance in self._queue:
                performance.done = True
            self._queue.clear()

    def _advance(self) -> None:
        """Sends all that is due, but no longer than a turn: pieces that take longer to make than
        they last would hold up the whole room."""
        now = self._wire.time()
        while self._due <= now + _SAME:
            if not self._queue:
                self._running = False
                self._pause()
                return
            performance = self._queue[0]
            piece = next(performance.pieces, None)
            if piece is None:
                performance.done = True
                self._queue.popleft()
                continue
            media, seconds = piece
            self._send(media)
            self._due += seconds / performance.speed / self._clock.rate
            if performance.speed < math.inf and self._wire.time() > now + _TURN_SECONDS:
                break
        self._wire.call_at(max(self._due, self._wire.time()), self._advance)


def check_positive(name: str, value: Any, most: float = MAX_TIMEOUT) -> float:
    """The value as a plain number above 0. Raises `ConfigurationError`."""
    if isinstance(value, Real) and value == 0:
        raise ConfigurationError(f"{name} is {shown(value)}, expected more than 0")
    return check_range(name, value, 0, most)
