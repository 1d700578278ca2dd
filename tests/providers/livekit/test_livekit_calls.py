"""Calls in both directions, over a room that behaves as the SDK's does."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc

import native_kit  # noqa: F401  (the native library's threads are no test's)
from loop_kit import VirtualLoop, run_virtual
from ringroom.errors import RoomError, RpcError
from ringroom.events import Kind
from ringroom.options import SessionOptions
from ringroom.providers.livekit.connection import LiveKitProvider
from ringroom.providers.livekit.rpc import LAST_SECONDS
from sdk_kit import Room, Sink, provider, raising, someone, turns

OPTIONS = SessionOptions(kinds=(Kind.DATA,), rpc_methods=("a", "b"))


class CalledSink(Sink):
    """Answers calls as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []
        self.raises: Exception | None = None
        self.wait: asyncio.Future[None] | None = None

    async def call(self, *call: Any) -> str:
        self.calls.append(call)
        if self.wait is not None:
            await self.wait
        if self.raises is not None:
            raise self.raises
        return "answer"


async def joined(options: SessionOptions = OPTIONS) -> tuple[LiveKitProvider, CalledSink]:
    app, sink = provider(), CalledSink()
    await app.connect(sink, options)  # type: ignore[arg-type]
    return app, sink


def asked(payload: str) -> Any:
    return SimpleNamespace(payload=payload, caller_identity="ann", response_timeout=3.0)


def test_the_methods_are_there_when_we_have_joined(room: Room) -> None:
    async def scenario(_: VirtualLoop) -> None:
        app, sink = await joined()
        methods = room.local_participant.methods
        assert [*methods] == ["a", "b"]
        assert await methods["b"](asked("é")) == "answer"
        assert sink.calls == [("b", "é", "ann", 3.0)]
        await app.close()

    run_virtual(scenario)


def test_who_was_told_last_is_told_before_we_leave(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, sink = await joined()
        sink.raises = RpcError("gone", code=RpcError.RECIPIENT_DISCONNECTED)
        with pytest.raises(rtc.RpcError):
            await room.local_participant.methods["a"](asked(""))
        told = loop.time()
        closing = asyncio.ensure_future(app.close())
        await asyncio.sleep(LAST_SECONDS / 2)
        assert not room.disconnects
        await closing
        assert room.disconnects
        assert loop.time() == pytest.approx(told + LAST_SECONDS)

    run_virtual(scenario)


def test_what_the_caller_is_told_and_the_log(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, sink = await joined()
        method = room.local_participant.methods["a"]
        sink.raises = RpcError("no", code=42, data="d")
        with pytest.raises(rtc.RpcError) as raised:
            await method(asked(""))
        error = raised.value
        assert (error.code, error.message, error.data) == (42, "no", "d")
        assert not caplog.records
        sink.raises = ValueError("odd")
        with pytest.raises(rtc.RpcError) as raised:
            await method(asked("what nobody is to read"))
        assert raised.value.code == RpcError.APPLICATION_ERROR
        assert "odd" not in raised.value.message
        assert "a call of 'a' was not answered" in caplog.text
        assert "what nobody is to read" not in caplog.text
        sink.wait = loop.create_future()
        task = asyncio.ensure_future(method(asked("")))
        await turns()
        task.cancel()  # as the SDK does at the caller's deadline
        with pytest.raises(asyncio.CancelledError):
            await task
        await app.close()

    run_virtual(scenario)


def test_a_call_of_ours(room: Room) -> None:
    async def scenario(_: VirtualLoop) -> None:
        app, _sink = await joined(SessionOptions())
        local = room.local_participant
        room.remote_participants["ann"] = someone("ann")
        local.answer = lambda: "yes"
        assert await app.call("ann", "m", "x", 10.0) == "yes"
        [fields] = local.log
        assert fields == {
            "destination_identity": "ann",
            "method": "m",
            "payload": "x",
            "response_timeout": 17.0,
        }
        local.answer = raising(rtc.RpcError(42, "no", "d"))
        with pytest.raises(RpcError, match="no") as raised:
            await app.call("ann", "m", "x", 10.0)
        assert (raised.value.code, raised.value.data) == (42, "d")
        local.log.clear()
        with pytest.raises(RpcError) as raised:
            await app.call("bob", "m", "x", 10.0)
        assert raised.value.code == RpcError.RECIPIENT_NOT_FOUND, "the SDK would wait for 7 s"
        local.permissions.can_publish_data = False
        with pytest.raises(RpcError, match="canPublishData"):
            await app.call("ann", "m", "x", 10.0)
        assert not local.log
        await app.close()

    run_virtual(scenario)


def test_a_call_that_the_end_of_the_room_or_its_caller_overtakes(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, _sink = await joined(SessionOptions())
        local = room.local_participant
        room.remote_participants["ann"] = someone("ann")
        local.unanswered = loop.create_future()
        given_up = asyncio.ensure_future(app.call("ann", "m", "x", 10.0))
        await turns()
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        local.unanswered = loop.create_future()
        call = asyncio.ensure_future(app.call("ann", "m", "x", 10.0))
        await turns()
        room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
        with pytest.raises(RoomError) as raised:
            await call
        assert raised.value.reason == "disconnected"
        await app.close()

    run_virtual(scenario)
