"""Faults of processes: what the application sees, and that everything is as before afterwards."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import processors_kit as kit
import ringroom
from app_kit import NEVER_AGAIN, PATIENCE, RATE, Call, check_law, microphone, opened, sound, until
from ringroom import AudioFrame, Processor
from ringroom.client import Receiver
from ringroom.errors import ConfigurationError, LostProcessError, StartupError
from ringroom.events import EventKind
from ringroom.pool import Pool
from ringroom.processor import Problem
from ringroom.testing import DeadlinePassed, FakeRoom, faults


@contextmanager
def pooled(room: FakeRoom, processor: Any, **options: Any) -> Iterator[Pool]:
    # Without a replacement, so that it is seen what the fault itself does.
    options = {"workers": 1, "io": "thread", "spares": 0, "restarts": 0, **options}
    with Pool(processor, "fake", room=room, **options) as pool:
        yield pool
    check_law(pool)


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", "print(flush=True); input()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        # Limits would hit an interpreter that still starts.
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        yield process
        process.kill()


def limits(pid: int = 0) -> list[tuple[int, int]]:
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)
    return [resource.prlimit(pid, kind) for kind in kinds]


def ones(pieces: int = 1) -> Any:
    return np.full(320 * pieces, 1, np.int16)


class Hungry(Processor):
    """Needs much memory for each frame."""

    def process(self, frame: AudioFrame) -> AudioFrame:
        np.empty(256 << 20, np.uint8)
        return frame


class Thoughtful(Processor):
    """Takes its time for each frame."""

    def process(self, frame: AudioFrame) -> None:
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            pass


# Who is named.


def test_what_is_no_process(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        assert transport.io_pid is None
        with pytest.raises(ConfigurationError, match="no process of its own"):
            faults.killed(transport.io_pid)
    for nobody in (0, -1, "1", object()):
        with pytest.raises(ConfigurationError), faults.frozen(nobody):  # type: ignore[arg-type]
            pass


def test_the_numbers_of_a_pool(fake_room: FakeRoom) -> None:
    pool = Pool(kit.echo, "fake", room=fake_room, workers=2)
    assert pool.pids == ()
    assert pool.io_pid is None
    with pool:
        assert pool.io_pid is not None
        assert len({*pool.pids, pool.io_pid, os.getpid()}) == 4
    assert pool.pids == ()
    assert pool.io_pid is None


def test_everything_is_restored_also_by_an_exception() -> None:
    before = limits()
    with sleeper() as process:
        its_own = limits(process.pid)
        blocks = [
            lambda: faults.frozen(process),
            lambda: faults.out_of_memory(process),
            lambda: faults.segments_refused(process),
            lambda: faults.descriptors_exhausted(process),
            faults.segments_refused,
            faults.descriptors_exhausted,
        ]
        for block in blocks:
            with pytest.raises(ZeroDivisionError), block():
                raise ZeroDivisionError
            assert limits() == before
            assert limits(process.pid) == its_own
        with faults.frozen(process), faults.frozen(process):
            pass
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.wait(PATIENCE) == 0


def test_a_process_that_dies_in_the_block_is_no_error() -> None:
    with (
        sleeper() as process,
        faults.frozen(process),
        faults.out_of_memory(process),
        faults.descriptors_exhausted(process),
    ):
        faults.killed(process)
        process.wait(PATIENCE)


def test_a_signal_that_does_not_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    with sleeper() as process:
        monkeypatch.setattr(faults, "DEATH_PATIENCE", 0.01)
        with pytest.raises(DeadlinePassed, match="the death of process"):
            faults.killed(process, 0)
        monkeypatch.undo()


# The I/O process.


def test_a_frozen_io_process(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room, io="process") as transport:
        mic.wait_for_subscriber()
        frames = transport.recv(timeout=0.05)
        with faults.frozen(transport.io_pid):
            mic.speak(ones(), realtime=False)
            with pytest.raises(TimeoutError):
                next(frames)
            # What is sent waits in its lane: nobody waits for a process that stands still.
            transport.send_nowait(sound(0.1, track="voice"))
            stats = transport.stats()
            assert (stats.received.sent, stats.sent.in_flight) == (0, 1)
            assert not fake_room.application.tracks
        frames.close()
        assert set(next(transport.recv(timeout=PATIENCE)).samples.ravel()) == {1}
        assert fake_room.wait_for_audio("voice", 0.1, timeout=PATIENCE).duration == 0.1
    check_law(transport)


def test_a_killed_io_process(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process", reconnect=NEVER_AGAIN) as transport:
        waiting = Call(next, transport.recv())
        faults.killed(transport.io_pid)
        with pytest.raises(LostProcessError, match=r"process died \(killed by signal 9, .*memory"):
            waiting.result()
    check_law(transport)
    fake_room.wait_for_app_gone()


# Workers.


def test_a_frozen_worker_and_its_stale_frames(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with pooled(fake_room, kit.echo, max_age=1.0) as pool:
        mic.wait_for_subscriber()
        mic.speak(ones(), realtime=False)
        fake_room.wait_for_audio("alice/mic", 0.02)
        with faults.frozen(pool.pids[0]):
            mic.speak(ones(5), realtime=False)
            until(lambda: pool.stats().received.sent == 6)
            came_ns = time.monotonic_ns()  # at the latest
            until(lambda: time.monotonic_ns() > came_ns + 1_100_000_000)
        # It is not dead: it goes on, without what has become too old.
        until(lambda: pool.stats().received.dropped_stale == 5)
        mic.speak(ones(), realtime=False)
        fake_room.wait_for_audio("alice/mic", 0.04)
        assert pool.stats().received.oldest_ns <= 1_000_000_000


def test_a_killed_worker(fake_room: FakeRoom) -> None:
    with pooled(fake_room, kit.echo, workers=2) as pool:
        faults.killed(pool.pids[1])
        with pytest.raises(LostProcessError, match="worker 1 was killed by signal 9"):
            pool.wait(PATIENCE)


def test_a_worker_killed_in_the_middle_of_a_frame(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with pooled(fake_room, Thoughtful, max_age=20.0) as pool:
        mic.wait_for_subscriber()
        mic.speak(ones(20), realtime=False)
        faults.killed_in_the_middle_of_a_frame(pool)
        with pytest.raises(LostProcessError, match="worker 0 was killed by signal 9"):
            pool.wait(PATIENCE)
    counts = pool.stats().received
    assert counts.in_flight == 0
    assert counts.taken == counts.done + 1, "one was taken and not done"
    assert counts.lost == counts.sent - counts.done, "it is lost with what was not taken"


def test_a_worker_that_is_never_in_a_frame(fake_room: FakeRoom) -> None:
    with (
        pooled(fake_room, kit.echo) as pool,
        pytest.raises(DeadlinePassed, match="worker 0 to be in the middle of a frame"),
    ):
        faults.killed_in_the_middle_of_a_frame(pool, timeout=0.01)


def test_a_worker_out_of_memory(fake_room: FakeRoom) -> None:
    problems: list[Problem] = []
    mic = microphone(fake_room)
    with pooled(fake_room, Hungry, on_error=problems.append, max_age=20.0) as pool:
        mic.wait_for_subscriber()
        with faults.out_of_memory(pool.pids[0]):
            mic.speak(ones(), realtime=False)
            until(lambda: problems)
        assert "MemoryError" in problems[0].summary
        # The frame was skipped, and the track goes on.
        mic.speak(ones(), realtime=False)
        fake_room.wait_for_audio("alice/mic", 0.02, timeout=PATIENCE)


# Segments and descriptors.


@pytest.mark.parametrize("fault", [faults.segments_refused, faults.descriptors_exhausted])
def test_no_transport_without_what_it_needs(fake_room: FakeRoom, fault: Any) -> None:
    with fault(), pytest.raises(StartupError, match=r"memory|descriptors"):
        ringroom.transport("fake", room=fake_room, io="thread")
    with opened(fake_room):
        fake_room.wait_for_app()


@pytest.mark.parametrize("fault", [faults.segments_refused, faults.descriptors_exhausted])
def test_a_new_track_when_nothing_is_left(fake_room: FakeRoom, fault: Any, caplog: Any) -> None:
    alice = microphone(fake_room)
    with opened(fake_room, kinds=("audio", "event")) as transport:
        frames = transport.recv(kinds=("audio",), timeout=PATIENCE)
        alice.speak(ones(), realtime=False)
        next(frames)
        transport.send(sound(0.02))
        with fault():
            bob = fake_room.join("bob").publish_audio(sample_rate=RATE)
            bob.wait_for_subscriber()
            until(lambda: "is not received" in caplog.text)
            with pytest.raises(StartupError, match=r"memory|descriptors"):
                transport.send(sound(0.02, track="new"))
            # What is open works on: frames go through lanes that are there. (A wait
            # for one would take a descriptor of its own.)
            before = transport.stats().received.sent
            alice.speak(ones(), realtime=False)
            until(lambda: transport.stats().received.sent > before)
            assert next(frames).participant == "alice"
        # The track that was refused gets its lane with its next frame.
        bob.speak(ones(), realtime=False)
        assert next(frames).participant == "bob"
        transport.send(sound(0.02, track="new"))
        fake_room.wait_for_track("new")
    check_law(transport)


@pytest.mark.parametrize("fault", [faults.segments_refused, faults.descriptors_exhausted])
def test_an_io_process_that_has_nothing_left(fake_room: FakeRoom, fault: Any) -> None:
    alice = microphone(fake_room)
    with opened(fake_room, io="process", kinds=("audio",)) as transport:
        alice.wait_for_subscriber()
        frames = transport.recv(timeout=PATIENCE)
        alice.speak(ones(), realtime=False)
        next(frames)
        with fault(transport.io_pid):
            bob = fake_room.join("bob").publish_audio(sample_rate=RATE)
            bob.wait_for_subscriber()
            alice.speak(ones(), realtime=False)
            assert next(frames).participant == "alice"
        bob.speak(ones(), realtime=False)
        assert next(frames).participant == "bob"
    check_law(transport)


# An application that does not read.


def next_of(frames: Receiver) -> Any:
    """What comes within the receiver's own time, or nothing."""
    try:
        return next(frames)
    except TimeoutError:
        return None


def test_an_application_that_does_not_read(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room, kinds=("audio", "event"), max_age=1.0) as transport:
        mic.wait_for_subscriber()
        frames = transport.recv(kinds=("audio",), timeout=0.05)
        with faults.not_reading(transport):
            mic.speak(ones(3), realtime=False)
            until(lambda: transport.stats().received.sent >= 3)
            with pytest.raises(TimeoutError):
                next(frames)
            # Tracks that come meanwhile are not read either.
            bob = fake_room.join("bob").publish_audio(sample_rate=RATE)
            bob.wait_for_subscriber()
            heard_ns = time.monotonic_ns()
            until(lambda: time.monotonic_ns() > heard_ns + 1_100_000_000)
        bob.speak(ones(), realtime=False)
        assert until(lambda: next_of(frames)).participant == "bob"
        frames.close()
        audio = [lane for lane in transport.stats().lanes if lane.kind == "audio"]
        assert {lane.participant: lane.counts.dropped_stale for lane in audio} == {
            "alice": 3,
            "bob": 0,
        }
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        assert EventKind.CONNECTED in [next(events).kind for _ in range(4)]
    check_law(transport)
