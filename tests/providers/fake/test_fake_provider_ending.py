"""Connections that are lost and come back, and rooms that end, over both ways in."""

from __future__ import annotations

import asyncio

import pytest
from fake_kit import Opener, audio_track, connected, open_directly, run, wait

from aio_kit import until
from ringroom.errors import RoomError
from ringroom.events import EventKind
from ringroom.frames import AudioFrame, DataFrame
from ringroom.testing import FakeRoom
from ringroom.testing.connection import Connection


def test_a_connection_is_lost_and_comes_back(room: FakeRoom, open_provider: Opener) -> None:
    alice, bob = room.join("alice"), room.join("bob")
    microphone = alice.publish_audio(sample_rate=16_000)

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, sink):
            playout = await provider.publish(audio_track())
            sid = room.application.tracks["out"].sid
            room.lose_connection()
            await sink.event_of(EventKind.CONNECTION_LOST)
            microphone.noise(0.1, realtime=False)
            bob.leave()
            room.join("carol")
            await playout.play(AudioFrame(bytes(3_200), 16_000))
            sending = asyncio.create_task(provider.send_data(DataFrame(b"held")))
            await until(lambda: not playout._pieces)  # type: ignore[attr-defined]
            # Behind what was played: when the room holds it, it has had all the sound.
            fence = asyncio.create_task(provider.send_data(DataFrame(b"fence")))
            (connection,) = room._floor.state.audience
            assert isinstance(connection, Connection)
            await wait(room.wait_until, lambda: len(connection._held) == 2)
            assert not sending.done()
            assert not room.application.messages
            before = len(sink.events)
            room.restore_connection()
            await sending
            await fence
            await sink.until(lambda: len(sink.tracks) == 2)
            assert sink.kinds[before:] == [
                EventKind.TRACK_UNPUBLISHED,
                EventKind.PARTICIPANT_LEFT,
                EventKind.CONNECTION_BACK,
                EventKind.PARTICIPANT_JOINED,
                EventKind.TRACK_PUBLISHED,
            ]
            assert sink.tracks[0].closed == "connection lost"
            assert not sink.tracks[0].frames
            assert sink.tracks[1].track.sid != sink.tracks[0].track.sid
            assert room.application.tracks["out"].sid != sid
            microphone.noise(0.1, realtime=False)
            await sink.until(lambda: len(sink.tracks[1].frames) == 5)
            await playout.play(AudioFrame(bytes(3_200), 16_000))
            heard = await wait(room.wait_for_audio, "out", 0.1)
            assert heard.duration == 0.1  # type: ignore[attr-defined]

    run(test())


def test_a_connection_that_resumes_keeps_its_tracks(room: FakeRoom, open_provider: Opener) -> None:
    microphone = room.join("alice").publish_audio(sample_rate=16_000)

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (_, sink):
            await wait(microphone.wait_for_subscriber)
            room.lose_connection("app", "hiccup")
            room.lose_connection("app")
            microphone.mute()
            room.restore_connection("app", resume=True)
            room.restore_connection("app", resume=True)
            await sink.until(lambda: sink.tracks[0].mutes)
            assert sink.kinds[3:] == [EventKind.CONNECTION_LOST, EventKind.CONNECTION_BACK]
            assert len(sink.tracks) == 1
            with pytest.raises(LookupError, match="no application 'other'"):
                room.lose_connection("other")

    run(test())


def test_the_end_of_the_room_is_an_end(room: FakeRoom, open_provider: Opener) -> None:
    microphone = room.join("alice").publish_audio(sample_rate=16_000)

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, sink):
            playout = await provider.publish(audio_track())
            await sink.until(lambda: sink.tracks)
            microphone.noise(0.1, realtime=False)
            room.close_room()
            await sink.until(lambda: sink.end)
            assert sink.end == ("room closed", "")
            assert len(sink.tracks[0].frames) == 5
            assert sink.tracks[0].closed is not None
            with pytest.raises(RoomError):
                await playout.play(AudioFrame(bytes(640), 16_000))
            with pytest.raises(RoomError) as raised:
                await provider.publish(audio_track("late"))
            assert raised.value.reason == "disconnected"
        assert room.participants == ()

    run(test())


def test_we_are_removed(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        async with connected(open_provider(room, "app")) as (_, sink):
            room.remove("app")
            await sink.until(lambda: sink.end)
            assert sink.end == ("removed from the room", "")
            with pytest.raises(LookupError, match="'app' is not there"):
                room.remove("app")

    run(test())


def test_a_connection_that_breaks_is_an_error(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, sink):
            room.lose_connection()
            sending = asyncio.create_task(provider.send_data(DataFrame(b"never")))
            await sink.event_of(EventKind.CONNECTION_LOST)
            room.break_connection()
            await sink.until(lambda: sink.end)
            assert sink.end == ("disconnected", "fake: the room hung up")
            with pytest.raises(RoomError):
                await sending
            assert (await wait(room.wait_for_app_gone)).left == "connection timeout"  # type: ignore[attr-defined]

    run(test())


def test_being_put_out_while_the_connection_is_lost(room: FakeRoom) -> None:
    async def test() -> None:
        async with connected(open_directly(room)) as (_, sink):
            room.lose_connection()
            room.remove("app")
            await sink.until(lambda: sink.end)
            assert sink.end == ("disconnected", "fake: the room hung up")

    run(test())
