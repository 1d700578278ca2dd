"""What comes in, over both ways in: sound, pictures and people, as LiveKit's."""

from __future__ import annotations

import numpy as np
import pytest
from fake_kit import Opener, RememberingSink, connected, run, wait

from ringroom.errors import ClosedError
from ringroom.events import EventKind, Kind
from ringroom.options import SessionOptions
from ringroom.testing import FakeRoom, sources

STEREO_48K = SessionOptions(sample_rate=48_000, channels=2, frame_ms=10)


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
