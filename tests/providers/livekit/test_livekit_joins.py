"""Joins that are carried on, and what is kept of them."""

from __future__ import annotations

import asyncio

import pytest

from ringroom.providers.livekit import joins


def test_of_joins_that_are_answered_nothing_is_kept() -> None:
    """Identities are as many as visits: whoever serves for weeks has seen very many."""

    async def fails() -> None:
        raise ValueError("it was left")

    async def test() -> None:
        answered = asyncio.Event()
        for number in range(20):
            joins.carry_on(f"wss://x room {number}", answered.wait() if number % 2 else fails())
        for _ in range(2):
            joins.carry_on("wss://x room 1", answered.wait())
        assert len(joins.under_way()) == 22
        assert [len(joins.under_way(f"wss://x room {number}")) for number in (0, 1, 3)] == [1, 3, 1]
        with pytest.raises(TimeoutError):
            await joins.turn("wss://x room 1", 0.0)
        answered.set()
        assert 0.0 < await joins.turn("wss://x room 1", 60.0) <= 60.0
        while joins.under_way():
            await asyncio.sleep(0)
        assert not joins._of_loop[asyncio.get_running_loop()]

    asyncio.run(test())


def test_a_join_that_was_given_up_and_is_not_left_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """We are in the room, and nobody knows."""

    async def fails() -> None:
        raise ValueError("eyJhbGciOi")

    async def test() -> None:
        joins.carry_on("wss://x room 1", fails())
        while joins.under_way():
            await asyncio.sleep(0)

    asyncio.run(test())
    assert caplog.messages == ["livekit: a room whose join was given up was not left: ValueError"]
