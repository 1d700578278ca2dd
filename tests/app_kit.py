"""What the tests of the application's faces share: waits with a deadline, calls on threads."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Generic, TypeVar

import numpy as np
import pytest
from multiprocess import resource_tracker

import ringroom
from ringroom.checks import Samples
from ringroom.client import Transport
from ringroom.frames import AudioFrame
from ringroom.providers.fake.connection import FakeProvider
from ringroom.testing import FakeRoom, Microphone, sources
from ringroom.testing.simulation.laws import check_counts

T = TypeVar("T")
PATIENCE = 10.0
RATE = 16_000


def until(condition: Callable[[], T], what: str = "the condition", timeout: float = PATIENCE) -> T:
    """The first true value of the condition."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {timeout} s for {what}"
        time.sleep(0.002)
    return value


class Call(Generic[T]):
    """A call on a thread of its own; `result` gives what it returned, or raises what it raised."""

    def __init__(self, function: Callable[..., T], *arguments: Any, **options: Any) -> None:
        self._outcome: list[T] = []
        self._error: list[BaseException] = []

        def run() -> None:
            try:
                self._outcome.append(function(*arguments, **options))
            except BaseException as error:  # noqa: BLE001 (raised again by `result`)
                self._error.append(error)

        self._thread = threading.Thread(target=run, name="call", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def result(self, timeout: float = PATIENCE) -> T:
        self._thread.join(timeout)
        assert self.over, f"the call has not come back within {timeout} s"
        if self._error:
            raise self._error[0]
        return self._outcome[0]


def interrupted(call: Callable[[], object], moment: int, *modules: ModuleType) -> bool:
    """Whether the call was interrupted as by Ctrl-C, at that one of the moments at which Python
    looks for it while it is in these modules: as a function begins, and as one of C has returned;
    if there are so many."""
    files = {module.__file__ for module in modules}
    left = moment

    def look(frame: FrameType, what: str, _: object) -> None:
        nonlocal left
        code = frame.f_code
        # What is raised in a finalizer goes nowhere.
        counts = code.co_filename in files and code.co_name != "__del__"
        left -= counts and what in ("call", "c_return")
        if not left:
            sys.setprofile(None)
            raise KeyboardInterrupt

    before = sys.getprofile()
    gc.disable()  # what garbage has to do at its end is none of the call's moments
    try:
        sys.setprofile(look)
        kept = call()  # what it returned does not go while moments are counted
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(before)
        gc.enable()
    del kept
    return False


NEVER_AGAIN = ringroom.Reconnect(retries=0)
"""The first loss that the provider does not heal is the end."""


def published_late(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Tracks are published on the fake once it is set."""
    gate, publish = threading.Event(), FakeProvider.publish

    async def late(provider: FakeProvider, *arguments: Any) -> Any:
        await asyncio.to_thread(gate.wait, 60)
        return await publish(provider, *arguments)

    monkeypatch.setattr(FakeProvider, "publish", late)
    return gate


@contextlib.contextmanager
def opened(room: FakeRoom, **options: Any) -> Iterator[Transport]:
    """A transport that nothing is too old for, closed at the end without playing out."""
    options = {"io": "thread", "max_age": 20.0, **options}
    transport = ringroom.transport("fake", room=room, **options)
    try:
        yield transport
    finally:
        transport.close()


def noise(seconds: float, seed: int = 0, channels: int = 1, rate: int = RATE) -> Samples:
    return sources.noise(seconds, rate, channels, seed=seed)


def sound(seconds: float, seed: int = 0, *, track: Any = None, rate: int = RATE) -> AudioFrame:
    return AudioFrame(noise(seconds, seed, rate=rate), rate, track=track)


def microphone(room: FakeRoom, identity: str = "alice", name: str = "mic") -> Microphone:
    return room.join(identity).publish_audio(name, sample_rate=RATE)


def say(mic: Microphone, seconds: float = 0.1, seed: int = 0) -> Samples:
    """Speak at once; what was spoken."""
    spoken = noise(seconds, seed)
    mic.speak(spoken, realtime=False)
    return spoken


def take(receiver: Any, samples: int) -> Samples:
    """Receive that many samples of audio."""
    parts: list[Samples] = []
    while sum(map(len, parts)) < samples:
        parts.append(next(receiver).samples)
    return np.concatenate(parts)


def same(left: Any, right: Any) -> bool:
    return bool(np.array_equal(left, right))


def said(room: FakeRoom, seconds: float, track: str | None = None) -> Samples:
    """What was heard on the track, once it is that much. What is as good as played when a wait for
    the playout comes back may still be on its way to the room."""
    return room.wait_for_audio(track, seconds, timeout=PATIENCE).samples


def children() -> set[int]:
    """The pids of this process's children, whichever thread started them."""
    found: set[int] = set()
    for listed in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended has handed its children on
            found.update(map(int, listed.read_text().split()))
    return found


def descriptors() -> int:
    """How many are open, without those of garbage (a session that ended may wait for the
    collector), and without the one to the tracker, which the first child of all starts."""
    gc.collect()
    tracker = resource_tracker._resource_tracker._fd
    return len(os.listdir("/proc/self/fd")) - (tracker is not None)


def leaves_late(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """From now on a fake room is left once the event is set."""
    gate, close = threading.Event(), FakeProvider.close

    async def late(provider: FakeProvider) -> None:
        await asyncio.to_thread(gate.wait, 60)
        await close(provider)

    monkeypatch.setattr(FakeProvider, "close", late)
    return gate


@contextlib.contextmanager
def standard_error(fd: int) -> Iterator[None]:
    """What is written to standard error goes to the descriptor, which this takes over."""
    before = os.dup(2)
    os.dup2(fd, 2)
    os.close(fd)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def check_law(transport: Any) -> None:
    """The law of conservation holds for each lane now, whoever counts meanwhile."""
    check_counts(transport.stats().lanes)
