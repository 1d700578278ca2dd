"""Texts that we write while others read them, over a room that behaves as the SDK's does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit import rtc
from livekit.rtc.data_stream import StreamError

import native_kit  # noqa: F401  (the native library's threads are no test's)
from ringroom.errors import RoomError
from ringroom.frames import TextFrame
from ringroom.options import SessionOptions
from ringroom.text_out import UNFINISHED
from sdk_kit import TOKEN, Room, Sink, provider, raising, run, turns

BEGINNING = TextFrame(b"", "t", to=("ann",), attributes={"a": "b"})
FIELDS = {"destination_identities": ["ann"], "topic": "t", "attributes": {"a": "b"}}
BEGUN: tuple[bytes, Any] = (b"", FIELDS)
CLOSED: tuple[bytes, Any] = (b"", {"closed": UNFINISHED})


@asynccontextmanager
async def joined(**options: Any) -> AsyncIterator[Any]:
    app = provider()
    await app.connect(Sink(), SessionOptions(**options))  # type: ignore[arg-type]
    try:
        yield app
    finally:
        await app.close()


def test_writing_a_text(room: Room) -> None:
    async def scenario() -> None:
        async with joined() as app:
            log = room.local_participant.log
            text = await app.open_text(BEGINNING)
            await text.write("grüße")
            assert log == [BEGUN, ("grüße".encode(), {})]
            await text.close()
            assert log[2:] == [(b"", {"closed": ""})]
            other = await app.open_text(BEGINNING)
            await other.close(UNFINISHED)
            assert log[3:] == [BEGUN, CLOSED]
            final = await app.open_text(BEGINNING)
            await final.close(attributes={"c": "d"})
            assert log[6:] == [(b"", {"closed": "", "attributes": {"c": "d"}})]

    run(scenario())


def test_what_the_sdk_refuses(room: Room) -> None:
    async def scenario() -> None:
        async with joined() as app:
            local = room.local_participant
            text = await app.open_text(BEGINNING)
            local.answer = raising(StreamError(f"too much {TOKEN}"))
            with pytest.raises(RoomError, match=r"too much \(token\)") as caught:
                await text.write("x")
            assert caught.value.reason == "data_refused"
            await turns()
            assert local.log[2:] == [CLOSED], "the others are told that it is over"
            with pytest.raises(RoomError, match=r"too much \(token\)"):
                await app.open_text(BEGINNING)
            local.answer = lambda: None
            text = await app.open_text(BEGINNING)
            local.permissions.can_publish_data = False
            with pytest.raises(RoomError, match="canPublishData"):
                await text.write("x")
            with pytest.raises(RoomError, match="canPublishData"):
                await app.open_text(BEGINNING)

    run(scenario())


@pytest.mark.parametrize("how", ["write", "close"])
def test_a_text_does_not_outlive_a_loss_that_heals(room: Room, how: str) -> None:
    """The others may have lost it, which the SDK does not tell."""

    async def scenario() -> None:
        async with joined() as app:
            text = await app.open_text(BEGINNING)
            room.emit("reconnecting")
            writing = asyncio.ensure_future(text.write("x") if how == "write" else text.close())
            await turns()
            assert not writing.done(), "it waits for the connection"
            room.emit("reconnected")
            with pytest.raises(RoomError, match="the connection was lost while") as caught:
                await writing
            assert caught.value.reason == "data_refused"
            await turns()
            assert room.local_participant.log == [BEGUN, CLOSED]
            text = await app.open_text(BEGINNING)
            await text.write("y")
            await text.close()

    run(scenario())


def test_an_end_that_a_loss_overtakes_is_told(room: Room) -> None:
    """The SDK sends it all the same, and nobody knows whether the others have all of it."""

    async def scenario() -> None:
        async with joined() as app:
            local = room.local_participant
            text = await app.open_text(BEGINNING)
            local.unanswered = asyncio.get_running_loop().create_future()
            closing = asyncio.ensure_future(text.close())
            await turns()
            room.emit("reconnecting")
            room.emit("reconnected")
            local.unanswered.set_result(None)
            with pytest.raises(RoomError, match="the connection was lost while"):
                await closing
            assert local.log == [BEGUN, (b"", {"closed": ""})]

    run(scenario())


def test_a_text_ends_with_its_room(room: Room) -> None:
    async def scenario() -> None:
        async with joined() as app:
            text = await app.open_text(BEGINNING)
            room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
            await turns()
            for call in (lambda: text.write("x"), text.close, lambda: app.open_text(BEGINNING)):
                with pytest.raises(RoomError) as caught:
                    await call()
                assert caught.value.reason == "disconnected"
            assert room.local_participant.log == [BEGUN]

    run(scenario())


def test_a_piece_under_way_as_the_room_ends_is_refused_by_nobody(room: Room) -> None:
    """And there is nobody to be told that the text is over."""

    async def scenario() -> None:
        async with joined() as app:
            local = room.local_participant
            text = await app.open_text(BEGINNING)
            local.unanswered = asyncio.get_running_loop().create_future()
            writing = asyncio.ensure_future(text.write("x"))
            await turns()
            room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
            with pytest.raises(RoomError) as caught:
                await writing
            assert caught.value.reason == "disconnected"
            local.unanswered.set_result(None)
            await turns()
            assert local.log == [BEGUN, (b"x", {})]

    run(scenario())


def test_a_text_that_begins_too_late_is_ended(room: Room) -> None:
    """Its sender has lost the room, say."""

    async def scenario() -> None:
        async with joined() as app:
            local = room.local_participant
            local.unanswered = asyncio.get_running_loop().create_future()
            opening = asyncio.ensure_future(app.open_text(BEGINNING))
            await turns()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            local.unanswered.set_result(None)
            await turns()
            assert local.log == [BEGUN, CLOSED]

    run(scenario())
