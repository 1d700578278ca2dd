"""The asyncio face and other threads: they may ask how it is, and disturb nobody who waits."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

import ringroom
from app_kit import sound, until
from ringroom.events import EventKind
from ringroom.testing import FakeRoom, VirtualClock

ASKED: dict[str, Callable[[ringroom.aio.Transport], Any]] = {
    "stats": lambda transport: transport.stats().sent.sent,
    "ended": lambda transport: transport.ended,
    "played": lambda transport: transport.played(),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_who_waits_for_an_answer_gets_it_whoever_asks_meanwhile(
    ask: Callable[[ringroom.aio.Transport], Any],
) -> None:
    async def main() -> None:
        async with ringroom.aio.transport("fake", room=room, io=clock.io) as transport:
            await transport.send(sound(1.0))
            link = transport._connection.session.fileno()

            def watch() -> None:
                # It has its turn before the loop, whose last one was later.
                clock.wait([link], None)
                answers.append(ask(transport))

            watching = clock.start_thread("metrics", watch)
            await asyncio.sleep(0.1)
            await transport.flush()
            watching.join()

    answers: list[Any] = []
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        clock.run(main())
    assert answers in ([10], [None], [pytest.approx(0.1, abs=0.1)])


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_a_death_that_somebody_else_looks_at_first_is_overcome_at_once(
    ask: Callable[[ringroom.aio.Transport], Any],
) -> None:
    async def main() -> None:
        options: Any = {"io": clock.io, "kinds": ("event",)}
        async with ringroom.aio.transport("fake", room=room, **options) as transport:
            await transport.send(sound(0.1))
            link = transport._connection.session.fileno()

            def watch() -> None:
                # It has its turn before the loop, whose last one was later.
                clock.wait([link], None)
                ask(transport)

            watching = clock.start_thread("metrics", watch)
            await asyncio.sleep(1.0)
            died = clock.now_ns()
            clock.kill("ringroom-io")
            await asyncio.sleep(60.0)  # and nothing else wakes the loop
            watching.join()
            events = transport.recv()
            while (event := await anext(events)).kind is not EventKind.CONNECTION_LOST:
                pass
            assert event.received_ns - died < 1_000_000_000

    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        clock.run(main())


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_a_loop_that_stands_still_is_left_alone_by_other_threads(
    fake_room: FakeRoom, ask: Callable[[ringroom.aio.Transport], Any]
) -> None:
    """It may go on at any moment, and what it watches is not for two threads."""
    with closing(asyncio.new_event_loop()) as loop:
        transport = ringroom.aio.transport("fake", room=fake_room, io="thread")
        loop.run_until_complete(transport.open())
        try:
            link = transport._connection.session.fileno()
            fake_room.close_room()
            until(lambda: select.select([link], [], [], 0)[0], "the news of it")
            with ThreadPoolExecutor() as threads:
                threads.submit(ask, transport).result()
            assert select.select([link], [], [], 0)[0], "another thread has handled the link"
            assert until(lambda: transport.ended, "its own thread's look") == "room closed"
        finally:
            loop.run_until_complete(transport.close())
