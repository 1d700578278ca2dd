"""A transport is closed or left: who waits wakes, what was sent plays out, nothing stays behind."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import ringroom
from app_kit import (
    RATE,
    Call,
    check_law,
    children,
    descriptors,
    leaves_late,
    noise,
    opened,
    said,
    same,
    sound,
    until,
)
from ringroom.errors import (
    ClosedError,
)
from ringroom.frames import AudioFrame
from ringroom.providers.fake.connection import FakeProvider
from ringroom.testing import FakeRoom, VirtualClock, sources


def test_after_close_every_call_says_so(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        receiver = transport.recv()
        out = transport.audio_out()
        transport.send(sound(0.02))
    for call in (
        transport.recv,
        lambda: next(receiver),
        lambda: transport.send(sound(0.02)),
        lambda: transport.send_nowait(sound(0.02)),
        lambda: transport.send_data("x"),
        lambda: out.write(b"\0\0"),
        transport.audio_out,
        transport.flush,
        transport.played,
        transport.wait_playout,
    ):
        with pytest.raises(ClosedError, match="fake: transport is closed"):
            call()
    receiver.close()
    transport.close()
    assert transport.stats().sent.sent == 1
    assert transport.stats().sent.in_flight == 0


@pytest.mark.parametrize("io", ["thread", "process"])
def test_close_wakes_everybody(fake_room: FakeRoom, io: str) -> None:
    with opened(fake_room, kinds=("audio", "data"), io=io) as transport:
        fake_room.lose_connection()  # so that nothing is published, and no answer comes
        calls: list[Call[Any]] = [
            Call(next, transport.recv(kinds=("audio",))),
            Call(next, transport.recv(kinds=("data",), timeout=60)),
            Call(transport.send, sound(30.0, track="long")),
        ]
        until(lambda: transport.stats().sent.sent or len(transport._connection.outgoing.lanes))
        calls.append(Call(transport.wait_playout))
        until(lambda: len(transport._connection.session.listeners) >= 5)
        closing = [Call(transport.close), Call(transport.close)]
        for call in calls:
            with pytest.raises(ClosedError, match="fake: transport is closed"):
                call.result()
        for close in closing:
            close.result()


def test_who_waits_need_not_wait_for_the_leaving(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = leaves_late(monkeypatch)
    with opened(fake_room, close_timeout=50) as transport:
        waiting = Call(next, transport.recv())
        until(lambda: len(transport._connection.session.listeners) >= 2)
        closing = Call(transport.close)
        with pytest.raises(ClosedError, match="transport is closed"):
            waiting.result()
        assert not closing.over
        gate.set()
        closing.result()


def test_whoever_closes_comes_back_to_what_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    close = FakeProvider.close

    async def late(provider: FakeProvider) -> None:
        await asyncio.sleep(2.0)
        await close(provider)

    monkeypatch.setattr(FakeProvider, "close", late)
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        with ringroom.transport("fake", room=room, io=clock.io) as transport:
            closer = clock.start_thread("closer", transport.close)
            clock.sleep(1.0)
        assert transport._connection.session.closed
        assert not room.participants
        closer.join()


def test_close_wakes_a_sender_and_a_listener_of_a_full_track(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        sending = Call(transport.send, sound(30.0))
        until(lambda: fake_room.applications["app"].tracks and transport.stats().sent.sent > 10)
        waiting = Call(transport.wait_playout)
        until(lambda: len(transport._connection.session.listeners) >= 2)
        transport.close()
        for call in (sending, waiting):
            with pytest.raises(ClosedError, match="fake: transport is closed"):
                call.result()
    check_law(transport)
    assert transport.stats().sent.in_flight == 0


def test_close_from_many_threads(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        for call in [Call(transport.close) for _ in range(8)]:
            call.result()
        # Here: at the block's end it is closed once more.
        fake_room.wait_for_app_gone()


def test_forgotten_transports_say_so(fake_room: FakeRoom) -> None:
    transport: Any = ringroom.transport("fake", room=fake_room, io="thread")
    assert transport
    with pytest.warns(ResourceWarning, match="ransport never closed"):
        transport = None
    fake_room.wait_for_app_gone()


def test_leaving_normally_plays_out(fake_room: FakeRoom) -> None:
    spoken = noise(0.5)
    with ringroom.transport("fake", room=fake_room, io="thread") as transport:
        transport.send(AudioFrame(spoken, RATE))
        transport.send_data("bye", topic="end")
        transport.send(sources.picture(7, 64, 64))
    # Where the room comes to it: what was said last is in the socket as the application leaves.
    assert same(said(fake_room, 0.5), spoken)
    assert [message.payload for message in fake_room.wait_for_data()] == [b"bye"]
    assert fake_room.wait_for_video().count == 1
    assert transport.stats().sent.lost == 0


def test_leaving_by_an_exception_does_not_play_out(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    transport = ringroom.transport("fake", room=fake_room, io=virtual_clock.io)
    transport.send(sound(1.5))
    fake_room.wait_for_audio(seconds=0.01)
    with pytest.raises(KeyError), transport:
        raise KeyError
    assert fake_room.heard().duration < 1.5
    assert transport.stats().sent.lost > 0
    check_law(transport)


def test_leaving_while_the_room_ends_is_no_error(fake_room: FakeRoom) -> None:
    with ringroom.transport("fake", room=fake_room, io="thread") as transport:
        transport.send(sound(1.5))
        fake_room.wait_for_audio(seconds=0.01)
        ending = threading.Timer(0.1, fake_room.close_room)
        ending.start()
    ending.join()


@pytest.mark.once
def test_many_cycles_leave_nothing(fake_room: FakeRoom) -> None:
    from ringroom.processes.hosts import IOThread

    with IOThread() as shared:

        def cycle(number: int) -> None:
            with ringroom.transport("fake", room=fake_room, io=shared) as transport:
                if number % 10 == 0:
                    transport.recv().close()
                    transport.send_data(b"x")

        cycle(0)
        until(lambda: not fake_room.participants)
        before = descriptors(), threading.active_count()
        for number in range(200):
            cycle(number)
        # Not equal: what earlier tests left to the collector may go meanwhile.
        until(lambda: descriptors() <= before[0] and threading.active_count() <= before[1])


@pytest.mark.once
def test_many_processes_leave_nothing(fake_room: FakeRoom) -> None:
    def cycle() -> None:
        with ringroom.transport("fake", room=fake_room) as transport:
            transport.send_data(b"x")

    cycle()
    before = descriptors(), threading.active_count(), children()
    for _ in range(6):
        cycle()
    until(lambda: descriptors() <= before[0] and threading.active_count() <= before[1])
    until(lambda: children() <= before[2])
