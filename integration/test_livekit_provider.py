"""The LiveKit provider against a real server, with plain SDK clients on the other side: media and
messages both ways, and what of them is wanted or allowed."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

import numpy as np
import pytest
from livekit import api

from integration.provider_kit import (
    RATE,
    WAYS,
    Recorder,
    Server,
    background,
    connected,
    outgoing,
    peer,
    permit,
    run,
    speaking,
    tone,
    until,
)
from ringroom.errors import ClosedError, RoomError
from ringroom.events import EventKind, Kind
from ringroom.frames import AudioFrame, DataFrame, VideoFrame
from ringroom.options import PublishOptions
from ringroom.providers.provider import OutgoingTrack


@pytest.mark.alone
@WAYS
def test_sound_both_ways(server: Server, sdk_path: str) -> None:
    async def scenario() -> None:
        sink = Recorder()
        spec = server.spec(sdk_path=sdk_path)
        async with peer(server) as ann, connected(spec, sink) as app:
            await ann.speak("voice", 440)
            playout = await app.publish(outgoing("answer"))
            async with background(speaking(playout, 880)):
                await until(lambda: sink.tracks and sink.tracks[0].hears(440), "tone in")
                await until(lambda: ann.hears("answer", 880), "tone out")
            track = sink.tracks[0]
            assert track.info.name == "voice"
            assert track.info.source == "microphone"
            assert {len(piece) for piece in track.sound} == {320}
            started = time.monotonic()
            before = sum(map(len, track.sound))
            await asyncio.sleep(1.0)
            rate = (sum(map(len, track.sound)) - before) / (time.monotonic() - started)
            assert abs(rate - RATE) < RATE * 0.1
        assert track.ended is not None
        assert not sink.ends
        kinds = sink.kinds()
        assert kinds[0] is EventKind.CONNECTED
        assert EventKind.PARTICIPANT_JOINED in kinds
        assert EventKind.TRACK_PUBLISHED in kinds

    run(scenario())


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (24_000, 1), (48_000, 2)])
def test_rates_and_channels_out(server: Server, rate: int, channels: int) -> None:
    async def scenario() -> None:
        async with peer(server) as ann, connected(server.spec(), Recorder()) as app:
            playout = await app.publish(
                OutgoingTrack(
                    name="answer",
                    kind=Kind.AUDIO,
                    options=PublishOptions(),
                    sample_rate=rate,
                    channels=channels,
                )
            )
            sound = np.repeat(tone(600, 0, rate * 2, rate)[:, None], channels, axis=1)
            async with background(playout.play(AudioFrame(sound, rate))):
                await until(lambda: ann.hears("answer", 600), "tone out")

    run(scenario())


@pytest.mark.alone
@WAYS
def test_pacing_and_clear(server: Server, sdk_path: str) -> None:
    async def scenario() -> None:
        async with connected(server.spec(sdk_path=sdk_path), Recorder()) as app:
            playout = await app.publish(outgoing("answer", queue_ms=200))
            started = time.monotonic()
            await playout.play(AudioFrame(tone(500, 0, RATE), RATE))
            took = time.monotonic() - started
            assert 0.7 <= took <= 1.0
            assert 0.1 <= playout.queued() <= 0.26
            playing = asyncio.create_task(playout.play(AudioFrame(tone(500, 0, RATE * 10), RATE)))
            await asyncio.sleep(0.1)
            assert 9.5 <= playout.queued() <= 10.2
            assert 9.5 <= playout.clear() <= 10.2
            await asyncio.wait_for(playing, 0.2)
            assert playout.queued() < 0.01
            playing = asyncio.create_task(playout.play(AudioFrame(tone(500, 0, RATE), RATE)))
            await asyncio.sleep(0.05)
            playing.cancel()
            await playout.play(AudioFrame(tone(500, 0, 320), RATE))
            assert playout.retries == 0  # type: ignore[attr-defined]

    run(scenario())


def test_rights_that_are_taken_and_given_back(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with peer(server) as ann, connected(server.spec(), sink) as app:
            await ann.speak("voice", 440)
            playout = await app.publish(outgoing("answer"))
            pictures = await app.publish(outgoing("screen", Kind.VIDEO))
            async with background(speaking(playout, 880)) as saying:
                await until(lambda: sink.tracks and sink.tracks[0].hears(440), "tone in")
                await until(lambda: ann.hears("answer", 880), "tone out")
                await permit(server, can_publish_data=True)
                await asyncio.wait([saying], timeout=5)
                with pytest.raises(RoomError, match="canPublish") as taken:
                    saying.result()
            assert taken.value.reason == "publish_refused"
            with pytest.raises(RoomError, match="'screen' was ended by the server"):
                await pictures.play(VideoFrame.from_rgb(np.zeros((240, 320, 3), np.uint8)))
            with pytest.raises(RoomError, match="canPublish"):
                await app.publish(outgoing("answer"))
            await until(lambda: sink.tracks[0].ended is not None, "the end of what may not come in")
            await playout.close()
            await pictures.close()

            await permit(server, can_publish=True, can_publish_data=True, can_subscribe=True)
            await until(
                lambda: len(sink.tracks) == 2 and sink.tracks[-1].hears(440), "tone in again"
            )
            again = await app.publish(outgoing("answer"))
            ann.heard.clear()
            async with background(speaking(again, 660)):
                await until(lambda: ann.hears("answer", 660), "tone out once more")
            assert len(sink.tracks) == 2

    run(scenario())


def test_a_right_to_receive_that_is_given_back_at_once(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with peer(server) as ann, connected(server.spec(), sink):
            await ann.speak("voice", 440)
            await until(lambda: sink.tracks and sink.tracks[0].hears(440), "tone in")
            for number in range(1, 6):
                await permit(server, can_publish=True)
                await permit(server, can_publish=True, can_subscribe=True)
                await until(lambda number=number: len(sink.tracks) > number, "a track that is new")
                await until(lambda: sink.tracks[-1].hears(440), "tone in once more")
                assert sink.tracks[-1].ended is None

    run(scenario())


@WAYS
def test_pictures_both_ways(server: Server, sdk_path: str) -> None:
    red = np.zeros((240, 320, 3), np.uint8)
    red[:, :, 0] = 200
    blue = np.zeros((240, 320, 3), np.uint8)
    blue[:, :, 2] = 200

    async def show(playout: Any) -> None:
        frame = VideoFrame.from_rgb(blue)
        frame.data.setflags(write=False)
        while True:
            await playout.play(frame)
            await asyncio.sleep(0.05)

    async def scenario() -> None:
        sink = Recorder()
        async with (
            peer(server) as ann,
            connected(server.spec(sdk_path=sdk_path), sink, kinds=("video",)) as app,
        ):
            await ann.show("camera", VideoFrame.from_rgb(red), rotation=90)
            playout = await app.publish(outgoing("answer", Kind.VIDEO))
            async with background(show(playout)):
                await until(lambda: sink.tracks and len(sink.tracks[0].pictures) > 5, "pictures in")
                # The native source shows black until it has a first picture.
                await until(lambda: ann.sees("answer", (0, 0, 200)), "pictures out")
        data, size, rotation, _ = sink.tracks[0].pictures[-1]
        mean = VideoFrame(data, *size).to_rgb().mean(axis=(0, 1))
        assert np.abs(mean - (200, 0, 0)).max() < 20, mean
        # WebRTC turns the picture before encoding when the receiver did not ask for the angle.
        assert (rotation, size) in [(90, (320, 240)), (0, (240, 320))]
        times = [p[3] for p in sink.tracks[0].pictures]
        assert times == sorted(set(times))

    run(scenario())


def test_pictures_go_on_when_we_begin_to_show_ours(server: Server) -> None:
    """With one peer connection for both directions the SDK makes every inbound video anew when the
    first of ours is published, and a packet that comes just then leaves the decoder without anybody
    to give its pictures to, for good."""
    names = [f"camera-{number}" for number in range(8)]
    ours = dataclasses.replace(outgoing("answer", Kind.VIDEO), width=640, height=360)

    black = VideoFrame.from_gray(np.zeros((96, 160), np.uint8))

    async def scenario() -> None:
        sink = Recorder()

        def seen() -> dict[str, int]:
            return {name: sum(len(one.pictures) for one in sink.named(name)) for name in names}

        async with (
            peer(server, auto_subscribe=False) as ann,
            connected(server.spec(), sink, kinds=("video",)) as app,
        ):
            for name in names:
                await ann.show(name, black)
            await until(lambda: all(seen().values()), "all are seen")
            await app.publish(ours)
            before = seen()
            await until(
                lambda: all(seen()[name] > before[name] + 5 for name in names), "they go on"
            )

    for _ in range(4):
        run(scenario())


@pytest.mark.parametrize("codec", ["vp8", "vp9", "h264", "av1"])
def test_codecs_and_odd_sizes(server: Server, codec: str) -> None:
    gray = np.full((181, 321), 120, np.uint8)

    async def show(playout: Any) -> None:
        while True:
            await playout.play(VideoFrame.from_gray(gray))
            await asyncio.sleep(0.05)

    async def scenario() -> None:
        async with peer(server) as ann, connected(server.spec(), Recorder()) as app:
            playout = await app.publish(outgoing("answer", Kind.VIDEO, video_codec=codec))
            async with background(show(playout)):
                await until(lambda: ann.sees("answer", (120, 120, 120), 6), "pictures out")

    run(scenario())


def test_data_both_ways(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with (
            peer(server, "ann") as ann,
            peer(server, "bob") as bob,
            connected(server.spec(), sink, kinds=("data",)) as app,
        ):
            await until(lambda: len(sink.events) >= 3, "both seen")
            await app.send_data(DataFrame(b"to all", topic="news"))
            await app.send_data(DataFrame(b"to bob", topic="secret", to=("bob",), reliable=False))
            await app.send_data(DataFrame(b"", topic="empty"))
            await app.send_data(DataFrame(bytes(60_000), topic="large"))
            await until(lambda: len(ann.packets) >= 3 and len(bob.packets) >= 4, "data out")
            assert [p.topic for p in ann.packets] == ["news", "empty", "large"]
            assert {(p.topic, p.data) for p in bob.packets} >= {
                ("news", b"to all"),
                ("secret", b"to bob"),
            }
            await ann.room.local_participant.publish_data(
                b"hello", topic="greeting", destination_identities=["app"]
            )
            await bob.room.local_participant.publish_data(b"loose", reliable=False)
            await server.admin(
                lambda rooms: rooms.send_data(
                    api.SendDataRequest(
                        room=server.room, data=b"from above", topic="api", kind=0, nonce=bytes(16)
                    )
                )
            )
            await until(lambda: len(sink.messages) == 3, "data in")
            found = {(m.payload, m.topic, m.participant, m.reliable) for m in sink.messages}
            assert found == {
                (b"hello", "greeting", "ann", True),
                (b"loose", "", "bob", False),
                (b"from above", "api", "", True),
            }

    run(scenario())


def test_late_join_leave_and_several_tracks(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with connected(server.spec(), sink):
            assert not sink.tracks
            async with peer(server, "late") as late:
                await late.speak("one", 400)
                await late.speak("two", 700)
                await until(lambda: len(sink.tracks) == 2, "both tracks")
                await until(lambda: sink.named("one")[0].hears(400), "tone one")
                await until(lambda: sink.named("two")[0].hears(700), "tone two")
                await late.room.local_participant.set_metadata("m")
                await late.room.local_participant.set_attributes({"mood": "good"})
                await until(
                    lambda: sink.kinds().count(EventKind.PARTICIPANT_CHANGED) >= 2, "change"
                )
                assert sink.events[-1].participant is not None
                assert dict(sink.events[-1].participant.attributes) == {"mood": "good"}
            await until(lambda: all(t.ended is not None for t in sink.tracks), "tracks ended")
            await until(lambda: EventKind.PARTICIPANT_LEFT in sink.kinds(of="late"), "left")
            async with peer(server, "late") as late:
                await late.speak("one", 500)
                await until(lambda: len(sink.tracks) == 3, "came back")
                await until(lambda: sink.tracks[2].hears(500), "tone after coming back")
        assert not sink.ends

    run(scenario())


@WAYS
def test_unpublish_republish_and_mute(server: Server, sdk_path: str) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with peer(server) as ann, connected(server.spec(sdk_path=sdk_path), sink) as app:
            first = await ann.speak("voice", 440)
            await until(lambda: sink.tracks and sink.tracks[0].hears(440), "tone")
            first.track.mute()
            await until(lambda: sink.tracks[0].mutes == [True], "muted")
            first.track.unmute()
            await until(lambda: sink.tracks[0].mutes == [True, False], "unmuted")
            await ann.room.local_participant.unpublish_track(first.sid)
            await until(lambda: sink.tracks[0].ended is not None, "ended")
            await ann.speak("voice", 660)
            await until(lambda: len(sink.tracks) == 2 and sink.tracks[1].hears(660), "new tone")
            assert sink.tracks[0].info.sid != sink.tracks[1].info.sid
            for round_ in range(3):
                playout = await app.publish(outgoing("answer"))
                async with background(speaking(playout, 880)):
                    ann.heard.clear()
                    await until(lambda: ann.hears("answer", 880), f"round {round_}")
                    await playout.close()
                await playout.close()
                await until(lambda n=round_: ann.unpublished == ["answer"] * (n + 1), "gone")
                with pytest.raises(ClosedError):
                    await playout.play(AudioFrame(tone(1, 0, 320), RATE))

    run(scenario())


def test_only_what_is_wanted_is_subscribed(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder(lambda track, who: track.kind is Kind.AUDIO and who.identity == "ann")
        async with peer(server, "ann") as ann, peer(server, "bob") as bob:
            await ann.speak("existing", 440)
            async with connected(server.spec(), sink):
                await bob.speak("other", 660)
                await ann.show("camera", VideoFrame.from_gray(np.zeros((240, 320), np.uint8)))
                await ann.speak("later", 550)
                await until(lambda: len(sink.tracks) == 2, "wanted tracks")
                await until(
                    lambda: sink.kinds().count(EventKind.TRACK_PUBLISHED) == 4, "all are told"
                )
                await asyncio.sleep(0.5)
                assert {t.info.name for t in sink.tracks} == {"existing", "later"}

    run(scenario())
