"""The network or the server fails: what asyncio and a pool make of it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

import processors_kit as kit
import reconnect_kit
import ringroom
from app_kit import PATIENCE, check_law, microphone, said, say, sound, until
from reconnect_kit import ALL, BRIEF, SOON
from ringroom.errors import RoomError
from ringroom.events import Event, EventKind
from ringroom.frames import AudioFrame
from ringroom.testing import FakeRoom

io = reconnect_kit.io


def test_asyncio_is_joined_anew_as_well(fake_room: FakeRoom, io: str) -> None:
    mic = microphone(fake_room)

    async def main() -> None:
        async with (
            asyncio.timeout(6 * PATIENCE),
            ringroom.aio.transport(
                "fake", room=fake_room, io=io, kinds=ALL, reconnect=SOON, max_age=20.0
            ) as transport,
        ):
            await transport.send(sound(0.1))
            await asyncio.to_thread(said, fake_room, 0.1)
            seen: list[str] = []
            with fake_room.faults.server_gone():
                async for event in transport.recv(kinds=("event",)):
                    if event.kind is EventKind.CONNECTION_LOST:
                        break
            async for event in transport.recv(kinds=("event",)):
                seen.append(str(event.kind))
                if event.kind is EventKind.CONNECTION_BACK:
                    break
            assert seen == ["track_unpublished", "participant_left", "connection_back"]
            await transport.send(sound(0.1))
            await asyncio.to_thread(said, fake_room, 0.2)
            await asyncio.to_thread(mic.wait_for_subscriber)
            await asyncio.to_thread(say, mic)
            async for frame in transport.recv(kinds=("audio",)):
                assert isinstance(frame, AudioFrame)
                break
            check_law(transport)

    asyncio.run(main())


def test_a_pool_goes_on_with_its_workers(fake_room: FakeRoom, io: str) -> None:
    events: list[Event] = []
    mic = microphone(fake_room)
    options: dict[str, Any] = {
        "io": io,
        "workers": 2,
        "spares": 0,
        "standby": False,
        "max_age": 20.0,
        "reconnect": SOON,
        "on_event": events.append,
    }
    with ringroom.Pool(kit.Lives, "fake", room=fake_room, **options) as pool:
        mic.wait_for_subscriber()
        say(mic)
        said(fake_room, 0.1, "alice/mic")
        workers, process = pool.pids, pool.io_pid
        with fake_room.faults.server_gone():
            until(lambda: EventKind.CONNECTION_LOST in [event.kind for event in events])
        until(lambda: EventKind.CONNECTION_BACK in [event.kind for event in events])
        until(lambda: mic.subscribers)
        say(mic, seed=2)
        heard = said(fake_room, 0.2, "alice/mic")
        np.testing.assert_array_equal(heard[-1600:], sound(0.1, seed=2).samples)
        assert (pool.pids, pool.io_pid) == (workers, process)
        lives = [one.payload.decode() for one in fake_room.wait_for_data("life", 3)]
        assert lives == ["open alice/mic", "close alice/mic", "open alice/mic"]
        check_law(pool)


def test_a_pool_that_is_given_up_ends_with_the_error(fake_room: FakeRoom) -> None:
    with (
        ringroom.Pool(
            kit.echo, "fake", room=fake_room, io="thread", workers=1, spares=0, reconnect=BRIEF
        ) as pool,
        fake_room.faults.server_gone(),
        pytest.raises(RoomError, match="tried to join anew 2 times"),
    ):
        pool.wait(PATIENCE)
