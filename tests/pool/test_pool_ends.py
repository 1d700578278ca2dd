"""How a pool ends: drained, closed, with the room, or because something does not start or dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import AbstractContextManager

import pytest

import processors_kit as kit
import ringroom
from app_kit import (
    NEVER_AGAIN,
    PATIENCE,
    Call,
    check_law,
    children,
    microphone,
    say,
    until,
)
from pool_kit import heard, running, told
from ringroom.errors import (
    LostProcessError,
    RoomError,
    StartupError,
)
from ringroom.processes.supervision import supervisor
from ringroom.testing import FakeRoom


def test_drain_plays_what_was_answered(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with running(fake_room, kit.Goodbye) as pool:
        mic.wait_for_subscriber()
        say(mic, 0.02)
        until(lambda: pool.stats().received.done)
        pool.drain()
        assert fake_room.heard("alice/mic").duration == pytest.approx(0.5)
    assert [m.payload for m in fake_room.application.messages] == [b"bye", b"stopped"]
    assert pool.stats().sent.lost == 0
    check_law(pool)


def test_close_does_not_wait_for_what_waits(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Words) as pool:
        alice.send_data(b"say 30")
        fake_room.wait_for_audio("voice", 0.1, timeout=10)
        started = time.monotonic()
        pool.close()
        assert time.monotonic() - started < 20
        assert pool.wait() == "closed"
    check_law(pool)
    assert pool.stats().sent.in_flight == 0


@pytest.mark.once
def test_a_worker_that_is_behind_stops_in_good_order(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with running(fake_room, kit.Slow, drain_timeout=0.5) as pool:
        mic.wait_for_subscriber()
        say(mic, 2.0)  # takes thirty seconds
        until(lambda: pool.stats().received.done > 2)
        started = time.monotonic()
        pool.drain()
        assert time.monotonic() - started < 15
    assert told(fake_room, "bye") == ["stopped"]
    check_law(pool)
    assert pool.stats().received.in_flight == 0


def test_drain_finishes_what_waits_but_no_more(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with running(fake_room, kit.Once, drain_timeout=10.0) as pool:
        mic.wait_for_subscriber()
        say(mic, 1.0)
        told(fake_room, "told")
        mic.tone(seconds=30)
        started = time.monotonic()
        pool.drain()
        assert time.monotonic() - started < 20
    assert 50 <= int(told(fake_room, "bye")[0]) < 1_000


def test_close_from_many_threads(fake_room: FakeRoom) -> None:
    with running(fake_room, kit.echo) as pool:
        for call in [Call(pool.close) for _ in range(4)] + [Call(pool.drain)]:
            call.result()
        assert pool.wait(PATIENCE) == "closed"
    fake_room.wait_for_app_gone()


class Interrupting:
    """A lock: whoever takes it in the main thread is interrupted as he waits for it."""

    def __init__(self, lock: AbstractContextManager[bool]) -> None:
        self._lock = lock

    def __enter__(self) -> bool:
        if threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGINT)
        return self._lock.__enter__()

    def __exit__(self, *exc: object) -> None:
        self._lock.__exit__(None, None, None)


def test_who_does_not_want_to_wait_any_longer_has_killed_the_workers(fake_room: FakeRoom) -> None:
    """Two interrupts: as he waits for them to end, and as he ends them."""
    with running(fake_room, kit.Echo) as pool:
        workers = set(pool.pids)
        assert workers <= children()
        lock = pool._staff._lock
        pool._staff._lock = Interrupting(lock)
        with pytest.raises(KeyboardInterrupt):
            pool.close()
        pool._staff._lock = lock
        assert not workers & children()
        counted = pool.stats().workers
        assert counted is not None
        assert (counted.seated, counted.vacant, counted.spares) == (0, 0, 0)


def test_the_rooms_end_ends_wait(fake_room: FakeRoom) -> None:
    with running(fake_room, kit.echo) as pool:
        with pytest.raises(TimeoutError):
            pool.wait(0.01)
        waiting = Call(pool.wait)
        fake_room.close_room("over and out")
        assert waiting.result() == "over and out"


def test_run_returns_at_the_rooms_end(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    call = Call(
        ringroom.run, kit.quieter, "fake", room=fake_room, io="thread", workers=1, max_age=20.0
    )
    mic.wait_for_subscriber(timeout=10)
    say(mic, 0.1)
    heard(fake_room, "alice/mic", 0.1)
    fake_room.close_room()
    stats = call.result()
    assert stats.received.done == 5
    assert stats.sent.done == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_returns_when_it_is_interrupted_as_it_starts(
    fake_room: FakeRoom, number: signal.Signals
) -> None:
    before, handler = children(), signal.getsignal(number)
    stats = ringroom.run(kit.Interrupts(number), "fake", room=fake_room, io="thread", workers=1)
    assert stats.lanes == ()
    assert signal.getsignal(number) is handler
    assert not fake_room.applications
    until(lambda: children() <= before)


# Death.


@pytest.mark.once
def test_a_start_that_raises(fake_room: FakeRoom) -> None:
    with (
        pytest.raises(StartupError, match=r"(?s)worker 0 did not start:.*no model here") as failed,
        running(fake_room, kit.Failing),
    ):
        pass
    assert 'raise OSError("no model here")' in str(failed.value)
    assert not fake_room.applications
    with (
        pytest.raises(StartupError, match="send from open"),
        running(fake_room, kit.SendsTooEarly),
    ):
        pass


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_GRACE", 0.2)


@pytest.mark.usefixtures("impatient")
def test_a_start_that_takes_too_long(fake_room: FakeRoom) -> None:
    started = time.monotonic()
    with (
        pytest.raises(StartupError, match=r"start_timeout=0\.3"),
        running(fake_room, kit.Slowly, start_timeout=0.3),
    ):
        pass
    assert time.monotonic() - started < 20


def test_a_refused_connection_leaves_nothing(fake_room: FakeRoom) -> None:
    fake_room.refuse_connects()
    with pytest.raises(RoomError, match="refuses"), running(fake_room, kit.echo, io="process"):
        pass


@pytest.mark.parametrize(("name", "says"), [("SIGKILL", "signal 9"), ("SIGABRT", "signal 6")])
def test_a_killed_worker_is_named(fake_room: FakeRoom, name: str, says: str) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Suicide, workers=2, restarts=0) as pool:
        waiting = Call(pool.wait)
        alice.send_data(name.encode())
        with pytest.raises(LostProcessError, match=rf"worker 0 was killed by {says}"):
            waiting.result()
    check_law(pool)


def test_a_killed_io_process_ends_the_pool(fake_room: FakeRoom) -> None:
    with (
        ringroom.IOProcess() as shared,
        running(fake_room, kit.echo, io=shared, restarts=0) as pool,
    ):
        assert shared.pid is not None
        os.kill(shared.pid, signal.SIGKILL)
        with pytest.raises(LostProcessError, match="I/O process died"):
            pool.wait(PATIENCE)
    check_law(pool)


def test_a_connection_lost_for_good_ends_the_pool(fake_room: FakeRoom) -> None:
    with running(fake_room, kit.echo, reconnect=NEVER_AGAIN) as pool:
        fake_room.break_connection()
        with pytest.raises(RoomError, match="hung up"):
            pool.wait(PATIENCE)


@pytest.mark.usefixtures("impatient")
def test_a_hanging_worker_is_ended(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Words, drain_timeout=0.1) as pool:
        alice.send_data(b"hang 60")
        told(fake_room, "told")
        started = time.monotonic()
        pool.close()
        assert time.monotonic() - started < 30


def test_a_pool_that_was_never_entered_may_be_left() -> None:
    """An `ExitStack.push` does so."""
    pool = ringroom.Pool(lambda frame: None, ringroom.Fake(room="r"), workers=1)
    pool.__exit__(None, None, None)
