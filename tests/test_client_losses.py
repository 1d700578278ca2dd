"""What a transport says when its connection is lost, or its I/O process dies, for good."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

import ringroom
from app_kit import (
    NEVER_AGAIN,
    PATIENCE,
    Call,
    check_law,
    microphone,
    opened,
    same,
    say,
    sound,
    take,
    until,
)
from ringroom.errors import (
    LostProcessError,
    RoomError,
)
from ringroom.events import EventKind
from ringroom.link import Link
from ringroom.processes.hosts import IOProcess
from ringroom.processes.worker_voice import MEMORY_HINT
from ringroom.testing import FakeRoom, faults


def test_a_connection_lost_for_good_raises(fake_room: FakeRoom) -> None:
    with opened(fake_room, reconnect=NEVER_AGAIN) as transport:
        receiver = transport.recv()
        waiting = Call(next, receiver)
        fake_room.break_connection()
        with pytest.raises(RoomError, match="hung up") as lost:
            waiting.result()
        assert lost.value.reason == "disconnected"
        with pytest.raises(RoomError, match="hung up"):
            transport.send(sound(0.02))
        with pytest.raises(RoomError, match="hung up"):
            next(transport.recv())


def test_a_lost_connection_comes_back(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room, kinds=("audio", "event")) as transport:
        mic.wait_for_subscriber()
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        fake_room.lose_connection()
        fake_room.restore_connection()
        kinds = [next(events).kind]
        while kinds[-1] is not EventKind.CONNECTION_BACK:
            kinds.append(next(events).kind)
        assert EventKind.CONNECTION_LOST in kinds
        spoken = say(mic, 0.04)
        assert same(take(transport.recv(kinds=("audio",), timeout=PATIENCE), 640), spoken)


def test_a_killed_io_process(fake_room: FakeRoom) -> None:
    shared = ringroom.IOProcess()
    options = {"io": shared, "close_timeout": 60, "reconnect": NEVER_AGAIN}
    with shared, opened(fake_room, **options) as transport:
        calls: list[Call[Any]] = [
            Call(next, transport.recv()),
            Call(transport.send, sound(30.0)),
        ]
        until(lambda: transport.stats().sent.sent > 10)
        calls.append(Call(transport.wait_playout))
        until(lambda: len(transport._connection.session.listeners) >= 3)
        assert shared.pid is not None
        os.kill(shared.pid, signal.SIGKILL)
        for call in calls:
            with pytest.raises(
                LostProcessError, match=r"the I/O process died \(killed by signal 9, .* memory"
            ):
                call.result()
        for again in (
            lambda: next(transport.recv()),
            lambda: transport.send(sound(0.02)),
            lambda: transport.send(sound(0.02, track="new")),
            transport.flush,
            transport.wait_playout,
        ):
            with pytest.raises(LostProcessError):
                again()
        with ringroom.transport("fake", room=fake_room, io=shared, identity="next"):
            pass  # another process takes its place for those that come
        started = time.monotonic()
        transport.close()
        assert time.monotonic() - started < 30
    check_law(transport)
    assert transport.stats().sent.in_flight == 0
    fake_room.wait_for_app_gone()


def test_a_process_that_dies_before_it_connects(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_room.refuse_connects("timeout")
    shared = IOProcess()
    asked = threading.Event()

    def open_session() -> Link:
        link = IOProcess.open_session(shared)
        asked.set()
        return link

    monkeypatch.setattr(shared, "open_session", open_session)
    with shared:
        connecting = Call(ringroom.transport, "fake", room=fake_room, io=shared)
        assert asked.wait(PATIENCE)  # before that another would take its place
        assert shared.pid is not None
        os.kill(shared.pid, signal.SIGKILL)
        with pytest.raises(LostProcessError):
            connecting.result()


def test_a_shared_process_that_dies_while_nobody_uses_it_is_replaced(fake_room: FakeRoom) -> None:
    with ringroom.IOProcess() as shared:
        pids = set()
        for _ in range(3):
            with opened(fake_room, io=shared):
                assert shared.pid is not None
                pids.add(shared.pid)
                os.kill(shared.pid, 0)
            faults.killed(shared.pid)
        assert len(pids) == 3


def test_how_a_process_died_is_asked_of_a_living_one_without_waiting(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others that share it ask after it was replaced, on the event loop of an application, say."""
    waits: list[float | None] = []
    with ringroom.IOProcess() as shared, opened(fake_room, io=shared):
        assert shared.pid is not None
        faults.killed(shared.pid)
        died = f" (killed by signal 9, {MEMORY_HINT})"
        assert shared.how_it_died() == died
        shared.start()
        join = shared._process.join
        monkeypatch.setattr(shared._process, "join", lambda s=None: (waits.append(s), join(s)))
        assert shared.how_it_died() == died
        assert waits == []
        monkeypatch.undo()


def test_each_death_is_told_as_it_was(fake_room: FakeRoom) -> None:
    with ringroom.IOProcess() as shared:
        for number in (signal.SIGKILL, signal.SIGSEGV):
            with opened(fake_room, io=shared, reconnect=NEVER_AGAIN) as transport:
                assert shared.pid is not None
                os.kill(shared.pid, number)
                with pytest.raises(LostProcessError, match=f"killed by signal {int(number)}"):
                    next(transport.recv())
