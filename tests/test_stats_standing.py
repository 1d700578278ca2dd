"""Beside the counts of lanes, `stats` tells whether we are in the room and what became of the
processes. Whoever asks, on any thread, and whether or not anybody receives events."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import ringroom
from app_kit import Call, microphone, opened, say, until
from pool_kit import running
from reconnect_kit import SOON
from ringroom.faces.connection import WorkerStatistics
from ringroom.processor import WHERE
from ringroom.testing import FakeRoom, faults

LONG = 30.0


def standing(transport: Any) -> tuple[bool, int, int]:
    stats = transport.stats()
    return stats.in_room, stats.connection_losses, stats.io_deaths


def test_a_loss_that_heals_and_one_that_does_not(fake_room: FakeRoom) -> None:
    with opened(fake_room, reconnect=SOON) as transport:
        assert standing(transport) == (True, 0, 0)
        assert transport.stats().workers is None
        fake_room.lose_connection()
        until(lambda: standing(transport) == (False, 1, 0))
        fake_room.restore_connection()
        until(lambda: standing(transport) == (True, 1, 0))
        with fake_room.faults.server_gone():
            until(lambda: standing(transport) == (False, 2, 0))
        until(lambda: standing(transport) == (True, 2, 0))
    assert standing(transport) == (False, 2, 0)


def test_the_rooms_end_is_no_loss(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        fake_room.close_room()
        until(lambda: transport.ended)
        assert standing(transport) == (False, 0, 0)


def test_an_io_process_that_dies_is_found_by_who_asks(fake_room: FakeRoom) -> None:
    """Nobody calls the transport but the thread that asks, and with that it goes on."""
    with opened(fake_room, io="process") as transport:
        faults.killed(transport.io_pid)
        Call(until, lambda: standing(transport) == (True, 1, 1), timeout=LONG).result(LONG)


def test_of_asyncio_any_thread_may_ask(fake_room: FakeRoom) -> None:
    async def main() -> ringroom.aio.Transport:
        async with ringroom.aio.transport("fake", room=fake_room, reconnect=SOON) as transport:
            await asyncio.to_thread(until, lambda: standing(transport) == (True, 0, 0))
            fake_room.lose_connection()
            await asyncio.to_thread(until, lambda: standing(transport) == (False, 1, 0))
            fake_room.restore_connection()
            faults.killed(transport.io_pid)
            await asyncio.to_thread(until, lambda: standing(transport)[::2] == (True, 1), LONG)
        return transport

    assert standing(asyncio.run(main()))[0] is False


class Raises(ringroom.Processor):
    """In some of its calls."""

    def process(self, frame: Any) -> Any:
        raise ValueError("not this one")

    def close(self, track: Any) -> Any:
        raise ValueError("nor that")


def test_what_became_of_the_workers(fake_room: FakeRoom, tmp_path: Path) -> None:
    mic = microphone(fake_room)
    with running(fake_room, Raises, workers=2, spares=1) as pool:

        def workers() -> WorkerStatistics:
            found = pool.stats().workers
            assert found is not None
            return found

        until(lambda: workers().spares == 1, timeout=LONG)
        assert (workers().seated, workers().vacant, workers().deaths) == (2, 0, 0)
        mic.wait_for_subscriber()
        say(mic, 0.04)
        until(lambda: workers().problems["process"] == 2)
        faults.killed(pool.pids[0])
        until(lambda: (workers().deaths, workers().replaced) == (1, 1), timeout=LONG)
        until(lambda: (workers().seated, workers().vacant) == (2, 0), timeout=LONG)
        mic.unpublish()
        until(lambda: workers().problems["close"] == 1)
    problems = dict.fromkeys(WHERE, 0) | {"process": 2, "close": 1}
    assert workers() == WorkerStatistics(deaths=1, replaced=1, problems=problems)


def test_a_pool_that_has_not_begun_has_no_workers(fake_room: FakeRoom) -> None:
    pool = ringroom.Pool(Raises, "fake", room=fake_room)
    assert pool.stats() == ringroom.Statistics(
        lanes=(), workers=WorkerStatistics(problems=dict.fromkeys(WHERE, 0))
    )
