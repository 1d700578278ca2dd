"""What every contender does: take orders, work on frames, and tell when it began with each.

The orders are JSON in RINGROOM_BENCH_ORDERS (an agent's job is not started by us, and inherits
nothing else). The answer is a file. Only the standard library and numpy are to be had everywhere.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VARIABLE = "RINGROOM_BENCH_ORDERS"
RATE = 48_000  # of the tone
FRAME_SECONDS = 0.02
FREQUENCY = 440.0


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a contender is told."""

    url: str
    token: str
    room: str
    key: str
    secret: str
    identity: str
    tracks: int
    """How many tracks there will be; the measurement begins when all of them are heard."""
    work_ms: float
    """Milliseconds of Python for each 20 ms of sound."""
    seconds: float
    answer: str
    """The file to write at the end; with ``.ready`` behind it, as soon as one is connected."""


def orders() -> Orders:
    return Orders(**json.loads(os.environ[VARIABLE]))


def burn(milliseconds: float) -> None:
    """That much computing in Python: time on the processor and not on the clock, so that two
    threads or processes that share a core do not count one moment twice."""
    end = time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        pass


def tone() -> list[NDArray[np.int16]]:
    """A second of it in frames; repeated, it has no seams."""
    wave = 9000 * np.sin(2 * np.pi * FREQUENCY * np.arange(RATE) / RATE)
    return list(wave.astype(np.int16).reshape(-1, round(RATE * FRAME_SECONDS)))


def ready(given: Orders) -> None:
    Path(given.answer + ".ready").touch()


class Stage:
    """Counts tracks in, keeps time, and writes the answer. ``on_begin`` is called by whoever
    reports the last track; ``finish`` on a thread when the time is up, and what it returns goes
    into the answer. The process then ends, in whatever state the application is."""

    def __init__(
        self, given: Orders, on_begin: Callable[[], None], finish: Callable[[], dict[str, Any]]
    ) -> None:
        self.orders = given
        self.notes: list[tuple[str, float, float]] = []
        self.work_ms = 0.0
        """None, until the measurement begins: who joins first does not pile up a delay."""
        self._on_begin = on_begin
        self._finish = finish
        self._heard: set[str] = set()
        self._lock = threading.Lock()

    def heard(self, track: str) -> None:
        """A frame of that track is there."""
        if track in self._heard:
            return
        with self._lock:
            self._heard.add(track)
            if len(self._heard) != self.orders.tracks:
                return
        self.work_ms = self.orders.work_ms
        threading.Thread(target=self._keep_time, daemon=True).start()
        self._on_begin()

    def note(self, track: str, position: float, began: float) -> None:
        """Work on the frame at that position (seconds into the track) began then."""
        self.notes.append((track, position, began))

    def work(self, track: str, position: float, seconds: float = FRAME_SECONDS) -> None:
        """Do it here and now."""
        self.note(track, position, time.monotonic())
        burn(self.work_ms * seconds / FRAME_SECONDS)

    def _keep_time(self) -> None:
        began = time.monotonic()
        time.sleep(self.orders.seconds)
        ended = time.monotonic()
        answer = {"began": began, "ended": ended, "dropped": 0, "notes": self.notes}
        answer |= self._finish()
        path = Path(self.orders.answer)
        path.with_suffix(".new").write_text(json.dumps(answer))
        path.with_suffix(".new").rename(path)
        os._exit(0)


def nothing() -> dict[str, Any]:
    """For `Stage`: nothing to add."""
    return {}
