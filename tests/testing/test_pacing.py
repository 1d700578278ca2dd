"""When a source's pieces are sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from ringroom.errors import ConfigurationError
from ringroom.providers.fake.messages import AudioPause
from ringroom.testing.media_path import Media, SourceClock
from ringroom.testing.pacing import Pacer


class Turns:
    """Stands in for the wire: its timers run when the test says so."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.now = 0.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        self.calls.append((when, callback))

    def turn(self) -> None:
        (when, callback), *self.calls = self.calls
        self.now = max(self.now, when)
        callback()


class Source:
    def __init__(self, wire: Turns) -> None:
        self.sent: list[Media] = []
        self.over = False
        self.wire = wire
        self.pacer = Pacer(cast(Any, wire), self.sent.append, self.end, SourceClock())

    def end(self) -> None:
        self.over = True

    def pieces(self, count: int, making: float) -> Iterator[tuple[Media, float]]:
        for number in range(count):
            self.wire.now += making
            yield AudioPause(track=str(number)), 0.02


def test_pieces_that_take_longer_to_make_than_they_last_hold_up_nobody() -> None:
    source = Source(Turns())
    source.pacer.put(source.pieces(10, making=0.05), {})
    for count in range(1, 11):
        assert len(source.sent) == count
        (when, _), *more = source.wire.calls
        # Not before now: what is overdue would be called again in the same turn.
        assert when >= source.wire.now
        assert not more
        source.wire.turn()
    assert source.over


def test_what_the_thread_was_late_for_is_sent_at_once() -> None:
    source = Source(Turns())
    source.pacer.put(source.pieces(10, making=0.0), {})
    source.wire.now = 0.1
    source.wire.turn()
    assert len(source.sent) == 6


def test_all_at_once_is_all_at_once() -> None:
    source = Source(Turns())
    source.pacer.put(source.pieces(10, making=0.05), {"realtime": False})
    assert len(source.sent) == 10
    assert source.over


def test_a_pace_that_nobody_knows_is_refused() -> None:
    source = Source(Turns())
    with pytest.raises(ConfigurationError, match="'wiat', there are realtime"):
        source.pacer.put(source.pieces(1, making=0.0), cast(Any, {"wiat": True}))
    assert not source.sent
