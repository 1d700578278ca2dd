"""The LiveKit provider on a real server: a sink with a memory, plain SDK clients, what both say."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from livekit import api, rtc

from ringroom.errors import ClosedError, RoomError
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, VideoFrame
from ringroom.options import PublishOptions, SessionOptions
from ringroom.providers.livekit import LiveKit, joins
from ringroom.providers.provider import OutgoingTrack, Provider

RATE = 16_000
WAYS = pytest.mark.parametrize("sdk_path", ["direct", "public"])
_rooms = itertools.count()


class Track:
    """Keeps what one inbound track brought."""

    def __init__(self, info: TrackInfo, log: list[str]) -> None:
        self.info = info
        self.sound: list[np.ndarray] = []
        self.pictures: list[tuple[np.ndarray, tuple[int, int], int, int]] = []
        self.readings: list[tuple[bytes, int | None]] = []
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

    def reading(self, payload: memoryview, timestamp: int | None) -> None:
        assert self.ended is None
        self.readings.append((bytes(payload), timestamp))

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


async def permit(server: Server, **allowed: bool) -> None:
    """What the application may do from now on."""
    request = api.UpdateParticipantRequest(
        room=server.room, identity="app", permission=api.ParticipantPermission(**allowed)
    )
    await server.admin(lambda rooms: rooms.update_participant(request))


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

    async def speak(
        self, name: str, frequency: float, of: int = rtc.TrackSource.SOURCE_MICROPHONE
    ) -> Any:
        source = rtc.AudioSource(RATE, 1, 100)
        track = rtc.LocalAudioTrack.create_audio_track(name, source)
        options = rtc.TrackPublishOptions(source=of)
        publication = await self.room.local_participant.publish_track(track, options)
        self._spawn(self._say(source, frequency))
        return publication

    async def _say(self, source: Any, frequency: float) -> None:
        for start in itertools.count(0, 320):
            data = tone(frequency, start, 320).tobytes()
            await source.capture_frame(rtc.AudioFrame(data, RATE, 1, 320))

    async def show(
        self,
        name: str,
        picture: VideoFrame,
        rotation: int = 0,
        of: int = rtc.TrackSource.SOURCE_CAMERA,
    ) -> Any:
        source = rtc.VideoSource(picture.width, picture.height)
        track = rtc.LocalVideoTrack.create_video_track(name, source)
        options = rtc.TrackPublishOptions(source=of)
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
