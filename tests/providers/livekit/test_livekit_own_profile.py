"""What is told of us, over a room that behaves as the SDK's does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc

import native_kit  # noqa: F401  (the native library's threads are no test's)
from loop_kit import VirtualLoop, run_virtual
from ringroom.errors import RoomError
from ringroom.options import SessionOptions
from ringroom.providers.livekit.connection import LiveKitProvider
from ringroom.providers.provider import Profile
from sdk_kit import Room, Sink, provider, turns

ALL = Profile(name="App", metadata="m", attributes={"a": "1", "b": ""})


def shows(room: Room, what: str, value: Any) -> None:
    """The server has told the SDK, which tells us."""
    local = room.local_participant
    setattr(local, what, value)
    arguments = ({}, local) if what == "attributes" else (local, "", "")
    room.emit(f"participant_{what}_changed", *arguments)


async def joined() -> tuple[LiveKitProvider, Sink]:
    app, sink = provider(), Sink()
    await app.connect(sink, SessionOptions(connect_timeout=0.1))  # type: ignore[arg-type]
    return app, sink


@pytest.mark.parametrize("answered", [True, False])
def test_one_part_after_the_other_each_once_it_shows(room: Room, answered: bool) -> None:
    """The SDK may miss the server's answer, and wait for it for 5 s; what shows was done."""

    async def scenario(loop: VirtualLoop) -> None:
        app, sink = await joined()
        local = room.local_participant
        local.attributes = {"b": "2"}
        if not answered:
            local.unanswered = loop.create_future()
        setting = asyncio.create_task(app.set_profile(ALL))
        await turns()
        assert local.log == [("name", "App")]
        shows(room, "metadata", "of somebody else's doing")
        await turns()
        assert len(local.log) == 1
        shows(room, "name", "App")
        await turns()
        assert local.log[1:] == [("metadata", "m")]
        shows(room, "metadata", "m")
        await turns()
        assert local.log[2:] == [("attributes", {"a": "1", "b": ""})]
        shows(room, "attributes", {"a": "1", "b": "2"})
        await turns()
        assert not setting.done()
        shows(room, "attributes", {"a": "1", "c": "3"})
        await setting
        assert not sink.kinds()[1:], "others are told, not we"
        await app.close()

    run_virtual(scenario)


def test_what_is_so_already_is_not_asked_for(room: Room) -> None:
    async def scenario(_: VirtualLoop) -> None:
        app, _sink = await joined()
        local = room.local_participant
        local.name, local.metadata, local.attributes = "App", "m", {"a": "1"}
        await app.set_profile(ALL)
        assert not local.log
        await app.close()

    run_virtual(scenario)


def test_who_may_not_is_told_at_once(room: Room) -> None:
    async def scenario(_: VirtualLoop) -> None:
        app, _sink = await joined()
        room.local_participant.permissions.can_update_metadata = False
        with pytest.raises(RoomError, match="canUpdateOwnMetadata") as caught:
            await app.set_profile(ALL)
        assert caught.value.reason == "profile_refused"
        assert not room.local_participant.log
        await app.close()

    run_virtual(scenario)


@pytest.mark.parametrize("what", ["name", "metadata", "attributes"])
def test_what_does_not_show_is_refused(room: Room, what: str) -> None:
    """The SDK's call returns as ever when the server has refused."""

    async def scenario(loop: VirtualLoop) -> None:
        app, _sink = await joined()
        change = {"name": "App", "metadata": "m", "attributes": {"a": "1"}}[what]
        began = loop.time()
        with pytest.raises(RoomError, match=f"not taken the {what} within 12 s") as caught:
            await app.set_profile(Profile(**{what: change}))
        assert caught.value.reason == "profile_refused"
        # A second more, in which the SDK would have told that the connection is lost.
        assert loop.time() - began == pytest.approx(13.0)
        await app.close()

    run_virtual(scenario)


def test_what_the_sdk_raises_is_raised(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, _sink = await joined()
        room.local_participant.unanswered = loop.create_future()
        room.local_participant.unanswered.set_exception(ValueError("no such handle"))
        with pytest.raises(ValueError, match="no such handle"):
            await app.set_profile(ALL)
        await app.close()

    run_virtual(scenario)


def test_what_a_loss_overtakes_is_asked_for_again(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, _sink = await joined()
        local = room.local_participant
        local.unanswered = loop.create_future()
        setting = asyncio.create_task(app.set_profile(Profile(name="App")))
        await turns()
        room.emit("reconnecting")
        await asyncio.sleep(20.0)
        assert not setting.done()
        assert local.log == [("name", "App")]
        room.emit("reconnected")
        await turns()
        assert local.log == [("name", "App")] * 2
        shows(room, "name", "App")
        await setting
        await app.close()

    run_virtual(scenario)


def test_what_is_set_while_the_connection_is_lost_waits_for_it(room: Room) -> None:
    async def scenario(_: VirtualLoop) -> None:
        app, _sink = await joined()
        room.emit("reconnecting")
        setting = asyncio.create_task(app.set_profile(Profile(name="App")))
        await asyncio.sleep(30.0)
        assert not room.local_participant.log
        room.emit("reconnected")
        await turns()
        shows(room, "name", "App")
        await setting
        await app.close()

    run_virtual(scenario)


def test_a_room_that_ends_meanwhile_has_refused_nothing(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, _sink = await joined()
        room.local_participant.unanswered = loop.create_future()
        setting = asyncio.create_task(app.set_profile(ALL))
        await turns()
        room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
        with pytest.raises(RoomError, match="ended") as caught:
            await setting
        assert caught.value.reason == "disconnected"
        await app.close()

    run_virtual(scenario)


def test_who_does_not_wait_any_longer_leaves_nothing_behind(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, _sink = await joined()
        room.local_participant.unanswered = loop.create_future()
        setting = asyncio.create_task(app.set_profile(ALL))
        await turns()
        setting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await setting
        assert room.local_participant.unanswered.cancelled()
        shows(room, "name", "App")
        await app.close()

    run_virtual(scenario)
