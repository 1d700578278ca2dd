"""The steps of what waits are at their end when the call is, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import aio_kit
import ringroom
from app_kit import PATIENCE, interrupted, opened, sound
from ringroom import client
from ringroom.client import Transport
from ringroom.faces import face, sending
from ringroom.processes import waiting
from ringroom.testing import FakeRoom, VirtualClock

MAX_MOMENTS = 300
CALLS: dict[str, Callable[[Transport], Any]] = {
    "send": lambda transport: transport.send(sound(0.02)),
    "send a long sound": lambda transport: transport.send(sound(3.0)),
    "flush": lambda transport: transport.flush(),
    "wait_playout": lambda transport: transport.wait_playout(),
    "unpublish": lambda transport: transport.unpublish(),
}


def left_over(transport: Any) -> list[Any]:
    """What is still as in the middle of a call."""
    connection = transport._connection
    lanes = connection.outgoing.lanes
    return [*transport._sending, *(lane.name for lane in lanes if lane.unsent)]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_whenever_a_call_is_interrupted_nothing_is_left_of_it(
    call: Callable[[Transport], Any],
) -> None:
    with (
        VirtualClock() as clock,
        FakeRoom(clock=clock) as room,
        ringroom.transport("fake", room=room, io=clock.io) as transport,
    ):
        session = transport._connection.session
        transport.send(sound(0.02))
        listeners = len(session.listeners)
        for moment in range(1, MAX_MOMENTS):
            done = not interrupted(lambda: call(transport), moment, client, face, sending)
            assert not left_over(transport), moment
            assert len(session.listeners) == listeners, moment
            if done:
                break
            transport.flush()
            transport.send(sound(0.02))
        assert moment > 5
        transport.wait_playout()
        assert not session.requests.unanswered
        assert not session.requests.answers


def test_a_time_limit_leaves_nothing_however_long_its_error_is_kept(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        listeners = len(transport._connection.session.listeners)
        with pytest.raises(TimeoutError) as kept:
            transport.send(sound(10.0), timeout=0.05)
        assert not left_over(transport)
        assert len(transport._connection.session.listeners) == listeners
        assert kept.value.__traceback__ is not None
        transport.flush()
        transport.send(sound(0.02), timeout=PATIENCE)


def test_a_cancellation_leaves_nothing_however_long_its_task_is_kept(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with aio_kit.opened(fake_room) as transport:
            listeners = len(transport._connection.session.listeners)
            sending = asyncio.create_task(transport.send(sound(20.0)))
            await aio_kit.until(lambda: transport.stats().sent.sent > 10)
            try:
                async with asyncio.timeout(0):
                    await asyncio.shield(sending)
            except TimeoutError:
                assert "audio" in transport._sending, "it goes on"
            sending.cancel()
            await asyncio.wait([sending])
            assert not left_over(transport)
            assert len(transport._connection.session.listeners) == listeners
            await aio_kit.soon(transport.flush())
            await aio_kit.soon(transport.send(sound(0.02)))

    asyncio.run(main())


def test_a_call_that_need_not_wait_takes_no_descriptor(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ringroom.transport("fake", room=fake_room, io="thread") as transport:
        transport.send(sound(0.02))
        transport.send_data(b"hello")
        with monkeypatch.context() as patched:
            patched.setattr(waiting, "open_counter", lambda: pytest.fail("it waits"))
            transport.send(sound(0.02))
            transport.send_data(b"hello")
