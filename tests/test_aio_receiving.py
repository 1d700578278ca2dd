"""The asyncio face receives: nothing is lost to who cancels, and every loop ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any

import numpy as np
import pytest

import ringroom
from aio_kit import opened, readers, soon, stopped_in_time, take, until
from app_kit import (
    NEVER_AGAIN,
    RATE,
    check_law,
    microphone,
    noise,
    said,
    same,
    say,
    sound,
)
from ringroom.errors import (
    BusyError,
    ClosedError,
    LostProcessError,
    RoomError,
)
from ringroom.events import EventKind
from ringroom.frames import DataFrame
from ringroom.options import PublishOptions
from ringroom.testing import FakeRoom, VirtualClock, sources


@pytest.mark.parametrize("io", ["thread", "process"])
def test_frames_both_ways(fake_room: FakeRoom, io: str) -> None:
    async def main() -> None:
        mic = microphone(fake_room)
        async with ringroom.aio.transport("fake", room=fake_room, io=io, max_age=20.0) as t:
            assert (t.room, t.identity, t.ended) == (fake_room.name, "app", None)
            await asyncio.to_thread(mic.wait_for_subscriber)
            spoken = say(mic, 0.2)
            receiver = t.recv()
            frames = [await soon(anext(receiver)) for _ in range(10)]
            assert b"".join(frame.data for frame in frames) == spoken.tobytes()
            for frame in frames:
                await t.send(frame)
            await t.send(sound(0.5, 4, track="own"))
            await t.send_data("hi", topic="t")
        assert same(said(fake_room, 0.2, "alice/mic"), spoken)
        assert same(said(fake_room, 0.5, "own"), noise(0.5, 4))
        assert fake_room.wait_for_data()[0].payload == b"hi"
        check_law(t)
        assert t.stats().sent.in_flight == 0

    asyncio.run(main())


@pytest.mark.parametrize("io", ["thread", "process"])
def test_only_the_tracks_asked_for_are_subscribed(fake_room: FakeRoom, io: str) -> None:
    async def main() -> None:
        screen = fake_room.join("bob").publish_audio("screen", source="screen_share_audio")
        mic = microphone(fake_room)
        async with ringroom.aio.transport(
            "fake", room=fake_room, io=io, max_age=20.0, tracks=["microphone"]
        ) as transport:
            await asyncio.to_thread(mic.wait_for_subscriber)
            assert not screen.subscribers
            spoken = say(mic, 0.1)
            assert same(await take(transport.recv(), len(spoken)), spoken)
            assert [lane.track for lane in transport.stats().lanes if lane.track] == ["mic"]

    asyncio.run(main())


def test_cancelled_receiving_loses_nothing(fake_room: FakeRoom) -> None:
    async def main() -> None:
        mic = microphone(fake_room)
        async with opened(fake_room) as transport:
            await asyncio.to_thread(mic.wait_for_subscriber)
            receiver = transport.recv()
            before = readers()
            spoken = noise(1.0)
            mic.speak(spoken)
            heard: list[Any] = []
            while sum(map(len, heard)) < RATE:
                try:
                    async with asyncio.timeout(0.007):
                        heard.append((await anext(receiver)).samples)
                except TimeoutError:
                    assert readers() == before
            assert same(np.concatenate(heard), spoken)
            assert readers() == before
            assert len(transport._connection.session.listeners) == 2

    asyncio.run(main())


def test_two_tasks(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room, kinds=("audio", "data")) as transport:
            person = fake_room.join("alice")
            mic = person.publish_audio(sample_rate=RATE)
            await asyncio.to_thread(mic.wait_for_subscriber)

            async def sounds() -> Any:
                return await take(transport.recv(kinds=("audio",)), 1_600)

            async def words() -> Any:
                return await soon(anext(transport.recv(kinds=("data",))))

            both = asyncio.gather(sounds(), words())
            await asyncio.sleep(0)
            with pytest.raises(BusyError):
                transport.recv()
            person.send_data(b"word")
            spoken = say(mic, 0.1)
            heard, word = await both
            assert same(heard, spoken)
            assert isinstance(word, DataFrame)
            first = asyncio.create_task(transport.send(sound(20.0)))
            await until(lambda: transport.stats().sent.sent > 10)
            with pytest.raises(BusyError, match="sends on track 'audio'"):
                await transport.send(sound(0.1))
            seconds = await soon(transport.flush())
            await soon(first)
            assert seconds > 15

    asyncio.run(main())


def test_the_rooms_end_ends_the_loop(fake_room: FakeRoom) -> None:
    async def main() -> None:
        mic = microphone(fake_room)
        async with ringroom.aio.transport("fake", room=fake_room, io="thread", max_age=20.0) as t:
            await asyncio.to_thread(mic.wait_for_subscriber)
            spoken = say(mic, 0.1)
            heard = []
            receiver = t.recv()
            async for frame in receiver:
                if not heard:
                    fake_room.close_room()
                    await until(lambda: t.ended)
                heard.append(frame.samples)
                await t.send(frame)
            assert same(np.concatenate(heard), spoken)
            with pytest.raises(StopAsyncIteration):
                await anext(receiver)
            with pytest.raises(ClosedError, match="the room has ended: room closed"):
                await t.send(sound(0.02))

    asyncio.run(main())


def test_closing_a_receiver(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room) as transport:
            receiver = transport.recv()
            waiting = asyncio.create_task(anext(receiver, None))  # type: ignore[arg-type]
            await asyncio.sleep(0.01)
            await receiver.aclose()
            await receiver.aclose()
            assert await soon(waiting) is None
            await transport.recv().aclose()

    asyncio.run(main())


def test_connection_lost_and_process_killed(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room, reconnect=NEVER_AGAIN) as transport:
            waiting = asyncio.create_task(anext(transport.recv()))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            fake_room.break_connection()
            with pytest.raises(RoomError, match="hung up"):
                await soon(waiting)
        shared = ringroom.IOProcess()
        with shared:
            async with opened(fake_room, io=shared, reconnect=NEVER_AGAIN) as transport:
                tasks = [
                    asyncio.create_task(anext(transport.recv())),  # type: ignore[arg-type]
                    asyncio.create_task(transport.send(sound(20.0))),
                ]
                await until(lambda: transport.stats().sent.sent > 10)
                assert shared.pid is not None
                os.kill(shared.pid, signal.SIGKILL)
                for task in tasks:
                    with pytest.raises(LostProcessError):
                        await soon(task)
            check_law(transport)

    asyncio.run(main())


def test_pictures_and_events(fake_room: FakeRoom) -> None:
    async def main() -> None:
        camera = fake_room.join("alice").publish_video(width=64, height=64)
        async with opened(fake_room, kinds=("video", "event")) as transport:
            await asyncio.to_thread(camera.wait_for_subscriber)
            camera.show(sources.picture(3, 64, 64))
            camera.show(sources.picture(4, 640, 480))
            numbers: list[int] = []
            kinds: list[EventKind] = []
            async for item in transport.recv():
                if isinstance(item, ringroom.Event):
                    kinds.append(item.kind)
                    continue
                numbers.append(sources.picture_number(item))
                await transport.send(item)
                if len(numbers) == 2:
                    break
            assert numbers == [3, 4]
            assert EventKind.TRACK_STARTED in kinds
            footage = await asyncio.to_thread(fake_room.wait_for_video, "alice/camera", 2)
            assert [frame.width for frame in footage.frames] == [64, 640]

    asyncio.run(main())


def test_a_reader_that_is_behind_can_be_stopped() -> None:
    async def echo(transport: ringroom.aio.Transport) -> None:
        async for frame in transport.recv():
            clock.sleep(0.03)  # work, for longer than the frame lasts
            await transport.send(frame, publish=PublishOptions(mode="live"))

    async def main() -> None:
        async with ringroom.aio.transport("fake", room=room, io=clock.io) as transport:
            room.join("ann").publish_audio(sample_rate=RATE).tone(seconds=5)
            await stopped_in_time(clock, echo(transport))

    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        clock.run(main())


def test_a_reader_that_is_behind_holds_up_nobody_and_loses_nothing_when_cancelled() -> None:
    async def tick() -> None:
        while True:
            ticks.append(clock.now())
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with ringroom.aio.transport(
            "fake", room=room, io=clock.io, max_age=60.0
        ) as transport:
            spoken, heard = noise(2.0), [noise(0.0)]
            room.join("ann").publish_audio(sample_rate=RATE).speak(spoken)
            receiver = transport.recv()
            ticking = asyncio.create_task(tick())
            while sum(map(len, heard)) < len(spoken):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.07):
                        while sum(map(len, heard)) < len(spoken):
                            heard.append((await anext(receiver)).samples)
                            clock.sleep(0.03)
            ticking.cancel()
            assert same(np.concatenate(heard), spoken)
        # A timer takes two turns of the loop, and a turn here what one frame takes.
        assert max(np.diff(ticks)) < 0.1 < ticks[-1] - ticks[0]

    ticks: list[float] = []
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        clock.run(main())


def test_who_polls_without_waiting_gets_what_is_there() -> None:
    async def main() -> None:
        async with ringroom.aio.transport("fake", room=room, io=clock.io) as transport:
            room.join("ann").publish_audio(sample_rate=RATE).tone(seconds=1)
            receiver, frames = transport.recv(), 0
            for _ in range(60):
                await asyncio.sleep(0.02)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0):
                        while True:
                            await anext(receiver)
                            frames += 1
            assert frames == 50

    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        clock.run(main())
