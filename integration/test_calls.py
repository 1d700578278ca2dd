"""Calls (RPC) between us and plain clients of LiveKit's SDK, on a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from livekit import rtc

import ringroom
from integration.provider_kit import Server, peer, run
from ringroom.errors import RpcError

LARGEST = 15_360


class Desk(ringroom.Processor):
    """Answers calls in turn with computing, during which it holds the GIL."""

    kinds = ("data",)

    def process(self, frame: Any) -> Any:
        if not isinstance(frame, ringroom.RpcCall):
            return None
        if frame.text == "compute":
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                sum(range(100_000))
        if frame.text == "raise":
            raise ValueError("what is not the caller's business")
        if frame.text == "refuse":
            return frame.refuse("not today", code=42, data="{}")
        if frame.text == "never":
            return None
        return frame.answer(frame.text.swapcase() + frame.participant)


async def call(room: rtc.Room, payload: str, *, method: str = "ask", seconds: float = 20.0) -> str:
    """As a client of ours says it: the SDK takes 7 s of it for the way there."""
    return await room.local_participant.perform_rpc(
        destination_identity="app", method=method, payload=payload, response_timeout=seconds
    )


async def code(room: rtc.Room, payload: str, **how: Any) -> tuple[int, str, str | None]:
    with pytest.raises(rtc.RpcError) as raised:
        await call(room, payload, **how)
    return raised.value.code, raised.value.message, raised.value.data


async def once_known(call: Callable[[], Awaitable[str]]) -> str:
    """The answer, once the server has told the caller of whom it calls."""
    while True:
        try:
            return await call()
        except RpcError as error:
            if error.code != RpcError.RECIPIENT_NOT_FOUND:
                raise


def test_plain_clients_call_a_worker_that_holds_the_gil(server: Server) -> None:
    async def scenario() -> None:
        async with peer(server, "ann") as ann, peer(server, "ben") as ben:
            assert await call(ann.room, "grüße") == "GRÜSSEann"
            computing = asyncio.ensure_future(call(ann.room, "compute"))
            waiting = asyncio.ensure_future(call(ben.room, "after it"))
            await asyncio.sleep(0.1)
            began = time.monotonic()
            unknown = await code(ben.room, "", method="other")
            assert unknown[0] == RpcError.UNSUPPORTED_METHOD
            assert time.monotonic() - began < 0.7, "it is told by the I/O process"
            assert not computing.done()
            assert await computing == "COMPUTEann"
            assert await waiting == "AFTER ITben"
            assert await code(ann.room, "refuse") == (42, "not today", "{}")
            raised = await code(ann.room, "raise")
            assert raised[:2] == (RpcError.APPLICATION_ERROR, "Application error in method handler")
            late = await code(ann.room, "never", seconds=8)
            assert late[0] == RpcError.RESPONSE_TIMEOUT
            for size in (0, 1, LARGEST - 3):
                assert await call(ann.room, "x" * size) == "X" * size + "ann"
            large = await code(ann.room, "x" * (LARGEST + 1))
            assert large[0] == RpcError.REQUEST_PAYLOAD_TOO_LARGE
            many = await asyncio.gather(*(call(ben.room, f"{n} x") for n in range(50)))
            assert many == [f"{n} Xben" for n in range(50)]

    options = {"url": server.url, "token": server.token("app"), "rpc_methods": ("ask",)}
    with ringroom.Pool(Desk, "livekit", workers=1, **options):
        run(scenario())


def test_who_calls_as_soon_as_we_are_seen_is_answered(server: Server) -> None:
    async def scenario() -> None:
        async with peer(server, "ann") as ann:
            asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            tasks = []

            async def ask() -> None:
                asked.set_result(await call(ann.room, "early"))

            ann.room.on(
                "participant_connected", lambda _: tasks.append(asyncio.ensure_future(ask()))
            )
            options = {"url": server.url, "token": server.token("app")}
            async with ringroom.aio.transport(
                "livekit", kinds=("data",), rpc_methods=("ask",), **options
            ) as t:
                receiver = t.recv()
                item = await anext(receiver)
                assert isinstance(item, ringroom.RpcCall)
                await t.send(item.answer(item.text + item.participant))
                assert await asked == "earlyann"
                # One that is under way when we leave.
                leaving = asyncio.ensure_future(code(ann.room, "never"))
                await anext(receiver)
            assert (await leaving)[0] == RpcError.RECIPIENT_DISCONNECTED

    run(scenario())


def test_we_call_plain_clients_and_each_other(server: Server) -> None:
    largest = "é" * (LARGEST // 2)

    async def scenario(pool: ringroom.Pool) -> None:
        async with peer(server, "ann") as ann:
            us = ann.room.local_participant

            async def reverse(asked: rtc.RpcInvocationData) -> str:
                return asked.payload[::-1] + asked.caller_identity

            async def refuse(asked: rtc.RpcInvocationData) -> str:
                raise rtc.RpcError(42, "not today", "{}")

            async def wait(asked: rtc.RpcInvocationData) -> str:
                times.append(asked.response_timeout)
                await asyncio.sleep(60)
                return "too late"

            times: list[float] = []
            for method, handler in (("reverse", reverse), ("refuse", refuse), ("wait", wait)):
                us.register_rpc_method(method, handler)

            async def call(to: str, method: str, payload: str = "", **options: Any) -> str:
                return await asyncio.to_thread(pool.call, to, method, payload, **options)

            assert await once_known(lambda: call("ann", "reverse", "ab")) == "baapp"
            answer = await call("ann", "reverse", largest[: LARGEST // 2 - 2])
            assert answer == largest[: LARGEST // 2 - 2] + "app"
            many = await asyncio.gather(*(call("ann", "reverse", f"{n}") for n in range(30)))
            assert many == [f"{n}"[::-1] + "app" for n in range(30)]
            with pytest.raises(RpcError, match="not today") as raised:
                await call("ann", "refuse")
            assert (raised.value.code, raised.value.data) == (42, "{}")
            with pytest.raises(RpcError, match="Method not supported"):
                await call("ann", "other")
            with pytest.raises(TimeoutError, match="no answer from 'ann'"):
                await call("ann", "wait", timeout=1.5)
            assert times[-1] == pytest.approx(1.5, abs=0.5)
            async with ringroom.aio.transport(
                "livekit", url=server.url, token=server.token("two")
            ) as two:
                assert await once_known(lambda: two.call("app", "ask", "hello")) == "HELLOtwo"
            leaving = asyncio.ensure_future(call("ann", "wait", timeout=30.0))
            while len(times) < 2:
                await asyncio.sleep(0.02)
        with pytest.raises(RpcError) as raised:
            await leaving
        assert raised.value.code == RpcError.RECIPIENT_DISCONNECTED

    options = {"url": server.url, "token": server.token("app"), "rpc_methods": ("ask",)}
    with ringroom.Pool(Desk, "livekit", workers=1, **options) as pool:
        run(scenario(pool))
