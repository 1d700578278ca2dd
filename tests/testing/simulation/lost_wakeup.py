"""A race that was put in on purpose, and the scenario that can show it.

`put_in` makes the application's wait look first and listen afterwards. What another thread takes
off the link between the two is never noticed. In order to show it the I/O role must answer, and the
other thread take the answer, between two neighbouring instructions.

``python tests/testing/simulation/lost_wakeup.py 1000`` plays the scenario so many times the
ordinary way, with threads, and says how often it showed.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from functools import partial
from typing import TypeVar
from unittest import mock

import numpy as np

import ringroom
from ringroom import AudioFrame
from ringroom.faces.face import Steps
from ringroom.lanes.memory import open_counter
from ringroom.processes.hosts import IOHost, IOThread
from ringroom.processes.machine import MACHINE, Machine
from ringroom.processes.waiting import Deadline
from ringroom.sender import Sender
from ringroom.testing import FakeRoom

T = TypeVar("T")


def finish(self: Sender, steps: Steps[T], limit: Deadline) -> T:
    """As `Sender._finish`, but it listens when it has looked."""
    session, lock = self._connection.session, self._connection.lock
    with contextlib.closing(steps), contextlib.closing(open_counter()) as counter:
        wake = partial(counter.add, 1)
        while True:
            try:
                number = next(steps)
            except StopIteration as over:
                return over.value  # type: ignore[no-any-return]
            if number is None:
                continue
            numbers = (counter.fileno(), session.fileno(), number)
            with lock:
                session.listeners.add(wake)
            woken = self._connection.machine.wait(numbers, limit.remaining())
            with lock:
                session.listeners.discard(wake)
            counter.take()
            if not woken:
                raise limit.expired()


@contextlib.contextmanager
def put_in() -> Iterator[None]:
    with mock.patch.object(Sender, "_finish", finish):
        yield


def scenario(machine: Machine, host: IOHost, room: FakeRoom, pause: float) -> None:
    """One thread flushes, another looks at the counts, once, after a pause. Raises `TimeoutError`
    when a wake-up was lost."""
    with ringroom.transport("fake", room=room, io=host) as transport:

        def look() -> None:
            machine.wait((), pause)
            transport.stats()

        looking = machine.start_thread("looking", look)
        try:
            transport.send_nowait(AudioFrame(np.ones((320, 1), np.int16), 16_000))
            transport.flush(timeout=2)
        finally:
            looking.join()
            transport.close()


def a_pause(seed: int) -> float:
    return random.Random(seed).uniform(0.0, 0.05)


def ordinary_runs(count: int) -> int:
    """How many of so many runs show it."""
    shown = 0
    for seed in range(count):
        with IOThread() as host, FakeRoom() as room:
            try:
                scenario(MACHINE, host, room, a_pause(seed))
            except TimeoutError:
                shown += 1
    return shown


if __name__ == "__main__":
    with put_in():
        runs = int(sys.argv[1])
        print(f"{ordinary_runs(runs)} of {runs} ordinary runs lost a wake-up")
