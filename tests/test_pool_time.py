"""Pools in virtual time: what takes long, and what happens at the same moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import processors_kit as kit
from app_kit import RATE, check_law, sound
from ringroom.frames import AudioFrame, Event, EventKind
from ringroom.pool import Pool
from ringroom.processor import Problem, Processor
from ringroom.testing import FakeRoom
from ringroom.testing.virtual import VirtualClock


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock(limit=3_600.0) as clock:
        yield clock


@pytest.fixture
def room(clock: VirtualClock) -> Iterator[FakeRoom]:
    with FakeRoom(clock=clock) as room:
        yield room


@contextlib.contextmanager
def running(clock: VirtualClock, room: FakeRoom, processor: Any, **options: Any) -> Iterator[Pool]:
    options = {"max_age": 60.0, "workers": 1, "spares": 0, "standby": False, **options}
    with Pool(processor, "fake", room=room, io=clock.io, **options) as pool:
        yield pool


def pieces(count: int, value: int = 5) -> Any:
    """So many frames of 20 ms, all of that value."""
    return np.full(count * RATE // 50, value, np.int16)


class Sleeps(Processor):
    """Takes a minute for a frame of the value 5."""

    def start(self, context: Any) -> None:
        self.clock = context._worker.machine

    def process(self, frame: AudioFrame) -> None:
        if frame.samples[0, 0] == 5:
            self.clock.sleep(60.0)


def test_who_is_stuck_is_told_though_the_track_speaks_on_and_its_ring_is_full(
    clock: VirtualClock, room: FakeRoom
) -> None:
    problems: list[tuple[float, Problem]] = []
    options = {"max_age": 0.2, "stuck_after": 5.0}
    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)

    def tell(problem: Problem) -> None:
        problems.append((clock.now(), problem))

    with running(clock, room, Sleeps, on_error=tell, **options) as pool:
        mic.wait_for_subscriber()
        began = clock.now()
        mic.speak(pieces(1), realtime=False)
        mic.tone(440, seconds=20, wait=True)
        assert pool.stats().received.dropped_full
        ((when, problem),) = problems
        assert problem.where == "stuck"
        assert when - began == pytest.approx(5.0, abs=1.0)
