"""The provider against the room, over both ways in: what LiveKit does, the fake does."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from fake_kit import (
    Opener,
    RememberingSink,
    audio_track,
    connected,
    open_directly,
    run,
    video_track,
)

from ringroom.checks import MAX_DATA_BYTES
from ringroom.errors import ClosedError, RoomError
from ringroom.frames import AudioFrame, DataFrame, EventKind, Kind
from ringroom.options import SessionOptions
from ringroom.testing import FakeRoom, sources
from ringroom.testing.connection import Connection

STEREO_48K = SessionOptions(sample_rate=48_000, channels=2, frame_ms=10)


async def wait(blocking: object, *arguments: object, **keywords: object) -> object:
    return await asyncio.to_thread(blocking, *arguments, **keywords)  # type: ignore[arg-type]


def test_who_is_there_is_announced_first(room: FakeRoom, open_provider: Opener) -> None:
    alice = room.join("alice", name="Alice", metadata="m", attributes={"k": "v"})
    microphone = alice.publish_audio()

    async def test() -> None:
        async with connected(open_provider(room, "bot")) as (_, sink):
            await sink.until(lambda: sink.tracks)
            assert sink.kinds == [
                EventKind.CONNECTED,
                EventKind.PARTICIPANT_JOINED,
                EventKind.TRACK_PUBLISHED,
            ]
            assert sink.events[1].participant == alice.info
            assert sink.tracks[0].track == sink.events[2].track == microphone.info
            assert room.application.identity == "bot"
        assert not sink.after_close
        gone = await wait(room.wait_for_app_gone)
        assert gone.left == "client initiated"  # type: ignore[attr-defined]

    run(test())


def test_every_sample_spoken_arrives_in_order(room: FakeRoom, open_provider: Opener) -> None:
    microphone = room.join("alice").publish_audio(sample_rate=16_000)
    spoken = sources.noise(1.0, 16_000, seed=7)

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (_, sink):
            await sink.until(lambda: sink.tracks)
            for start in range(0, 16_000, 3_200):
                microphone.speak(spoken[start : start + 3_200], realtime=False)
            track = sink.tracks[0]
            await sink.until(lambda: len(track.frames) == 50)
            assert np.array_equal(track.samples, spoken[:, 0])
            assert track.forms == {(16_000, 1)}

    run(test())


def test_sound_spoken_before_the_application_answered_is_not_lost(
    room: FakeRoom, open_provider: Opener
) -> None:
    async def test() -> None:
        async with connected(open_provider(room, "app")) as (_, sink):
            microphone = room.join("alice").publish_audio(sample_rate=16_000)
            microphone.noise(0.1, realtime=False)
            microphone.unpublish()
            await sink.until(lambda: sink.tracks and sink.tracks[0].closed is not None)
            assert len(sink.tracks[0].frames) == 5
            assert microphone.subscribers == frozenset()

    run(test())


def test_sound_comes_in_the_form_that_was_asked_for(room: FakeRoom, open_provider: Opener) -> None:
    microphone = room.join("alice").publish_audio(sample_rate=16_000)

    async def test() -> None:
        async with connected(open_provider(room, "app"), None, STEREO_48K) as (_, sink):
            await wait(microphone.wait_for_subscriber, "app")
            microphone.tone(300, 0.5, speed=10)
            track = sink.tracks[0]
            await sink.until(lambda: len(track.frames) >= 50)
            assert track.forms == {(48_000, 2)}
            assert {len(frame) for frame in track.frames} == {960}

    run(test())


def test_only_what_is_wanted_is_subscribed(room: FakeRoom, open_provider: Opener) -> None:
    alice, bob = room.join("alice"), room.join("bob")
    wanted, unwanted = alice.publish_audio(), bob.publish_audio()

    async def test() -> None:
        sink = RememberingSink(lambda track: track.participant == "alice")
        async with connected(open_provider(room, "app"), sink):
            await wait(wanted.wait_for_subscriber, "app")
            unwanted.noise(0.1, realtime=False)
            wanted.noise(0.1, realtime=False)
            await sink.until(lambda: len(sink.tracks[0].frames) == 5)
            await sink.event_of(EventKind.TRACK_PUBLISHED, 2)
            assert len(sink.tracks) == 1
            assert unwanted.subscribers == frozenset()

    run(test())


def test_a_track_is_muted_and_ends(room: FakeRoom, open_provider: Opener) -> None:
    alice = room.join("alice")
    microphone = alice.publish_audio(sample_rate=16_000)
    microphone.mute()

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (_, sink):
            await sink.until(lambda: sink.tracks)
            microphone.noise(0.1, realtime=False)
            microphone.unmute()
            microphone.noise(0.05, realtime=False)
            microphone.unpublish()
            microphone.unpublish()
            track = sink.tracks[0]
            await sink.until(lambda: track.closed is not None)
            assert track.mutes == [True, False]
            assert len(track.frames) == 3
            assert (await sink.event_of(EventKind.TRACK_UNPUBLISHED)).track == microphone.info
            with pytest.raises(ClosedError):
                microphone.tone()
            again = alice.publish_audio()
            await sink.until(lambda: len(sink.tracks) == 2)
            assert sink.tracks[1].track.sid == again.info.sid != microphone.info.sid

    run(test())


def test_people_change_and_leave(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        async with connected(open_provider(room, "app")) as (_, sink):
            alice = room.join("alice", attributes={"a": "1", "b": "2"})
            microphone = alice.publish_audio()
            alice.set_attributes({"a": "", "c": "3"})
            changed = await sink.event_of(EventKind.PARTICIPANT_CHANGED)
            assert changed.participant is not None
            assert changed.participant.attributes == {"b": "2", "c": "3"}
            alice.set_name("Alice")
            alice.set_metadata("m")
            alice.leave()
            alice.leave()
            left = await sink.event_of(EventKind.PARTICIPANT_LEFT)
            assert left.participant == alice.info
            assert left.reason == "client initiated"
            assert sink.tracks[0].track == microphone.info
            assert sink.tracks[0].closed == "client initiated"
            assert sink.kinds.index(EventKind.TRACK_UNPUBLISHED) < sink.kinds.index(left.kind)
            with pytest.raises(ClosedError):
                alice.publish_video()

    run(test())


def test_video_arrives_whole(room: FakeRoom, open_provider: Opener) -> None:
    camera = room.join("alice").publish_video(width=64, height=48)

    async def test() -> None:
        options = SessionOptions(kinds=(Kind.VIDEO,))
        async with connected(open_provider(room, "app"), None, options) as (_, sink):
            await sink.until(lambda: sink.tracks)
            camera.test_picture(1.0, fps=10, realtime=False)
            turned = sources.picture(99, 32, 34)
            turned.rotation, turned.timestamp_us = 90, 77
            camera.show(turned)
            track = sink.tracks[0]
            await sink.until(lambda: len(track.pictures) == 11)
            assert [size for _, size, _, _ in track.pictures] == [(64, 48)] * 10 + [(32, 34)]
            assert track.pictures[3][0] == sources.picture(3, 64, 48).data.tobytes()
            assert track.pictures[10][2:] == (90, 77)

    run(test())


def test_what_is_played_is_heard(room: FakeRoom, open_provider: Opener) -> None:
    sound = sources.noise(0.5, 16_000, seed=5)

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, _):
            playout = await provider.publish(audio_track())
            # In one frame: between two of them a busy machine leaves a gap, and it is told.
            await playout.play(AudioFrame(sound, 16_000))
            heard = await wait(room.wait_for_audio, "out", 0.5)
            assert np.array_equal(heard.samples, sound)  # type: ignore[attr-defined]
            assert heard.longest_gap == 0  # type: ignore[attr-defined]
            assert room.application.tracks["out"].source == "microphone"
            await playout.close()
            await wait(room.wait_until, lambda: not room.application.tracks)

    run(test())


def test_pictures_that_are_shown_are_seen(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, _):
            playout = await provider.publish(video_track())
            for number in range(5):
                await playout.play(sources.picture(number, 64, 48))
            seen = await wait(room.wait_for_video, "screen", 5)
            numbers = [sources.picture_number(frame) for frame in seen.frames]  # type: ignore[attr-defined]
            assert numbers == [0, 1, 2, 3, 4]

    run(test())


def test_data_goes_both_ways_and_to_whom_it_names(room: FakeRoom, open_provider: Opener) -> None:
    alice, bob = room.join("alice"), room.join("bob")

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, sink):
            alice.send_data(b"for bob", to=("bob",))
            alice.send_data(b"for all", topic="t", reliable=False)
            alice.send_data(b"for app", to=("app",))
            await sink.until(lambda: len(sink.messages) == 2)
            assert [(m.payload, m.topic, m.participant, m.reliable) for m in sink.messages] == [
                (b"for all", "t", "alice", False),
                (b"for app", "", "alice", True),
            ]
            await provider.send_data(DataFrame(b"secret", topic="x", to=("alice",)))
            await provider.send_data(DataFrame(b"x" * MAX_DATA_BYTES, topic="y"))
            found = await wait(room.wait_for_data, "x")
            assert [message.to for message in found] == [("alice",)]  # type: ignore[attr-defined]
            assert [message.payload[:6] for message in alice.received] == [b"secret", b"xxxxxx"]
            assert [m.payload[:7] for m in bob.received] == [b"for bob", b"for all", b"xxxxxxx"]

    run(test())


@pytest.mark.parametrize("reason", ["unauthorized", "unreachable"])
def test_the_room_refuses_to_let_us_in(room: FakeRoom, open_provider: Opener, reason: str) -> None:
    room.refuse_connects(reason)

    async def test() -> None:
        provider = open_provider(room, "app")
        with pytest.raises(RoomError, match="refuses") as raised:
            await provider.connect(RememberingSink(), SessionOptions())
        assert raised.value.reason == reason
        await provider.close()
        assert not room.applications
        room.accept_connects()
        async with connected(open_provider(room, "app")):
            await wait(room.wait_for_app)

    run(test())


def test_a_room_that_does_not_answer(room: FakeRoom, open_provider: Opener) -> None:
    room.refuse_connects("timeout")

    async def test() -> None:
        provider = open_provider(room, "app")
        with pytest.raises(RoomError) as raised:
            await provider.connect(RememberingSink(), SessionOptions(connect_timeout=0.1))
        assert raised.value.reason == "timeout"
        await provider.close()

    run(test())


def test_tracks_and_messages_are_refused(room: FakeRoom, open_provider: Opener) -> None:
    room.refuse_publish()
    room.refuse_data()

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, _):
            with pytest.raises(RoomError) as raised:
                await provider.publish(audio_track())
            assert raised.value.reason == "publish_refused"
            with pytest.raises(RoomError) as raised:
                await provider.send_data(DataFrame(b"x"))
            assert raised.value.reason == "data_refused"
            room.refuse_publish(False)
            room.refuse_data(False)
            await provider.publish(audio_track())
            await provider.send_data(DataFrame(b"x"))

    run(test())


def test_a_track_may_end_with_the_answer_that_grants_it(
    room: FakeRoom, open_provider: Opener
) -> None:
    async def test() -> None:
        async with connected(open_provider(room)) as (provider, _):
            publishing = asyncio.ensure_future(provider.publish(audio_track()))
            await asyncio.sleep(0)
            room.wait_for_track("out")  # nobody has read the answer
            with room.faults.publishing_forbidden():
                playout = await publishing
                await provider.send_data(DataFrame(b"x"))  # its answer comes after both
                with pytest.raises(RoomError, match="not allowed") as taken:
                    await playout.play(AudioFrame(bytes(640), 16_000))
                assert taken.value.reason == "publish_refused"

    run(test())


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
            await asyncio.sleep(playout.queued())
            # Behind what was played: when the room holds it, it has had all the sound.
            fence = asyncio.create_task(provider.send_data(DataFrame(b"fence")))
            (connection,) = room._core.state.audience
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


def test_the_same_identity_puts_the_earlier_one_out(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        one, other = open_provider(room, "app"), open_provider(room, "app")
        async with connected(one) as (_, first), connected(other):
            await first.until(lambda: first.end)
            assert first.end == ("another participant joined with the same identity", "")
            assert room.application.joined
            assert room.application.joins == 2

    run(test())


def test_two_applications_hear_each_other(room: FakeRoom, open_provider: Opener) -> None:
    sound = sources.noise(0.2, 16_000, seed=2)

    async def test() -> None:
        one, other = open_provider(room, "one"), open_provider(room, "other")
        async with connected(one) as (speaker, heard_nothing), connected(other) as (_, sink):
            playout = await speaker.publish(audio_track())
            await playout.play(AudioFrame(sound, 16_000))
            await sink.until(lambda: sink.tracks and len(sink.tracks[0].frames) == 10)
            assert np.array_equal(sink.tracks[0].samples, sound[:, 0])
            await speaker.send_data(DataFrame(b"hello", to=("other",)))
            await sink.until(lambda: sink.messages)
            assert not heard_nothing.tracks
            assert {*room.applications} == {"one", "other"}
            with pytest.raises(LookupError, match="2 applications"):
                _ = room.application
            await wait(room.wait_for_audio, "out", 0.2, app="one")
            await wait(room.wait_for_app, "other")

    run(test())


def test_recordings_go_on_when_the_application_comes_again(
    room: FakeRoom, open_provider: Opener
) -> None:
    async def test() -> None:
        for seconds in (0.1, 0.2):
            async with connected(open_provider(room, "app")) as (provider, _):
                playout = await provider.publish(audio_track())
                await playout.play(AudioFrame(bytes(3_200), 16_000))
                heard = await wait(room.wait_for_audio, "out", seconds)
                await asyncio.sleep(playout.queued() + 0.03)
        assert [gap.seconds >= 0.03 for gap in heard.gaps()] == [True]  # type: ignore[attr-defined]

    run(test())


def test_closing_is_idempotent_and_final(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        provider, sink = open_provider(room, "app"), RememberingSink()
        await provider.connect(sink, SessionOptions())
        with pytest.raises(RoomError, match="used once"):
            await provider.connect(sink, SessionOptions())
        await provider.close()
        await provider.close()
        with pytest.raises(ClosedError):
            await provider.publish(audio_track())
        with pytest.raises(ClosedError):
            await provider.send_data(DataFrame(b"x"))
        with pytest.raises(ClosedError):
            await provider.connect(sink, SessionOptions())
        assert sink.end is None

    run(test())


def test_a_provider_that_never_connected_closes(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        provider = open_provider(room, "app")
        with pytest.raises(RoomError, match="not connected"):
            await provider.publish(audio_track())
        await provider.close()

    run(test())


def test_a_cancelled_publication_is_taken_back(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, sink):
            room.lose_connection()
            await sink.event_of(EventKind.CONNECTION_LOST)
            publishing = asyncio.create_task(provider.publish(audio_track()))
            await asyncio.sleep(0)
            publishing.cancel()
            await asyncio.wait([publishing])
            room.restore_connection()
            await provider.publish(audio_track("other"))
            assert [*room.application.tracks] == ["other"]

    run(test())


def test_a_sink_that_raises_ends_the_connection_and_says_so(
    room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(RememberingSink):
        def data(self, frame: DataFrame) -> None:
            raise ZeroDivisionError("oops")

    async def test() -> None:
        async with connected(open_directly(room), Broken()) as (_, sink):
            room.join("alice").send_data(b"x")
            await sink.until(lambda: sink.end)
            assert sink.end == ("failed", "fake: ZeroDivisionError: oops")
            assert "the sink failed" in caplog.text

    run(test())
