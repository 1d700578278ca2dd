"""Calls of ours: each to the room that is there, once, until its time is over."""

from __future__ import annotations

import asyncio
from typing import Any

from io_kit import Outside, run, turns, until
from rooms_kit import Played, there

from ringroom import messages as m
from ringroom.errors import RoomError, RpcError
from ringroom.options import Reconnect

LONG = 60.0
SOON = Reconnect(backoff=0.01, longest=0.02)


class Called(Outside):
    """Answers when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str, str]] = []
        self.seconds: list[float] = []
        self.answers = asyncio.Event()
        self.raises: Exception | None = None

    async def call(self, to: str, method: str, payload: str, seconds: float) -> str:
        self.calls.append((to, method, payload))
        self.seconds.append(seconds)
        await self.answers.wait()
        if self.raises is not None:
            raise self.raises
        return payload.upper()


def call(end: Any, number: int, payload: str = "x", seconds: float = LONG) -> None:
    fields = {"to": "ann", "method": "m", "payload": payload, "seconds": seconds}
    end.link.send(m.PerformCall(request=number, **fields))


async def ended(end: Any, count: int = 1) -> dict[int, tuple[str, Any]]:
    found = await until(lambda: len(got := end.of(m.CallEnded)) >= count and got)
    return {
        one.request: (one.payload, m.error_from_json(one.error) if one.error else None)
        for one in found
    }


def test_several_at_a_time_each_answer_to_whoever_called() -> None:
    async def main() -> None:
        async with there(outside := Called()) as t:
            worker = t.attach(0)
            call(t, 1, "early")  # before we are in the room
            t.connect(1)
            await t.joined()
            call(worker, 1, "worker")
            await until(lambda: len(outside.calls) == 2)
            assert not t.of(m.CallEnded)
            outside.answers.set()
            assert await ended(t) == {1: ("EARLY", None)}
            assert await ended(worker) == {1: ("WORKER", None)}
            assert all(0 < seconds <= LONG for seconds in outside.seconds)
            calls = t.session.own_calls
            await until(lambda: not calls._tasks and not calls._under_way)

    run(main())


def test_what_a_call_ends_with() -> None:
    async def main() -> None:
        async with there(outside := Called()) as t:
            t.connect()
            await t.joined()
            call(t, 1, seconds=0.01)
            error = (await ended(t))[1][1]
            assert (type(error), error.code) == (RpcError, RpcError.RESPONSE_TIMEOUT)
            outside.answers.set()
            for number, raised, text in (
                (2, RpcError("no", code=42, data="d"), "no"),
                (3, RoomError("gone", reason="disconnected"), "the connection was lost while"),
                (4, RoomError("not here", reason="not_supported"), "not here"),
                (5, ValueError("odd"), "ValueError: odd"),
            ):
                outside.raises = raised
                call(t, number)
                error = (await ended(t, number))[number][1]
                assert text in str(error)
            assert (await ended(t))[2][1].data == "d"
            assert (await ended(t))[4][1].reason == "not_supported"

    run(main())


def test_a_room_that_is_lost_takes_along_what_it_knows_of_and_no_more() -> None:
    async def main() -> None:
        first, second = Called(), Called()
        async with there(first, reconnect=SOON) as t:
            t.connect()
            await t.joined()
            call(t, 1)
            await until(lambda: first.calls)
            second.connects.clear()
            Played.ready.append(second)
            t.sink.ended("lost", error="the network is gone")
            error = (await ended(t))[1][1]
            assert "whether the call was carried out is not known" in str(error)
            call(t, 2)  # it waits for the next room
            await turns()
            assert not second.calls
            second.answers.set()
            second.connects.set()
            assert (await ended(t, 2))[2] == ("X", None)

    run(main())
