"""The asyncio face and other threads: they may ask how it is, and disturb nobody who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import ringroom
from app_kit import sound
from ringroom.testing import FakeRoom, VirtualClock

ASKED: dict[str, Callable[[ringroom.aio.Transport], Any]] = {
    "stats": lambda transport: transport.stats().sent.sent,
    "ended": lambda transport: transport.ended,
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
    assert answers in ([10], [None])
