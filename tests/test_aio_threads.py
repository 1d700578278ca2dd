"""The asyncio face and other threads: they may ask how it is, and disturb nobody who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import ringroom
from app_kit import sound
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
