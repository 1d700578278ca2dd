"""ringroom: a pool of two workers, and the tone sent by the application."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import ringroom
from bench.contenders.stage import FRAME_SECONDS, RATE, Orders, Stage, burn, orders, ready, tone
from bench.pulse import Pulse
from ringroom.events import TrackInfo
from ringroom.frames import Frame
from ringroom.providers.provider import ProviderSpec

WORKERS = 2


class Work(ringroom.Processor):
    """The work, in a worker. What it noted lies in a file of its own at the end."""

    def __init__(self, work_ms: float, folder: str) -> None:
        self._work_ms = work_ms
        self._folder = folder
        self._notes: list[tuple[str, float, float, float]] = []
        self._heard: set[str] = set()

    def start(self, context: ringroom.Context) -> None:
        self._context = context

    def process(self, frame: Frame) -> None:
        assert isinstance(frame, ringroom.AudioFrame)
        assert isinstance(frame.track, TrackInfo)
        now = time.monotonic()
        position, age = frame.sequence * FRAME_SECONDS, now - frame.received_ns / 1e9
        who = frame.track.participant
        if who not in self._heard:
            self._heard.add(who)
            (Path(self._folder) / f"heard-{who}").touch()
        self._notes.append((who, position, now, age))
        burn(self._work_ms)

    def stop(self) -> None:
        path = Path(self._folder) / f"notes-{self._context.worker}.json"
        path.write_text(json.dumps(self._notes))


def main() -> None:
    given = orders()
    begun = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        pool = ringroom.Pool(Work(given.work_ms, folder), _provider(given), workers=WORKERS)

        before = 0

        def begin() -> None:
            nonlocal before
            before = pool.stats().received.dropped
            begun.set()

        def finish() -> dict[str, Any]:
            dropped = pool.stats().received.dropped - before
            pool.drain()
            files = Path(folder).glob("notes-*.json")
            notes = [note for file in files for note in json.loads(file.read_text())]
            ages = [age for _, _, _, age in notes]
            return {"notes": [note[:3] for note in notes], "dropped": dropped, "ages": ages}

        with pool:
            stage = Stage(given, begin, finish)
            ready(given)
            while not begun.is_set():
                for path in Path(folder).glob("heard-*"):
                    stage.heard(path.name)
                time.sleep(0.01)
            _play(pool)


def _provider(given: Orders) -> ProviderSpec:
    if not given.url:  # no server: only to see that the benchmark works
        return Pulse(tracks=given.tracks)
    return ringroom.LiveKit(url=given.url, token=given.token, room=given.room)


def _play(pool: ringroom.Pool) -> None:
    frames = [ringroom.AudioFrame(piece, RATE, 1, track="voice") for piece in tone()]
    try:
        while True:
            for frame in frames:
                pool.send(frame)
    except ringroom.ClosedError:
        time.sleep(60)  # the answer is being written


if __name__ == "__main__":
    main()
