"""The same way there and back by what else two processes can use: an event loop hands a frame over
at each beat, as the I/O process does, and another process answers it.

Of each way the loop's end gives and watches, and the other end serves until it is given nothing.
`Bare` is no alternative: it is the least that a hop can cost in Python, with no header, ring, count
or second frame on its way.
"""

from __future__ import annotations

import asyncio
import mmap
import multiprocessing
import os
import select
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = 160  # 10 ms at 16 kHz
# When it was handed over, and how old it was at the other end; nanoseconds. Then the sound.
_STAMP = struct.Struct("<qq")
NBYTES = 2 * SAMPLES
GRACE_SECONDS = 0.2
_END = 1 << 32  # more frames than are ever given at once

Heard = Callable[[bytes], None]


class Way(ABC):
    """See the module's docstring. Made before the fork."""

    name = ""

    @abstractmethod
    def give(self, frame: bytes) -> None:
        """At the loop's end; nothing (no bytes) is the end."""

    @abstractmethod
    def watch(self, loop: asyncio.AbstractEventLoop, heard: Heard) -> None:
        """At the loop's end: have it called on the loop with each answer."""

    @abstractmethod
    def serve(self) -> None:
        """At the other end."""

    @abstractmethod
    def close(self) -> None:
        """At the loop's end, which watches no more."""


def _answer(frame: bytes) -> bytes:
    """What a processor does with it: has an array, and gives one back."""
    samples: NDArray[np.int16] = np.frombuffer(frame, np.int16).copy()
    now = time.monotonic_ns()
    sent, _ = _STAMP.unpack_from(frame)
    _STAMP.pack_into(samples.data.cast("B"), 0, sent, now - sent)
    return samples.tobytes()


class Bare(Way):
    """A place for one frame in shared memory in each direction, and an eventfd beside it."""

    name = "bare eventfd"

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 2 * NBYTES)
        self._there, self._back = (os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2))
        self._loop: asyncio.AbstractEventLoop | None = None

    def give(self, frame: bytes) -> None:
        self._memory[:NBYTES] = frame or bytes(NBYTES)
        os.eventfd_write(self._there, 1 if frame else _END)

    def watch(self, loop: asyncio.AbstractEventLoop, heard: Heard) -> None:
        def readable() -> None:
            os.eventfd_read(self._back)
            heard(self._memory[NBYTES:])

        self._loop = loop
        loop.add_reader(self._back, readable)

    def serve(self) -> None:
        poller = select.poll()
        poller.register(self._there, select.POLLIN)
        while poller.poll() and os.eventfd_read(self._there) < _END:
            self._memory[NBYTES:] = _answer(self._memory[:NBYTES])
            os.eventfd_write(self._back, 1)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._back)
        os.close(self._there)
        os.close(self._back)
        self._memory.close()


class Pipe(Way):
    """`multiprocessing.Pipe`, both ways."""

    name = "multiprocessing Pipe"

    def __init__(self) -> None:
        self._ours, self._theirs = multiprocessing.Pipe()
        self._loop: asyncio.AbstractEventLoop | None = None

    def give(self, frame: bytes) -> None:
        self._ours.send_bytes(frame)

    def watch(self, loop: asyncio.AbstractEventLoop, heard: Heard) -> None:
        self._loop = loop
        loop.add_reader(self._ours.fileno(), lambda: heard(self._ours.recv_bytes()))

    def serve(self) -> None:
        while frame := self._theirs.recv_bytes():
            self._theirs.send_bytes(_answer(frame))

    def close(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._ours.fileno())
        self._ours.close()
        self._theirs.close()


class Queue(Way):
    """Two of `multiprocessing.Queue`. A loop cannot watch one: a thread waits for the answers."""

    name = "multiprocessing Queue"

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._there: Any = context.Queue()
        self._back: Any = context.Queue()
        self._thread: threading.Thread | None = None

    def give(self, frame: bytes) -> None:
        self._there.put(frame)

    def watch(self, loop: asyncio.AbstractEventLoop, heard: Heard) -> None:
        def wait() -> None:
            while frame := self._back.get():
                loop.call_soon_threadsafe(heard, frame)

        self._thread = threading.Thread(target=wait)
        self._thread.start()

    def serve(self) -> None:
        while frame := self._there.get():
            self._back.put(_answer(frame))
        self._back.put(b"")
        self._back.close()
        self._back.join_thread()

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join()
        for queue in (self._there, self._back):
            queue.close()
            queue.join_thread()


WAYS: tuple[type[Way], ...] = (Bare, Pipe, Queue)


def there_and_back(made: type[Way], frames: int, beat: float) -> NDArray[np.int64]:
    """Pairs of echo and hop, in nanoseconds: one frame every ``beat`` seconds."""
    way = made()
    found: list[tuple[int, int]] = []

    def heard(frame: bytes) -> None:
        now = time.monotonic_ns()
        sent, hop = _STAMP.unpack_from(frame)
        found.append((now - sent, hop))

    async def give() -> None:
        way.watch(asyncio.get_running_loop(), heard)
        start = time.monotonic()
        for number in range(frames):
            await asyncio.sleep(start + number * beat - time.monotonic())
            frame = bytearray(NBYTES)
            _STAMP.pack_into(frame, 0, time.monotonic_ns(), 0)
            way.give(bytes(frame))
        await asyncio.sleep(GRACE_SECONDS)  # the last answers are still on their way
        way.give(b"")

    other = multiprocessing.get_context("fork").Process(target=way.serve)
    other.start()
    try:
        asyncio.run(give())
    finally:
        way.close()
        other.join()
    return np.array(found, np.int64).reshape(-1, 2)
