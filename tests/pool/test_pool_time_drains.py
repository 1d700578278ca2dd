"""Pools in virtual time: what a drain plays out, handles and waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pool_time_kit
import pytest
from pool_time_kit import NOBODY, Sleeps, Talks, pieces, running

import processors_kit as kit
from app_kit import RATE, check_law
from ringroom.events import TrackInfo
from ringroom.frames import AudioFrame
from ringroom.processes.worker.worker import Worker
from ringroom.processor import Processor
from ringroom.testing import FakeRoom
from ringroom.testing.virtual import VirtualClock

clock = pool_time_kit.clock
room = pool_time_kit.room


class Bye(Processor):
    """Answers nothing but the end of a track, with two seconds."""

    def close(self, track: TrackInfo) -> AudioFrame:
        return AudioFrame(np.full(2 * RATE, 1_000, np.int16), RATE)


def test_a_drain_plays_out_the_answer_to_a_track_that_has_ended_before(
    clock: VirtualClock, room: FakeRoom
) -> None:
    ann = room.join("ann")
    mic = ann.publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Bye, drain_timeout=30.0) as pool:
        mic.wait_for_subscriber()
        ann.leave()
        clock.sleep(0.3)
        pool.drain()
        assert room.heard("ann/mic").duration == pytest.approx(2.0)
    assert pool.stats().sent.lost == 0


def test_a_drain_waits_for_no_answer_that_has_been_played(
    clock: VirtualClock, room: FakeRoom
) -> None:
    ann = room.join("ann")
    mic = ann.publish_audio("mic", sample_rate=RATE)
    with running(clock, room, kit.Echo, drain_timeout=30.0) as pool:
        mic.wait_for_subscriber()
        mic.tone(440, seconds=0.2, wait=True)
        clock.sleep(1.0)
        ann.leave()
        clock.sleep(1.0)
        began = clock.now()
        pool.drain()
        assert clock.now() - began < 1.0


class Longer(Processor):
    """Answers each frame with a second."""

    def process(self, frame: AudioFrame) -> AudioFrame:
        return AudioFrame(np.full(RATE, 1_000, np.int16), RATE)


def test_a_drain_handles_what_a_full_track_holds_up_and_waits_without_turning(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    before = Worker._wait

    def wait(worker: Worker, seconds: float | None = None) -> bool:
        waits.append(clock.now())
        assert waits.count(clock.now()) < 100, "it does not wait"
        return before(worker, seconds)

    monkeypatch.setattr(Worker, "_wait", wait)
    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Longer, drain_timeout=60.0) as pool:
        mic.wait_for_subscriber()
        mic.speak(pieces(8), realtime=False)
        clock.sleep(0.5)
        pool.drain()
        assert room.heard("ann/mic").duration == pytest.approx(8.0)
        received = pool.stats().received
        assert (received.sent, received.done) == (8, 8)
    check_law(pool)


def test_a_drain_waits_for_what_a_dead_worker_has_left(clock: VirtualClock, room: FakeRoom) -> None:
    """The next one has its place, and does not know yet what waits there."""
    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Sleeps, spares=1, drain_timeout=30.0) as pool:
        mic.wait_for_subscriber()
        clock.sleep(3.0)
        mic.speak(np.concatenate([pieces(1), pieces(3, value=1)]), realtime=False)
        clock.sleep(0.1)
        clock.freeze("ringroom-io", 1.0)
        clock.kill("ringroom-worker-0")
        clock.sleep(0.1)
        pool.drain()
    received = pool.stats().received
    assert (received.sent, received.done, received.lost) == (4, 3, 1)


def test_who_takes_a_place_in_a_room_that_is_over_is_told(
    clock: VirtualClock, room: FakeRoom
) -> None:
    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Talks, spares=1, drain_timeout=30.0) as pool:
        mic.wait_for_subscriber()
        clock.sleep(3.0)
        clock.freeze("ringroom-worker-0", 60.0)
        clock.freeze("ringroom-pool", 1.0)
        mic.speak(pieces(2), realtime=False)
        clock.sleep(0.1)
        clock.kill("ringroom-worker-0")
        room.close_room()
        assert pool.wait(10.0) == "room closed"
        began = clock.now()
        pool.drain()
        assert clock.now() - began < 1.0
    received = pool.stats().received
    assert (received.sent, received.done) == (2, 2)


class Loads(Processor):
    """Takes a minute to start, but for the first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, context: Any) -> None:
        with self.path.open("a") as starts:
            starts.write("start\n")
        if self.path.read_text() != "start\n":
            context._answering.machine.sleep(60.0)


@pytest.mark.parametrize("drains", [False, True], ids=["close", "drain"])
def test_closing_does_not_wait_for_a_spare_that_starts(
    clock: VirtualClock, room: FakeRoom, tmp_path: Path, drains: bool
) -> None:
    starts = tmp_path / "starts"
    with running(clock, room, Loads(starts), spares=1, drain_timeout=30.0) as pool:
        clock.sleep(5.0)
        assert (starts.read_text().count("start"), pool.spares) == (2, 0)
        began = clock.now()
        (pool.drain if drains else pool.close)()
        assert clock.now() - began < 1.0
    assert set(clock.roles) <= NOBODY
