"""What the tests of the I/O role share: a loop with a deadline, and a provider that they play."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import selectors
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from ringroom.dtmf import DtmfFrame
from ringroom.events import Kind, Participant, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, DataTrackFrame, MediaFrame, TextFrame
from ringroom.lanes.lane import LaneDescriptors
from ringroom.options import PublishOptions, SessionOptions
from ringroom.providers.provider import (
    Joined,
    OutgoingTrack,
    Playout,
    Profile,
    Provider,
    Sink,
    TextWriter,
)

DEADLINE = 20.0
RATE = 16_000
ANN = Participant(identity="ann", sid="P1", metadata="first")
MIC = TrackInfo(sid="T1", name="mic", kind=Kind.AUDIO, participant="ann")
CAMERA = TrackInfo(sid="T2", name="camera", kind=Kind.VIDEO, participant="ann")
LIDAR = TrackInfo(sid="T3", name="lidar", kind=Kind.DATA_TRACK, participant="ann")
REPLY = OutgoingTrack(
    name="reply", kind=Kind.AUDIO, options=PublishOptions(), sample_rate=RATE, channels=1
)


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(3 * DEADLINE):
            await test

    asyncio.run(bounded())


async def until(condition: Callable[[], Any]) -> Any:
    """The first true value of the condition; the loop does its work meanwhile."""
    async with asyncio.timeout(DEADLINE):
        while not (value := condition()):
            await asyncio.sleep(0)
        return value


async def turns(count: int = 20) -> None:
    """What is due on the loop happens; descriptors that are readable are served."""
    for _ in range(count):
        await asyncio.sleep(0)


def watched(fd: int) -> int:
    """What the loop waits for on the descriptor: 1 to read, 2 to write."""
    found = asyncio.get_running_loop()._selector.get_map().get(fd)  # type: ignore[attr-defined]
    return 0 if found is None else int(found.events)


@contextlib.contextmanager
def no_more_watched() -> Iterator[None]:
    """The loop may watch no descriptor more (fs.epoll.max_user_watches)."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(selectors.DefaultSelector, "register", full)
        yield


def duplicate(descriptors: LaneDescriptors) -> LaneDescriptors:
    """What arrives at the other process when the descriptors were passed."""
    return LaneDescriptors.from_flat(tuple(os.dup(fd) for fd in descriptors.flat()))


def sound(value: int, samples: int = 320) -> AudioFrame:
    """Sound that is known by its value; 20 ms of it."""
    return AudioFrame(np.full(samples, value, np.int16), RATE)


class Source(Playout):
    """A provider's source. It takes a frame for each step that it is given, or any when `free`,
    and plays nothing by itself: what is `waiting` waits until the test says otherwise."""

    def __init__(self, *, free: bool = True) -> None:
        self.free = free
        self.values: list[int] = []
        self.lengths: list[int] = []
        self.waiting = 0.0
        self.looks = 0
        self.closes = 0
        self.offered = 0
        self.refuses = False
        self._steps = 0

    def step(self, count: int = 1) -> None:
        self._steps += count

    async def play(self, frame: MediaFrame) -> None:
        self.offered += 1
        while not (self.free or self._steps):
            await asyncio.sleep(0)
        self._steps -= 1
        if self.refuses:
            raise ValueError("it does not like the sound")
        if isinstance(frame, DataTrackFrame):
            self.values.append(frame.payload[0])
            return
        assert isinstance(frame, AudioFrame)
        self.values.append(int(frame.samples[0, 0]))
        self.lengths.append(len(frame.samples))
        self.waiting += frame.duration

    def queued(self) -> float:
        self.looks += 1
        return self.waiting

    def clear(self) -> float:
        seconds, self.waiting = self.waiting, 0.0
        return seconds

    async def close(self) -> None:
        self.closes += 1


class Written(TextWriter):
    """A text that is being written; ``refuses`` is raised by what comes, and it never comes back
    from what ``hangs``."""

    def __init__(self, beginning: TextFrame) -> None:
        self.beginning = beginning
        self.pieces: list[str] = []
        self.ended: str | None = None
        self.last: Mapping[str, str] | None = None
        self.refuses: Exception | None = None
        self.hangs = False

    async def write(self, text: str) -> None:
        await self._come()
        self.pieces.append(text)

    async def close(self, reason: str = "", attributes: Mapping[str, str] | None = None) -> None:
        await self._come()
        assert self.ended is None
        self.ended, self.last = reason, attributes

    async def _come(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.refuses is not None:
            raise self.refuses


class Outside(Provider):
    """A provider whose source the test plays."""

    def __init__(self, source: Source | None = None) -> None:
        self.source = source or Source()
        self.sources: list[Source] = []
        self.sent: list[bytes] = []
        self.texts: list[str] = []
        self.written: list[Written] = []
        self.digits = ""
        self.connects = asyncio.Event()
        self.connects.set()
        self.publishes = asyncio.Event()
        self.publishes.set()
        self.refuses: Exception | None = None
        self.profiles: list[Profile] = []
        self.settles = asyncio.Event()
        self.settles.set()
        self.closes = 0
        self.sink: Sink | None = None

    async def connect(self, sink: Sink, options: SessionOptions) -> Joined:
        self.sink = sink
        await self.connects.wait()
        return Joined(room="room", identity="us")

    async def set_profile(self, change: Profile) -> None:
        self.profiles.append(change)
        await self.settles.wait()
        if self.refuses is not None:
            raise self.refuses

    async def publish(self, track: OutgoingTrack) -> Playout:
        await self.publishes.wait()
        if self.refuses is not None:
            raise self.refuses
        self.sources.append(self.source)
        return self.source

    async def send_data(self, frame: DataFrame) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.sent.append(frame.payload)

    async def send_text(self, frame: TextFrame) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.texts.append(frame.text)

    async def open_text(self, beginning: TextFrame) -> TextWriter:
        if self.refuses is not None:
            raise self.refuses
        self.written.append(text := Written(beginning))
        return text

    async def send_dtmf(self, frame: DtmfFrame) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.digits += frame.digit

    async def close(self) -> None:
        self.closes += 1
