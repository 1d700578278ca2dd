"""What the tests of the fake share: a sink that remembers."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import numpy as np

from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.frames import DataFrame
from ringroom.options import PublishOptions, SessionOptions
from ringroom.providers.fake import Fake
from ringroom.providers.fake.connection import FakeProvider
from ringroom.providers.provider import OutgoingTrack
from ringroom.testing import FakeRoom

DEADLINE = 10.0


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(3 * DEADLINE):
            await test

    asyncio.run(bounded())


class RememberedTrack:
    """A `TrackSink` that keeps what it gets."""

    def __init__(self, sink: RememberingSink, track: TrackInfo) -> None:
        self.track = track
        self.frames: list[np.ndarray[Any, np.dtype[np.int16]]] = []
        self.forms: set[tuple[int, int]] = set()
        self.pictures: list[tuple[bytes, tuple[int, int], int, int]] = []
        self.mutes: list[bool] = []
        self.closed: str | None = None
        self._sink = sink

    @property
    def samples(self) -> np.ndarray[Any, np.dtype[np.int16]]:
        return np.concatenate([np.zeros(0, np.int16), *self.frames])

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        assert samples.contiguous
        self.frames.append(np.frombuffer(samples.cast("B"), np.int16).copy())
        self.forms.add((sample_rate, channels))
        self._sink.touch()

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        self.pictures.append((bytes(i420), size, rotation, timestamp_us))
        self._sink.touch()

    def muted(self, muted: bool) -> None:
        self.mutes.append(muted)
        self._sink.touch()

    def close(self, reason: str = "") -> None:
        assert self.closed is None
        self.closed = reason
        self._sink.touch()


class RememberingSink:
    """A `Sink` that keeps what it gets; ``until`` waits for it."""

    def __init__(self, wants: Callable[[TrackInfo], bool] = lambda _: True) -> None:
        self.tracks: list[RememberedTrack] = []
        self.events: list[Event] = []
        self.messages: list[DataFrame] = []
        self.end: tuple[str, str] | None = None
        self.after_close = False
        self.closed = False
        self._wants = wants
        self._touched = asyncio.Event()

    def touch(self) -> None:
        self.after_close |= self.closed
        self._touched.set()

    async def until(self, condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(DEADLINE):
            while not (found := condition()):
                self._touched.clear()
                await self._touched.wait()
            return found

    async def event_of(self, kind: EventKind, count: int = 1) -> Event:
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    def of(self, kind: EventKind) -> list[Event]:
        return [event for event in self.events if event.kind is kind]

    @property
    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events]

    def wants(self, track: TrackInfo, participant: Participant) -> bool:
        assert track.participant == participant.identity
        return self._wants(track)

    def open_track(self, track: TrackInfo, participant: Participant) -> RememberedTrack:
        self.tracks.append(RememberedTrack(self, track))
        self.touch()
        return self.tracks[-1]

    def data(self, frame: DataFrame) -> None:
        self.messages.append(frame)
        self.touch()

    def event(self, event: Event) -> None:
        assert event.received_ns > 0
        self.events.append(event)
        self.touch()

    def ended(self, reason: str, *, error: str = "") -> None:
        assert self.end is None
        self.end = (reason, error)
        self.touch()


Opener = Callable[[FakeRoom, str], FakeProvider]


def open_directly(room: FakeRoom, identity: str = "app") -> FakeProvider:
    provider = Fake(room=room, identity=identity).open(())
    assert isinstance(provider, FakeProvider)
    return provider


def open_handed_over(room: FakeRoom, identity: str = "app") -> FakeProvider:
    spec, descriptors = Fake(room=room, identity=identity, token="secret").handover()
    travelled = pickle.loads(pickle.dumps(spec))
    assert travelled == spec
    provider = travelled.open(descriptors)
    assert isinstance(provider, FakeProvider)
    return provider


@asynccontextmanager
async def _connected(provider: FakeProvider, sink: RememberingSink, options: SessionOptions) -> Any:
    try:
        await provider.connect(sink, options)
        yield provider, sink
    finally:
        await provider.close()
        sink.closed = True


def connected(
    provider: FakeProvider,
    sink: RememberingSink | None = None,
    options: SessionOptions | None = None,
) -> AbstractAsyncContextManager[tuple[FakeProvider, RememberingSink]]:
    return _connected(provider, sink or RememberingSink(), options or SessionOptions())


def audio_track(
    name: str = "out", sample_rate: int = 16_000, channels: int = 1, queue_ms: int = 200
) -> OutgoingTrack:
    return OutgoingTrack(
        name=name,
        kind=Kind.AUDIO,
        options=PublishOptions(queue_ms=queue_ms),
        sample_rate=sample_rate,
        channels=channels,
    )


def video_track(name: str = "screen", width: int = 64, height: int = 48) -> OutgoingTrack:
    return OutgoingTrack(
        name=name, kind=Kind.VIDEO, options=PublishOptions(), width=width, height=height
    )


async def wait(blocking: object, *arguments: object, **keywords: object) -> object:
    return await asyncio.to_thread(blocking, *arguments, **keywords)  # type: ignore[arg-type]
