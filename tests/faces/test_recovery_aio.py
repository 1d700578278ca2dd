"""The I/O process of an asyncio transport dies, and it goes on with another, or is given up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import ringroom
from app_kit import microphone, say, sound, until
from recovery_kit import LONG, killed, run, settled
from ringroom.errors import ClosedError, RoomError
from ringroom.sessions.session import Session
from ringroom.testing import FakeRoom


def test_in_an_event_loop(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)

    async def scenario(transport: ringroom.aio.Transport) -> None:
        await asyncio.to_thread(mic.wait_for_subscriber)
        waiting = asyncio.create_task(anext(transport.recv(kinds=("audio",))))  # type: ignore[arg-type]
        events = transport.recv(kinds=("event",))
        # Two who wait for room in their lanes, and are watched while these are replaced.
        sending = [
            asyncio.create_task(transport.send(sound(3.0, track=name))) for name in ("one", "two")
        ]
        await asyncio.to_thread(fake_room.wait_for_audio, "one", 0.2, timeout=LONG)
        for _ in range(2):
            killed(transport)
            async for event in events:
                if event.kind == "connection_back":
                    break
        await asyncio.gather(*sending)
        await asyncio.to_thread(until, lambda: mic.subscribers, timeout=LONG)
        await asyncio.to_thread(say, mic, 0.02)
        await waiting
        await transport.send_data("after", topic="end")
        await asyncio.to_thread(fake_room.wait_for_data, "end", 1, timeout=LONG)
        await transport.wait_playout()
        assert transport.room == fake_room.name

    counts = settled(run(scenario, fake_room, kinds=("audio", "event"))).sent
    assert counts.sent == 61 == counts.done + counts.lost
    assert counts.lost > 0


@pytest.mark.once
def test_in_an_event_loop_it_is_given_up(fake_room: FakeRoom) -> None:
    async def scenario(transport: ringroom.aio.Transport) -> None:
        sending = asyncio.create_task(transport.send(sound(20.0)))
        await asyncio.to_thread(fake_room.wait_for_audio, "audio", 0.1, timeout=LONG)
        with fake_room.faults.connects_refused(reason="unauthorized"):
            killed(transport)
            with pytest.raises(RoomError):
                await sending

    settled(run(scenario, fake_room, reconnect=ringroom.Reconnect(retries=1)))


@pytest.mark.once
def test_in_an_event_loop_closing_meanwhile(fake_room: FakeRoom) -> None:
    async def scenario(transport: ringroom.aio.Transport) -> None:
        sending = asyncio.create_task(transport.send(sound(20.0)))
        await asyncio.to_thread(fake_room.wait_for_audio, "audio", 0.1, timeout=LONG)
        with fake_room.faults.hanging_connect():
            killed(transport)
            while not transport._connection.session.restarts:
                await asyncio.sleep(0.002)
            await transport.close()
            with pytest.raises(ClosedError):
                await sending

    settled(run(scenario, fake_room))


def test_an_event_loop_watches_one_link_and_never_the_number_of_one_that_is_closed(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[tuple[list[int], int]] = []
    restart = Session.restart

    async def scenario(transport: ringroom.aio.Transport) -> None:
        session = transport._connection.session

        def look() -> None:
            keys = asyncio.get_running_loop()._selector.get_map()  # type: ignore[attr-defined]
            pumps = [n for n, key in keys.items() if key.data[0]._callback == transport._pump]
            watched.append((pumps, session.fileno()))

        def looking(session: Session, *arguments: Any) -> None:
            restart(session, *arguments)
            look()

        monkeypatch.setattr(Session, "restart", looking)
        events = transport.recv(kinds=("event",))
        with fake_room.faults.connects_refused(reason="unreachable"):
            killed(transport)
            while len(watched) < 2:  # one was refused over a link of its own
                await asyncio.sleep(0.002)
        async for event in events:
            if event.kind == "connection_back":
                break
        look()

    run(scenario, fake_room, kinds=("event",))
    assert len(watched) >= 3
    assert all(pumps == [link] for pumps, link in watched), watched


@pytest.mark.once
@pytest.mark.parametrize("steps", [0, 1])
def test_in_an_event_loop_a_close_that_is_cancelled_meanwhile_still_closes(
    fake_room: FakeRoom, steps: int
) -> None:
    async def main() -> ringroom.aio.Transport:
        transport = await ringroom.aio.transport("fake", room=fake_room, io="process").open()
        connection = transport._connection
        with fake_room.faults.hanging_connect():
            killed(transport)
            while not connection.session.restarts:
                await asyncio.sleep(0.002)
            closing = asyncio.create_task(transport.close())
            for _ in range(1 + steps):
                await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
            over = lambda: connection.session.closed and transport.io_pid is None  # noqa: E731
            await asyncio.to_thread(until, over)
        return transport

    settled(asyncio.run(main()))


@pytest.mark.once
def test_in_an_event_loop_that_is_closed_meanwhile_another_one_closes_it(
    fake_room: FakeRoom,
) -> None:
    transport = ringroom.aio.transport("fake", room=fake_room, io="process")
    loop = asyncio.new_event_loop()

    async def begin() -> asyncio.Task[None]:
        with fake_room.faults.hanging_connect():
            killed(transport)
            while not transport._connection.session.restarts:
                await asyncio.sleep(0.002)
        assert transport._recovery is not None
        assert transport._recovery._task is not None
        return transport._recovery._task

    loop.run_until_complete(transport.open())
    recovering = loop.run_until_complete(begin())
    loop.close()
    asyncio.run(transport.close())
    assert transport.io_pid is None
    recovering._log_destroy_pending = False  # type: ignore[attr-defined]
    settled(transport)  # type: ignore[arg-type]
