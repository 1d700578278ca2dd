"""The I/O process dies: workers and application go on with another. Real processes and signals."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import processors_kit as kit
import ringroom
from app_kit import RATE, Call, check_law, microphone, say, sound, until
from ringroom.errors import LostProcessError, RoomError
from ringroom.events import Event, EventKind, Participant
from ringroom.faces import mending
from ringroom.faces.mending import _State
from ringroom.pool import Pool
from ringroom.processes.hosts import IOProcess
from ringroom.providers.fake import Fake
from ringroom.testing import FakeRoom, faults

LONG = 30.0


@contextlib.contextmanager
def running(room: FakeRoom, processor: Any, **options: Any) -> Iterator[Pool]:
    options = {"max_age": 60.0, "workers": 1, "spares": 0, "standby": False, **options}
    with Pool(processor, "fake", room=room, **options) as pool:
        yield pool


def told(room: FakeRoom, topic: str, count: int = 1) -> list[str]:
    return [message.payload.decode() for message in room.wait_for_data(topic, count, timeout=LONG)]


def count(events: list[Event], kind: EventKind) -> int:
    return sum(event.kind is kind for event in events)


def back(events: list[Event], times: int = 1) -> None:
    until(lambda: count(events, EventKind.CONNECTION_BACK) == times, timeout=LONG)


def settled(pool: Pool) -> None:
    until(lambda: not pool._staff._places._unsettled, timeout=LONG)


def test_everything_goes_on(fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    handovers: list[Fake] = []
    before = Fake.handover
    monkeypatch.setattr(Fake, "handover", lambda spec: handovers.append(spec) or before(spec))
    events: list[Event] = []
    mic = microphone(fake_room)
    with running(fake_room, kit.Lives, on_event=events.append) as pool:
        mic.wait_for_subscriber()
        say(mic, 0.1)
        fake_room.wait_for_audio("alice/mic", 0.1, timeout=LONG)
        pool.send(sound(0.1))
        fake_room.wait_for_audio("audio", 0.1, timeout=LONG)
        workers, io = pool.pids, pool.io_pid
        faults.killed(io)
        back(events)
        assert pool.pids == workers
        assert pool.io_pid != io
        assert len(handovers) == 2  # a fresh token
        until(lambda: mic.subscribers, timeout=LONG)
        say(mic, 0.1)
        fake_room.wait_for_audio("alice/mic", 0.2, timeout=LONG)
        pool.send(sound(0.1), timeout=LONG)
        fake_room.wait_for_audio("audio", 0.2, timeout=LONG)
        # One gap, and neither closed nor opened again.
        assert told(fake_room, "life", 2) == ["open alice/mic", "event track_resumed"]
        settled(pool)
        check_law(pool)
        assert pool.played("audio") > 0.1
        pool.drain()
    check_law(pool)
    stats = pool.stats()
    assert stats.received.in_flight == stats.sent.in_flight == 0
    assert (stats.received.sent, stats.received.done) == (10, 10)
    lost = [event for event in events if event.kind is EventKind.CONNECTION_LOST]
    assert ["killed by signal 9" in event.reason for event in lost] == [True]


def test_a_panic_is_a_death_and_a_sigterm_of_somebody_else_is_none(
    fake_room: FakeRoom, tmp_path: Path
) -> None:
    """After a panic of its native part the SDK sends SIGTERM to its own process; a service manager
    sends it to all processes of the service."""
    panic = tmp_path / "panic"

    def wanted(participant: Participant) -> bool:
        if panic.exists():
            panic.unlink()
            os.kill(os.getpid(), signal.SIGTERM)
        return True

    events: list[Event] = []
    with running(fake_room, kit.Lives, on_event=events.append, participants=wanted) as pool:
        io, workers = pool.io_pid, pool.pids
        assert io is not None
        for pid in (io, *workers):
            os.kill(pid, signal.SIGTERM)
        mic = microphone(fake_room)
        mic.wait_for_subscriber()
        say(mic, 0.1)
        fake_room.wait_for_audio("alice/mic", 0.1, timeout=LONG)
        assert (pool.io_pid, pool.pids) == (io, workers)
        panic.touch()
        microphone(fake_room, "bob")
        back(events)
        assert pool.io_pid != io
        assert pool.pids == workers
    lost = [event for event in events if event.kind is EventKind.CONNECTION_LOST]
    assert ["killed by signal 15" in event.reason for event in lost] == [True]


def test_which_tracks_are_received_stays_the_same(fake_room: FakeRoom, tmp_path: Path) -> None:
    """The workers do not take over what decides about that."""
    takers = tmp_path / "takers"
    events: list[Event] = []
    screen = fake_room.join("bob").publish_audio("screen", source="screen_share_audio")
    mic = microphone(fake_room)
    options: Any = {"on_event": events.append, "tracks": kit.OnlyMicrophones(str(takers))}
    with running(fake_room, kit.Lives, **options) as pool:
        mic.wait_for_subscriber()
        assert not screen.subscribers
        ios = [pool.io_pid]
        faults.killed(pool.io_pid)
        back(events)
        ios.append(pool.io_pid)
        until(lambda: mic.subscribers, timeout=LONG)
        assert not screen.subscribers
        say(mic, 0.1)
        fake_room.wait_for_audio("alice/mic", 0.1, timeout=LONG)
        assert "bob/screen" not in fake_room.application.tracks
        assert [int(pid) for pid in takers.read_text().split()] == ios
    check_law(pool)


@pytest.mark.once
def test_a_send_that_waits_goes_on(fake_room: FakeRoom) -> None:
    events: list[Event] = []
    with running(fake_room, kit.Words, on_event=events.append) as pool:
        sending = Call(pool.send, sound(4.0))
        fake_room.wait_for_audio("audio", 0.2, timeout=LONG)
        faults.killed(pool.io_pid)
        sending.result(LONG)
        pool.send_data("after", topic="end", timeout=LONG)
        assert told(fake_room, "end") == ["after"]
        pool.wait_playout(timeout=LONG)
        check_law(pool)
        sent = pool.stats().sent
        assert sent.in_flight == 0
        assert sent.sent == 41 == sent.done + sent.lost
        # What was neither played nor waits is counted, and nothing else is missing.
        assert fake_room.heard("audio").duration >= (40 - sent.lost) * 0.1 - 0.5
        assert sent.lost > 0


def test_whoever_waits_for_an_answer_gets_one(fake_room: FakeRoom) -> None:
    with running(fake_room, kit.Words) as pool:
        pool.send(sound(1.0))
        waiting = Call(pool.wait_playout)
        fake_room.wait_for_audio("audio", 0.1, timeout=LONG)
        faults.killed(pool.io_pid)
        waiting.result(LONG)


@pytest.mark.once
def test_a_standby_takes_over_and_gets_a_successor(fake_room: FakeRoom) -> None:
    events: list[Event] = []
    with running(fake_room, kit.Words, standby=True, on_event=events.append) as pool:
        host = pool._connection.host
        assert isinstance(host, IOProcess)
        for times in (1, 2):
            standby = until(lambda: host.standby_pid)
            faults.killed(pool.io_pid)
            back(events, times)
            assert pool.io_pid == standby
        until(lambda: host.standby_pid)
        # One that has died is no help, and does no harm.
        faults.killed(host.standby_pid)
        faults.killed(pool.io_pid)
        back(events, 3)
        fake_room.join("bob").send_data(b"worker")
        assert told(fake_room, "worker") == [f"0 {pool.pids[0]}"]


@pytest.mark.once
def test_a_standby_that_has_died_is_replaced(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "STANDBY_LOOK_SECONDS", 0.05)
    with running(fake_room, kit.Words, standby=True) as pool:
        host = pool._connection.host
        assert isinstance(host, IOProcess)
        standby = until(lambda: host.standby_pid, timeout=LONG)
        faults.killed(standby)
        until(lambda: host.standby_pid not in (None, standby), timeout=LONG)


@pytest.mark.once
def test_nobody_wakes_for_the_standby_while_the_room_is_being_joined(fake_room: FakeRoom) -> None:
    events: list[Event] = []
    with running(fake_room, kit.Words, standby=True, on_event=events.append) as pool:
        # The pool's own thread begins to look after it.
        until(lambda: pool._watch._mending.patience() is not None, timeout=LONG)
        with fake_room.faults.hanging_connect():
            faults.killed(pool.io_pid)
            until(lambda: pool._watch._mending._state is _State.JOINING, timeout=LONG)
            assert pool._watch._mending.patience() is None
        back(events, 1)
        assert pool._watch._mending.patience() is not None


@pytest.mark.once
def test_a_worker_that_dies_meanwhile(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    events: list[Event] = []
    with running(fake_room, kit.Words, workers=2, on_event=events.append) as pool:
        before = pool.pids
        faults.killed(pool.io_pid)
        faults.killed(before[0])
        back(events)
        until(
            lambda: pool.pids[0] != before[0] and not pool._staff._places._unsettled, timeout=LONG
        )
        alice.send_data(b"worker")
        assert told(fake_room, "worker") == [f"0 {pool.pids[0]}"]
        until(lambda: not pool._staff._places._links)
        faults.killed(pool.pids[0])
        alice.send_data(b"worker")
        assert told(fake_room, "worker", 2)[1] == f"0 {pool.pids[0]}"
        check_law(pool)


@pytest.mark.once
def test_a_flush_of_a_processor_is_answered(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    events: list[Event] = []
    with running(fake_room, kit.Words, on_event=events.append) as pool:
        alice.send_data(b"say 30.0")
        fake_room.wait_for_audio("voice", 0.1, timeout=LONG)
        with faults.frozen(pool.io_pid):
            # The room delivers it when the process goes on, if ever; the worker asks itself.
            faults.killed(pool.io_pid)
        back(events)
        alice.send_data(b"flush voice")
        assert float(told(fake_room, "flushed")[0]) > 20
        alice.send_data(b"worker")
        told(fake_room, "worker")
        check_law(pool)


@pytest.mark.once
def test_dying_again_and_again_is_given_up(fake_room: FakeRoom) -> None:
    events: list[Event] = []
    with running(fake_room, kit.Words, restarts=1, on_event=events.append) as pool:
        faults.killed(pool.io_pid)
        back(events)
        faults.killed(pool.io_pid)
        with pytest.raises(LostProcessError, match=r"the I/O process died \(killed by signal"):
            pool.wait(LONG)
    check_law(pool)


@pytest.mark.once
@pytest.mark.parametrize("reason", ["unauthorized", "unreachable"])
def test_a_room_that_does_not_let_us_in_again(fake_room: FakeRoom, reason: str) -> None:
    policy = ringroom.Reconnect(retries=2, backoff=0.1)
    with running(fake_room, kit.Words, reconnect=policy) as pool:
        with fake_room.faults.connects_refused(reason=reason):
            faults.killed(pool.io_pid)
            with pytest.raises(RoomError) as refused:
                pool.wait(LONG)
        assert refused.value.reason == reason
        assert pool._watch._mending._retries.tries == (0 if reason == "unauthorized" else 2)


@pytest.mark.once
def test_a_room_that_lets_us_in_at_the_next_try(fake_room: FakeRoom) -> None:
    events: list[Event] = []
    with running(fake_room, kit.Words, on_event=events.append) as pool:
        with fake_room.faults.connects_refused("unreachable"):
            faults.killed(pool.io_pid)
            until(lambda: pool._watch._mending._retries.tries >= 2, timeout=LONG)
        back(events)
        assert count(events, EventKind.CONNECTION_LOST) == 1


@pytest.mark.once
def test_closing_while_it_is_mended(fake_room: FakeRoom) -> None:
    with running(fake_room, kit.Words) as pool, fake_room.faults.hanging_connect():
        faults.killed(pool.io_pid)
        until(lambda: pool._watch._mending._state is _State.JOINING, timeout=LONG)
    check_law(pool)


@pytest.mark.once
def test_a_reply_that_waits_goes_on(fake_room: FakeRoom) -> None:
    """What the worker keeps because its track is full is said by the next I/O process."""
    alice = fake_room.join("alice")
    with running(fake_room, kit.Words) as pool:
        alice.send_data(b"say 4.0")
        fake_room.wait_for_audio("voice", 0.2, timeout=LONG)
        faults.killed(pool.io_pid)
        until(
            lambda: pool._staff.generation == 1 and not pool._staff._places._unsettled,
            timeout=LONG,
        )
        until(lambda: pool.stats().sent.sent == 40, timeout=LONG)
        until(lambda: pool.stats().sent.in_flight == 0, timeout=LONG)
        lost = pool.stats().sent.lost
        heard = fake_room.heard("voice")
        assert lost > 0
        assert heard.duration >= (40 - lost) * 0.1 - 0.5
        assert np.unique(heard.samples).tolist() == [1_000]
        assert heard.sample_rate == RATE
