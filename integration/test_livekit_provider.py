"""The LiveKit provider against a real server, with plain SDK clients on the other side.

Owns what only a server can show: media both ways, joining and leaving, refusals, reconnections.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import gc
import itertools
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest

api = pytest.importorskip("livekit.api")
rtc = pytest.importorskip("livekit.rtc")

from ringroom.errors import ClosedError, RoomError  # noqa: E402
from ringroom.frames import (  # noqa: E402
    AudioFrame,
    DataFrame,
    Event,
    EventKind,
    Kind,
    Participant,
    TrackInfo,
    VideoFrame,
)
from ringroom.options import PublishOptions, SessionOptions  # noqa: E402
from ringroom.providers.livekit import LiveKit, joins  # noqa: E402
from ringroom.providers.provider import OutgoingTrack, Provider  # noqa: E402

RATE = 16_000
WAYS = pytest.mark.parametrize("sdk_path", ["direct", "public"])
_rooms = itertools.count()


class Track:
    """Keeps what one inbound track brought."""

    def __init__(self, info: TrackInfo, log: list[str]) -> None:
        self.info = info
        self.sound: list[np.ndarray] = []
        self.pictures: list[tuple[np.ndarray, tuple[int, int], int, int]] = []
        self.mutes: list[bool] = []
        self.ended: str | None = None
        self._log = log

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        assert self.ended is None
        assert sample_rate == RATE
        self.sound.append(np.frombuffer(samples, np.int16).reshape(-1, channels).copy())

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        assert self.ended is None
        self.pictures.append((np.frombuffer(i420, np.uint8).copy(), size, rotation, timestamp_us))

    def muted(self, muted: bool) -> None:
        self.mutes.append(muted)

    def close(self, reason: str = "") -> None:
        assert self.ended is None
        self.ended = reason
        self._log.append(f"closed {self.info.name}")

    def hears(self, frequency: float, seconds: float = 0.4) -> bool:
        sound = np.concatenate([np.zeros((0, 1), np.int16), *self.sound])[:, 0]
        recent = sound[-int(seconds * RATE) :]
        return len(recent) >= int(seconds * RATE) and is_tone(recent, RATE, frequency)


class Recorder:
    """A sink that remembers everything."""

    def __init__(self, wants: Callable[[TrackInfo, Participant], bool] | None = None) -> None:
        self.tracks: list[Track] = []
        self.messages: list[DataFrame] = []
        self.events: list[Event] = []
        self.ends: list[tuple[str, str]] = []
        self.log: list[str] = []
        self._wants = wants or (lambda track, participant: True)

    def wants(self, track: TrackInfo, participant: Participant) -> bool:
        return self._wants(track, participant)

    def open_track(self, track: TrackInfo, participant: Participant) -> Track:
        assert track.participant == participant.identity
        self.tracks.append(Track(track, self.log))
        return self.tracks[-1]

    def data(self, frame: DataFrame) -> None:
        self.messages.append(frame)

    def event(self, event: Event) -> None:
        self.events.append(event)

    def ended(self, reason: str, *, error: str = "") -> None:
        self.ends.append((reason, error))
        self.log.append("ended")

    def kinds(self, *, of: str = "") -> list[EventKind]:
        return [
            e.kind
            for e in self.events
            if not of or (e.participant is not None and e.participant.identity == of)
        ]

    def named(self, name: str) -> list[Track]:
        return [t for t in self.tracks if t.info.name == name]


def is_tone(sound: np.ndarray, rate: int, frequency: float) -> bool:
    """Whether that frequency dominates, at an audible level."""
    level = float(np.sqrt(np.mean(sound.astype(np.float64) ** 2)))
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    peak = float(np.fft.rfftfreq(len(sound), 1 / rate)[int(spectrum.argmax())])
    return level > 2_000 and abs(peak - frequency) < 15


def tone(frequency: float, start: int, count: int, rate: int = RATE) -> np.ndarray:
    at = (np.arange(start, start + count)) / rate
    return (np.sin(2 * np.pi * frequency * at) * 10_000).astype(np.int16)


async def until(condition: Callable[[], Any], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


class Server:
    """A room's name on the server, tokens for it, and the administrator's API."""

    def __init__(self, server: Any) -> None:
        self.url = server.url
        self._key, self._secret = server.api_key, server.api_secret
        self.room = f"provider-{time.time_ns()}-{next(_rooms)}"

    def token(self, identity: str, **grants: Any) -> str:
        ttl = grants.pop("ttl", 600)
        secret = grants.pop("secret", self._secret)
        made = api.AccessToken(self._key, secret).with_identity(identity)
        made = made.with_ttl(datetime.timedelta(seconds=ttl))
        return made.with_grants(api.VideoGrants(room_join=True, room=self.room, **grants)).to_jwt()

    def spec(self, identity: str = "app", **fields: Any) -> LiveKit:
        token = self.token(identity, **fields.pop("grants", {}))
        return LiveKit(url=self.url, token=token, room=self.room, **fields)

    async def admin(self, action: Callable[[Any], Awaitable[Any]]) -> None:
        url = self.url.replace("ws", "http", 1)
        async with api.LiveKitAPI(url, self._key, self._secret) as calls:
            await action(calls.room)


class Peer:
    """The other side: a plain SDK client."""

    def __init__(self, room: Any) -> None:
        self.room = room
        self.heard: dict[str, list[np.ndarray]] = {}
        self.seen: dict[str, list[Any]] = {}
        self.packets: list[Any] = []
        self.unpublished: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: dict[str, asyncio.Task[None]] = {}
        room.on("track_subscribed", self._subscribed)
        room.on("track_unsubscribed", self._unsubscribed)
        room.on("data_received", self.packets.append)
        room.on(
            "track_unpublished", lambda publication, _: self.unpublished.append(publication.name)
        )

    def _subscribed(self, track: Any, publication: Any, participant: Any) -> None:
        video = publication.kind == rtc.TrackKind.KIND_VIDEO
        reading = (self._see if video else self._hear)(track, publication.name)
        self._streams[publication.sid] = self._spawn(reading)

    def _unsubscribed(self, track: Any, publication: Any, participant: Any) -> None:
        # What is still read of it would be the next track that comes in its place.
        self._streams.pop(publication.sid).cancel()

    async def _hear(self, track: Any, name: str) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE)
        try:
            async for event in stream:
                self.heard.setdefault(name, []).append(np.frombuffer(event.frame.data, np.int16))
        finally:
            await stream.aclose()

    async def _see(self, track: Any, name: str) -> None:
        stream = rtc.VideoStream(track, format=rtc.VideoBufferType.I420, capacity=2)
        try:
            async for event in stream:
                self.seen.setdefault(name, []).append(event)
        finally:
            await stream.aclose()

    def hears(self, name: str, frequency: float, seconds: float = 0.4) -> bool:
        sound = np.concatenate([np.zeros(0, np.int16), *self.heard.get(name, [])])
        recent = sound[-int(seconds * RATE) :]
        return len(recent) >= int(seconds * RATE) and is_tone(recent, RATE, frequency)

    def sees(self, name: str, colour: tuple[int, int, int], within: float = 20) -> bool:
        if len(self.seen.get(name, ())) < 6:
            return False
        got = self.seen[name][-1].frame
        mean = VideoFrame(bytes(got.data), got.width, got.height).to_rgb().mean(axis=(0, 1))
        return bool(np.abs(mean - colour).max() < within)

    async def speak(self, name: str, frequency: float) -> Any:
        source = rtc.AudioSource(RATE, 1, 100)
        track = rtc.LocalAudioTrack.create_audio_track(name, source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await self.room.local_participant.publish_track(track, options)
        self._spawn(self._say(source, frequency))
        return publication

    async def _say(self, source: Any, frequency: float) -> None:
        for start in itertools.count(0, 320):
            data = tone(frequency, start, 320).tobytes()
            await source.capture_frame(rtc.AudioFrame(data, RATE, 1, 320))

    async def show(self, name: str, picture: VideoFrame, rotation: int = 0) -> Any:
        source = rtc.VideoSource(picture.width, picture.height)
        track = rtc.LocalVideoTrack.create_video_track(name, source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA)
        publication = await self.room.local_participant.publish_track(track, options)
        self._spawn(self._project(source, picture, rotation))
        return publication

    async def _project(self, source: Any, picture: VideoFrame, rotation: int) -> None:
        frame = rtc.VideoFrame(
            picture.width, picture.height, rtc.VideoBufferType.I420, picture.data.tobytes()
        )
        while True:
            source.capture_frame(frame, rotation=rotation // 90)
            await asyncio.sleep(0.05)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def leave(self) -> None:
        await self._stop()
        await self.room.disconnect()
        await self._stop()  # a track may have come in the meantime

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def peer(server: Server, identity: str = "ann", **options: Any) -> AsyncIterator[Peer]:
    joined = Peer(rtc.Room())
    await joined.room.connect(
        server.url, server.token(identity, can_update_own_metadata=True), rtc.RoomOptions(**options)
    )
    try:
        yield joined
    finally:
        await joined.leave()


@contextlib.asynccontextmanager
async def connected(spec: LiveKit, sink: Recorder, **options: Any) -> AsyncIterator[Provider]:
    provider = spec.open(())
    try:
        await provider.connect(sink, SessionOptions(**options))
        yield provider
    finally:
        await provider.close()


def outgoing(name: str, kind: Kind = Kind.AUDIO, **options: Any) -> OutgoingTrack:
    if kind is Kind.VIDEO:
        return OutgoingTrack(
            name=name, kind=kind, options=PublishOptions(**options), width=320, height=240
        )
    return OutgoingTrack(
        name=name, kind=kind, options=PublishOptions(**options), sample_rate=RATE, channels=1
    )


async def speaking(playout: Any, frequency: float, samples: int = 320) -> None:
    for start in itertools.count(0, samples):
        await playout.play(AudioFrame(tone(frequency, start, samples), RATE))


@contextlib.asynccontextmanager
async def background(work: Any) -> AsyncIterator[asyncio.Task[Any]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ClosedError, RoomError):
            await task


@pytest.fixture
def server(livekit_server: Any) -> Server:
    return Server(livekit_server)


def run(work: Any) -> None:
    async def whole() -> None:
        await work
        # A loop that ends before them ends this process too, 15 s later.
        for join in joins.under_way():
            await join
        left = [t for t in asyncio.all_tasks() if "ringroom" in (t.get_name() + repr(t.get_coro()))]
        assert not left, left

    asyncio.run(whole())
    gc.collect()


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


async def permit(server: Server, **allowed: bool) -> None:
    """What the application may do from now on."""
    request = api.UpdateParticipantRequest(
        room=server.room, identity="app", permission=api.ParticipantPermission(**allowed)
    )
    await server.admin(lambda rooms: rooms.update_participant(request))


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
        async with connected(server.spec(), sink) as app:
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
            assert app is not None
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


@pytest.mark.parametrize("grants", [{"secret": "x" * 40}, {"ttl": -3_600}])
def test_a_wrong_or_expired_token(
    server: Server, grants: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        spec = server.spec(grants=grants)
        provider = spec.open(())
        with pytest.raises(RoomError) as caught:
            await provider.connect(Recorder(), SessionOptions())
        assert caught.value.reason == "unauthorized"
        assert str(caught.value).startswith("livekit: the server refused the token")
        secret = str(spec.token).split(".")[1]
        assert secret not in repr(caught.value)
        await asyncio.sleep(0.1)
        assert secret not in caplog.text
        await provider.close()

    with caplog.at_level(logging.DEBUG):
        run(scenario())


def test_no_server() -> None:
    async def scenario() -> None:
        token = api.AccessToken("key", "s" * 40).with_identity("app")
        jwt = token.with_grants(api.VideoGrants(room_join=True, room="r")).to_jwt()
        provider = LiveKit(url="ws://127.0.0.1:9", token=jwt).open(())
        with pytest.raises(RoomError) as caught:
            await provider.connect(Recorder(), SessionOptions())
        assert caught.value.reason == "unreachable"
        await provider.close()
        await provider.close()
        silent = socket.create_server(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        provider = LiveKit(url=f"ws://127.0.0.1:{port}", token=jwt).open(())
        started = time.monotonic()
        with pytest.raises(RoomError) as caught:
            await provider.connect(Recorder(), SessionOptions(connect_timeout=0.5))
        assert caught.value.reason == "timeout"
        assert time.monotonic() - started < 1.5
        await provider.close()
        silent.close()

    run(scenario())


def test_refused_publish_and_data(server: Server) -> None:
    async def scenario() -> None:
        grants = {"can_publish": False, "can_publish_data": False}
        async with connected(server.spec(grants=grants), Recorder()) as app:
            with pytest.raises(RoomError) as caught:
                await app.publish(outgoing("answer"))
            assert caught.value.reason == "publish_refused"
            with pytest.raises(RoomError) as caught:
                await app.send_data(DataFrame(b"x"))
            assert caught.value.reason == "data_refused"
        with pytest.raises(ClosedError):
            await app.publish(outgoing("answer"))

    run(scenario())


def test_room_deleted(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with peer(server) as ann, connected(server.spec(), sink) as app:
            await ann.speak("voice", 440)
            await until(lambda: sink.tracks, "track")
            playout = await app.publish(outgoing("answer"))
            async with background(asyncio.wait_for(speaking(playout, 880), 20)) as playing:
                await server.admin(
                    lambda rooms: rooms.delete_room(api.DeleteRoomRequest(room=server.room))
                )
                await until(lambda: sink.ends, "the end")
                with pytest.raises(RoomError):
                    await playing
        assert sink.ends == [("room closed: it was deleted", "")]
        assert sink.log[-1] == "ended"
        assert sink.tracks[0].ended is not None
        with pytest.raises(ClosedError):
            await app.send_data(DataFrame(b"x"))

    run(scenario())


def test_removed_and_duplicate(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with connected(server.spec(), sink):
            await server.admin(
                lambda rooms: rooms.remove_participant(
                    api.RoomParticipantIdentity(room=server.room, identity="app")
                )
            )
            await until(lambda: sink.ends, "the end")
        assert sink.ends == [("removed from the room", "")]
        sink, second = Recorder(), Recorder()
        async with connected(server.spec(), sink), connected(server.spec(), second):
            await until(lambda: sink.ends, "the end")
            assert not second.ends
        assert sink.ends == [("another participant joined with the same identity", "")]

    run(scenario())


def test_encryption(server: Server) -> None:
    def encrypted(key: bytes) -> dict[str, Any]:
        keys = rtc.KeyProviderOptions(shared_key=key)
        return {"encryption": rtc.E2EEOptions(key_provider_options=keys)}

    async def scenario() -> None:
        right, wrong = Recorder(), Recorder()
        async with (
            peer(server, **encrypted(b"the key")) as ann,
            connected(server.spec(e2ee_key="the key"), right) as app,
            connected(server.spec("other", e2ee_key=b"no key"), wrong),
        ):
            await ann.speak("voice", 440)
            playout = await app.publish(outgoing("answer"))
            async with background(speaking(playout, 880)):
                await until(lambda: right.tracks and right.tracks[0].hears(440), "tone in")
                await until(lambda: ann.hears("answer", 880), "tone out")
                await asyncio.sleep(1.0)
            assert not any(track.hears(440) or track.hears(880) for track in wrong.tracks)

    run(scenario())


@pytest.mark.parametrize("scenario_name", ["SIMULATE_SIGNAL_RECONNECT", "SIMULATE_FULL_RECONNECT"])
def test_reconnection(server: Server, scenario_name: str) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with peer(server) as ann, connected(server.spec(), sink) as app:
            await ann.speak("voice", 440)
            playout = await app.publish(outgoing("answer"))
            async with background(speaking(playout, 880)):
                await until(lambda: sink.tracks and sink.tracks[0].hears(440), "tone in")
                await until(lambda: ann.hears("answer", 880), "tone out")
                room = app._room  # type: ignore[attr-defined]
                await room.simulate_scenario(rtc.SimulateScenarioKind.Value(scenario_name))
                await until(lambda: EventKind.CONNECTION_BACK in sink.kinds(), "back", 30)
                assert EventKind.CONNECTION_LOST in sink.kinds()
                for track in sink.tracks:
                    track.sound.clear()
                ann.heard.clear()
                await until(lambda: sink.tracks[-1].hears(440), "tone in, after")
                await until(lambda: ann.hears("answer", 880), "tone out, after")
                assert not sink.ends
                await app.send_data(DataFrame(b"still here"))
                await until(lambda: ann.packets, "data, after")
            await playout.close()
            await until(lambda: "answer" in ann.unpublished, "unpublished, after")

    run(scenario())


@WAYS
def test_nothing_is_left_behind(server: Server, sdk_path: str) -> None:
    from livekit.rtc._ffi_client import FfiClient

    async def once() -> None:
        sink = Recorder()
        async with peer(server) as ann, connected(server.spec(sdk_path=sdk_path), sink) as app:
            await ann.speak("voice", 440)
            playout = await app.publish(outgoing("answer"))
            async with background(speaking(playout, 880)):
                await until(lambda: sink.tracks and sink.tracks[0].sound, "sound")
                await asyncio.gather(app.close(), app.close())
        others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        assert not others, others
        assert not sink.ends

    for _ in range(3):
        asyncio.run(once())
    gc.collect()
    assert not FfiClient.instance.queue._subscribers
