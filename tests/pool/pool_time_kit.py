"""What the tests of pools in virtual time share: the clock and its room, and processors that take
long."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from app_kit import RATE
from ringroom.frames import AudioFrame
from ringroom.pool import Pool
from ringroom.processor import Processor
from ringroom.testing import FakeRoom
from ringroom.testing.virtual import VirtualClock

NOBODY = {"test", "fake room room", "ringroom-io"}
"""Who may be there without a pool: the I/O role is the clock's."""


# A test module takes these by assignment: ruff takes a fixture that is imported for unused.
@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock(limit=3_600.0) as clock:
        yield clock


@pytest.fixture
def room(clock: VirtualClock) -> Iterator[FakeRoom]:
    with FakeRoom(clock=clock) as room:
        yield room


def made(clock: VirtualClock, room: FakeRoom, processor: Any, **options: Any) -> Pool:
    """A pool that was not started."""
    options = {"max_age": 60.0, "workers": 1, "spares": 0, "standby": False, **options}
    return Pool(processor, "fake", room=room, io=clock.io, **options)


@contextlib.contextmanager
def running(clock: VirtualClock, room: FakeRoom, processor: Any, **options: Any) -> Iterator[Pool]:
    with made(clock, room, processor, **options) as pool:
        yield pool


def pieces(count: int, value: int = 5) -> Any:
    """So many frames of 20 ms, all of that value."""
    return np.full(count * RATE // 50, value, np.int16)


class Sleeps(Processor):
    """Takes a minute for a frame of the value 5."""

    def start(self, context: Any) -> None:
        self.clock = context._answering.machine

    def process(self, frame: AudioFrame) -> None:
        if frame.samples[0, 0] == 5:
            self.clock.sleep(60.0)


class Talks(Processor):
    """Answers each frame with a minute."""

    def process(self, frame: AudioFrame) -> AudioFrame:
        return AudioFrame(np.full(60 * RATE, 1_000, np.int16), RATE)
