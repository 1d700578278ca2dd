"""The calls of others, from their arrival to their answer or to the end of their caller's time."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest
from io_kit import Outside, run, turns
from rooms_kit import hear, there, track

from ringroom.errors import RoomError, RpcError
from ringroom.events import Event, EventKind, Participant
from ringroom.frames import DataFrame
from ringroom.options import SessionOptions
from ringroom.processes.io.open_calls import MAX_OPEN, MAX_OPEN_OF_ONE, OpenCalls
from ringroom.rpc import MAX_CALL_BYTES, RpcCall

LONG = 60.0


class Room:
    """Takes what there is room for."""

    def __init__(self) -> None:
        self.options = SessionOptions(kinds=("data",), rpc_methods=("m",))  # type: ignore[arg-type]
        self.clock = itertools.count(1_000).__next__
        self.passed: list[RpcCall] = []
        self.has_room = True

    def pass_call(self, call: RpcCall) -> bool:
        self.passed.append(call)
        return self.has_room


async def refused(calls: OpenCalls, *call: Any) -> RpcError:
    with pytest.raises(RpcError) as raised:
        await calls.take(*call)
    return raised.value


def nothing_is_kept(calls: OpenCalls) -> bool:
    return not calls._open and not calls._count


def test_a_call_is_open_until_it_is_answered() -> None:
    async def main() -> None:
        room = Room()
        calls = OpenCalls(room)
        task = asyncio.ensure_future(calls.take("m", "é", "ann", LONG))
        await turns()
        [call] = room.passed
        assert (call.method, call.text, call.participant, call.timeout) == ("m", "é", "ann", LONG)
        for other in (
            replace(call, number=call.number + 1),
            replace(call, participant="bob"),
            replace(call, topic="n"),
        ):
            with pytest.raises(RoomError, match="is not open") as raised:
                calls.answer(other.answer("no"))
            assert raised.value.reason == "data_refused"
        calls.answer(call.answer("yes"))
        with pytest.raises(RoomError, match="call 'm' of 'ann' is not open"):
            calls.answer(call.answer("again"))  # before the first has gone out
        assert await task == "yes"
        assert nothing_is_kept(calls)

    run(main())


def test_what_is_refused_at_once_is_kept_nowhere() -> None:
    async def main() -> None:
        room = Room()
        calls = OpenCalls(room)
        large, identity = "é" * (MAX_CALL_BYTES // 2 + 1), "a" * 1_025
        for call, code in (
            (("other", "", "ann", LONG), RpcError.UNSUPPORTED_METHOD),
            (("m", large, "ann", LONG), RpcError.REQUEST_PAYLOAD_TOO_LARGE),
            (("m", "", identity, LONG), RpcError.APPLICATION_ERROR),
            (("m", "", "\ud800", LONG), RpcError.APPLICATION_ERROR),
        ):
            assert (await refused(calls, *call)).code == code
        room.has_room = False
        assert "Too busy" in str(await refused(calls, "m", "", "ann", LONG))
        calls.close()
        error = await refused(calls, "m", "", "ann", LONG)
        assert error.code == RpcError.RECIPIENT_DISCONNECTED
        assert nothing_is_kept(calls)

    run(main())


def test_how_long_a_caller_waits() -> None:
    async def main() -> None:
        calls = OpenCalls(Room())
        for seconds in (-1.0, 0.0, 0.01):
            error = await refused(calls, "m", "", "ann", seconds)
            assert error.code == RpcError.RESPONSE_TIMEOUT
        task = asyncio.ensure_future(calls.take("m", "", "ann", 1e300))
        await turns()
        task.cancel()  # as the SDK does
        await asyncio.wait([task])
        assert nothing_is_kept(calls)

    run(main())


def test_so_many_are_open_and_no_more() -> None:
    async def main() -> None:
        room = Room()
        calls = OpenCalls(room)

        def call(who: str) -> asyncio.Future[str]:
            return asyncio.ensure_future(calls.take("m", "", who, LONG))

        tasks = [call("ann") for _ in range(MAX_OPEN_OF_ONE)]
        await turns()
        assert "Too busy" in str(await refused(calls, "m", "", "ann", LONG))
        tasks += [call(f"{n // MAX_OPEN_OF_ONE}") for n in range(MAX_OPEN - MAX_OPEN_OF_ONE)]
        await turns()
        assert "Too busy" in str(await refused(calls, "m", "", "new", LONG))
        calls.forget("nobody")
        calls.forget("ann")
        await turns()
        assert [task.done() for task in tasks].count(True) == MAX_OPEN_OF_ONE
        again = call("new")
        await turns()
        calls.answer(room.passed[-1].answer("yes"))
        assert await again == "yes"
        calls.end_all()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        codes = {one.code for one in results if isinstance(one, RpcError)}
        assert codes == {RpcError.RECIPIENT_DISCONNECTED}
        assert nothing_is_kept(calls)

    run(main())


OPTIONS: dict[str, Any] = {"kinds": ("data", "event"), "rpc_methods": ("m",)}


def calls_of(items: list[Any]) -> list[RpcCall]:
    return [item for item in items if isinstance(item, RpcCall)]


def test_a_call_goes_to_the_worker_that_gets_its_callers_messages() -> None:
    async def main() -> None:
        async with there(**OPTIONS) as t:
            t.connect(readers=2)
            workers = [t.attach(place) for place in range(2)]
            await t.joined()
            for who in ("ann", "bob"):
                hear(t.sink.open_track(track(f"T{who}", who), Participant(identity=who)), 1)
            asking = [asyncio.ensure_future(t.sink.call("m", w, w, LONG)) for w in ("ann", "bob")]
            await turns()
            answers = workers[0].open(1, "", kind="data")  # whichever of them sends it
            for worker, who in zip(workers, ("ann", "bob"), strict=True):
                [call] = calls_of(worker.items())
                assert call.text == call.participant == who
                answers.send_nowait(call.answer(who.upper()), 1)
            assert await asyncio.gather(*asking) == ["ANN", "BOB"]

    run(main())


def test_what_ends_the_calls_of_a_room() -> None:
    async def main() -> None:
        async with there(**OPTIONS) as t:
            t.connect()
            await t.joined()

            async def code() -> int:
                with pytest.raises(RpcError) as raised:
                    await t.sink.call("m", "", "ann", LONG)
                return raised.value.code

            left = asyncio.ensure_future(code())
            await turns()
            ann = Participant(identity="ann")
            t.sink.event(Event(kind=EventKind.PARTICIPANT_LEFT, participant=ann))
            assert await left == RpcError.RECIPIENT_DISCONNECTED
            over = asyncio.ensure_future(code())
            await turns()
            t.sink.ended("the end")
            assert await over == RpcError.RECIPIENT_DISCONNECTED
            assert await code() == RpcError.UNSUPPORTED_METHOD, "nothing is heard any more"
            assert len(calls_of(t.items())) == 2

    run(main())


def test_who_waits_is_told_as_we_leave_while_the_provider_is_still_there() -> None:
    class Answering(Outside):
        told: RpcError | None = None
        task: asyncio.Task[None] | None = None

        async def ask(self, sink: Any) -> None:
            try:
                await sink.call("m", "", "ann", LONG)
            except RpcError as error:
                self.told = error

        async def close(self) -> None:
            assert self.told is not None, "it would have to be cancelled, and nobody be told"
            await super().close()

    async def main() -> None:
        async with there(outside := Answering(), **OPTIONS) as t:
            t.connect()
            await t.joined()
            outside.task = asyncio.create_task(outside.ask(t.sink))
            await turns()
        assert outside.closes == 1
        assert outside.told is not None
        assert outside.told.code == RpcError.RECIPIENT_DISCONNECTED

    run(main())


def test_a_call_that_nobody_waits_for_does_not_come() -> None:
    """Of a recording, say, that somebody has put one into."""

    async def main() -> None:
        async with there(**OPTIONS) as t:
            t.connect()
            await t.joined()
            call = RpcCall(b"", "m", "ann")
            for frame in (call, call.answer(), DataFrame(b"message")):
                t.sink.data(frame)
            items = [item for item in t.items() if isinstance(item, DataFrame)]
            assert [item.payload for item in items] == [b"message"]

    run(main())
