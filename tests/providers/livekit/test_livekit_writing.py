"""Texts that we write while others read them, over a room that behaves as the SDK's does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
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


ANEW = "the connection was made anew before all of the text was out"
HOWS = pytest.mark.parametrize("how", ["write", "close"])


def goes_on(text: Any, how: str) -> asyncio.Future[None]:
    return asyncio.ensure_future(text.write("x") if how == "write" else text.close())


@HOWS
def test_a_text_does_not_outlive_a_connection_that_is_made_anew(room: Room, how: str) -> None:
    """For the others we have left, and what we had begun is broken off."""

    async def scenario() -> None:
        async with joined() as app:
            text = await app.open_text(BEGINNING)
            room.emit("reconnecting")
            writing = goes_on(text, how)
            await turns()
            assert not writing.done(), "it waits for the connection"
            room.certificate = "CF2"
            room.emit("reconnected")
            with pytest.raises(RoomError, match=ANEW) as caught:
                await writing
            assert caught.value.reason == "data_refused"
            await turns()
            assert room.local_participant.log == [BEGUN, CLOSED]
            text = await app.open_text(BEGINNING)
            await text.write("y")
            await text.close()

    run(scenario())


@HOWS
def test_a_text_goes_on_in_a_connection_that_is_resumed(room: Room, how: str) -> None:
    """From which nothing is lost, whatever becomes of our sid."""

    async def scenario() -> None:
        async with joined() as app:
            local = room.local_participant
            text = await app.open_text(BEGINNING)
            for _ in range(2):
                local.unanswered = asyncio.get_running_loop().create_future()
                writing = goes_on(text, "write")
                await turns()
                room.emit("reconnecting")
                local.sid = f"PA_{len(local.log)}"
                room.emit("reconnected")
                local.unanswered.set_result(None)
                await writing
            room.emit("reconnecting")
            writing = goes_on(text, how)
            room.emit("reconnected")
            await writing
            if how == "write":
                await text.close()
            *_, end = local.log
            assert end == (b"", {"closed": ""})

    run(scenario())


def test_a_connection_that_is_lost_again_as_it_comes_back(room: Room) -> None:
    """Of which the SDK tells one loss and two returns."""

    async def scenario() -> None:
        async with joined() as app:
            text = await app.open_text(BEGINNING)
            room.emit("reconnecting")
            room.emit("reconnected")
            await text.write("x")
            room.certificate = "CF2"
            room.emit("reconnected")
            with pytest.raises(RoomError, match=ANEW):
                await text.write("y")
            await turns()
            assert room.local_participant.log == [BEGUN, (b"x", {}), CLOSED]

    run(scenario())


@pytest.mark.parametrize("says", ["nothing", "an error"])
def test_where_the_sdk_does_not_say_each_loss_is_taken_for_another_stay(
    room: Room, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> Any:
        if says == "nothing":
            return SimpleNamespace(publisher_stats=[])
        raise RuntimeError("the room isn't connected")

    monkeypatch.setattr(room, "get_rtc_stats", broken)

    async def scenario() -> None:
        async with joined() as app:
            text = await app.open_text(BEGINNING)
            await text.write("x")
            room.emit("reconnecting")
            room.emit("reconnected")
            with pytest.raises(RoomError, match=ANEW):
                await text.write("y")
            await turns()

    run(scenario())


def test_a_room_that_ends_before_the_sdk_has_said_which_stay_it_is(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent() -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(room, "get_rtc_stats", silent)

    async def scenario() -> None:
        async with joined() as app:
            opening = asyncio.ensure_future(app.open_text(BEGINNING))
            await turns()
            room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
            with pytest.raises(RoomError) as caught:
                await opening
            assert caught.value.reason == "disconnected"

    run(scenario())


def test_an_end_that_a_new_connection_overtakes_is_told(room: Room) -> None:
    """The SDK sends it all the same, and nobody knows whether the others have all of it."""

    async def scenario() -> None:
        async with joined() as app:
            local = room.local_participant
            text = await app.open_text(BEGINNING)
            local.unanswered = asyncio.get_running_loop().create_future()
            closing = asyncio.ensure_future(text.close())
            await turns()
            room.emit("reconnecting")
            room.certificate = "CF2"
            room.emit("reconnected")
            local.unanswered.set_result(None)
            with pytest.raises(RoomError, match=ANEW):
                await closing
            await turns()
            assert local.log == [BEGUN, (b"", {"closed": ""})]

    run(scenario())


def test_what_is_open_as_we_leave_is_ended_as_unfinished(room: Room) -> None:
    """Also what a write of is under way: dropped like that, the SDK would end it as if whole."""

    async def scenario() -> None:
        async with joined() as app:
            local = room.local_participant
            await app.open_text(BEGINNING)
            busy = await app.open_text(BEGINNING)
            done = await app.open_text(BEGINNING)
            await done.close()
            del local.log[:]
            local.unanswered = asyncio.get_running_loop().create_future()
            writing = asyncio.ensure_future(busy.write("x"))
            await turns()
            left = asyncio.ensure_future(app.close())
            await turns()
            assert room.disconnects == 0
            local.unanswered.set_result(None)
            await left
            assert sorted(local.log, key=str) == [CLOSED, CLOSED, (b"x", {})]
            assert local.log[0] == (b"x", {})
            await writing

    run(scenario())


def test_a_write_that_is_cancelled_leaves_its_text_unfinished(room: Room) -> None:
    async def scenario() -> None:
        async with joined() as app:
            local = room.local_participant
            text = await app.open_text(BEGINNING)
            local.unanswered = asyncio.get_running_loop().create_future()
            writing = asyncio.ensure_future(text.write("x"))
            await turns()
            writing.cancel()
            await asyncio.wait([writing])
            local.unanswered.set_result(None)
            await turns()
            assert local.log == [BEGUN, (b"x", {}), CLOSED]

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
