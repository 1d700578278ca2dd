"""The way in, over the SDK's own stream classes, driven by native events made here."""

from __future__ import annotations

import asyncio
import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

rtc = pytest.importorskip("livekit.rtc")

from livekit.rtc._ffi_client import FfiClient  # noqa: E402
from livekit.rtc._proto import ffi_pb2  # noqa: E402

from ringroom.frames import Kind, Participant, TrackInfo  # noqa: E402
from ringroom.options import SessionOptions  # noqa: E402
from ringroom.providers.livekit import ingest as module  # noqa: E402
from ringroom.providers.livekit.ingest import Ingest, frames_of  # noqa: E402

TRACK = TrackInfo(sid="TR_1", name="voice", kind=Kind.AUDIO, participant="ann")
ANN = Participant(identity="ann")
# The native library's threads and descriptors stay: loaded here, no test is blamed for them.
NATIVE = FfiClient.instance
_memory: list[Any] = []  # what native events point to


def native_stream() -> Any:
    # Handle 0 is the SDK's "no handle": nothing native is asked for or freed.
    return SimpleNamespace(handle=SimpleNamespace(id=0), info=None)


class Audio(rtc.AudioStream):
    def _create_owned_stream(self) -> Any:
        return native_stream()

    async def aclose(self) -> None:
        put(eos("audio_stream_event"))
        await super().aclose()


class Video(rtc.VideoStream):
    def _create_owned_stream(self) -> Any:
        return native_stream()

    async def aclose(self) -> None:
        put(eos("video_stream_event"))
        await super().aclose()


def audio() -> Audio:
    remote = SimpleNamespace(
        _register_audio_stream=lambda stream: None, _unregister_audio_stream=lambda stream: None
    )
    return Audio(remote)


def video() -> Video:
    return Video(SimpleNamespace())


def put(event: Any) -> None:
    NATIVE.queue.put(event)


def eos(which: str) -> Any:
    event = ffi_pb2.FfiEvent()
    getattr(event, which).stream_handle = 0
    getattr(event, which).eos.SetInParent()
    return event


def address_of(data: np.ndarray) -> int:
    keeper = ctypes.create_string_buffer(data.tobytes(), data.nbytes)
    _memory.append(keeper)
    return ctypes.addressof(keeper)


def sound(value: int) -> Any:
    event = ffi_pb2.FfiEvent()
    event.audio_stream_event.stream_handle = 0
    owned = event.audio_stream_event.frame_received.frame
    owned.handle.id = 0
    owned.info.data_ptr = address_of(np.full(320, value, np.int16))
    owned.info.num_channels, owned.info.sample_rate = 1, 16_000
    owned.info.samples_per_channel = 320
    return event


def picture(value: int, rotation: int = 0) -> Any:
    event = ffi_pb2.FfiEvent()
    event.video_stream_event.stream_handle = 0
    received = event.video_stream_event.frame_received
    received.timestamp_us = 1_000 + value
    received.rotation = rotation
    received.buffer.handle.id = 0
    info = received.buffer.info
    info.type = rtc.VideoBufferType.I420
    info.width, info.height = 5, 3
    info.data_ptr = address_of(np.full(15 + 2 * 6, value, np.uint8))
    return event


class Out:
    """A track's sink that writes down what it is told."""

    def __init__(self, log: list[Any] | None = None) -> None:
        self.log: list[Any] = [] if log is None else log

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        self.log.append((int(samples[0]), len(samples), sample_rate, channels))

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        self.log.append((i420[0], len(i420), size, rotation, timestamp_us))

    def muted(self, muted: bool) -> None:
        self.log.append(f"muted {muted}")

    def close(self, reason: str = "") -> None:
        self.log.append(f"closed: {reason}")


class Sink:
    def __init__(self, out: Out) -> None:
        self.out = out

    def open_track(self, track: TrackInfo, participant: Participant) -> Out:
        self.out.log.append("opened")
        return self.out


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def started(monkeypatch: pytest.MonkeyPatch, stream: Any, out: Out, **fields: Any) -> Ingest:
    monkeypatch.setattr(module, "open_stream", lambda *arguments: stream)
    ingest = Ingest(Sink(out), TRACK, ANN)  # type: ignore[arg-type]
    ingest.muted = fields.pop("muted", False)
    ingest.start(None, SessionOptions(), **fields)  # type: ignore[arg-type]
    return ingest


def test_sound_that_is_queued_when_the_end_comes_is_kept() -> None:
    async def scenario() -> list[int]:
        stream = audio()
        for value in range(1, 6):
            put(sound(value))
        put(eos("audio_stream_event"))
        return [event.frame.data[0] async for event in frames_of(stream)]

    assert asyncio.run(asyncio.wait_for(scenario(), 5)) == [1, 2, 3, 4, 5]


def test_pictures_end_when_their_source_ends() -> None:
    async def scenario() -> list[int]:
        stream = video()
        reading = asyncio.create_task(anext(frames_of(stream), None))  # type: ignore[arg-type]
        await turns()
        assert not reading.done()
        put(eos("video_stream_event"))
        assert await reading is None
        stream = video()
        put(picture(1))
        put(picture(2))
        put(eos("video_stream_event"))
        return [event.frame.data[0] async for event in frames_of(stream)]

    assert asyncio.run(asyncio.wait_for(scenario(), 5)) == [1, 2]


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_the_end_passes_on_what_is_queued(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    async def scenario() -> list[Any]:
        out = Out()
        stream = audio() if kind == "audio" else video()
        ingest = started(monkeypatch, stream, out)
        await turns()
        for value in (1, 2, 3):
            put(sound(value) if kind == "audio" else picture(value, rotation=3))
        await asyncio.gather(ingest.end("unpublished"), ingest.end("unpublished"))
        put(sound(9))
        await ingest.end("again")
        return out.log

    log = asyncio.run(asyncio.wait_for(scenario(), 5))
    if kind == "audio":
        frames = [(value, 320, 16_000, 1) for value in (1, 2, 3)]
    else:
        frames = [(value, 27, (5, 3), 270, 1_000 + value) for value in (1, 2, 3)]
    assert log == ["opened", *frames, "closed: unpublished"]


def test_an_end_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> list[Any]:
        out = Out()
        ingest = started(monkeypatch, video(), out, muted=True)
        await turns()
        ingest.mute(False)
        put(picture(1))
        put(eos("video_stream_event"))
        await turns()
        ingest.mute(True)
        return out.log

    log = asyncio.run(asyncio.wait_for(scenario(), 5))
    assert log == ["opened", "muted True", "muted False", (1, 27, (5, 3), 0, 1_001), "closed: "]


class Endless:
    """A stream of an SDK that has none of the private parts and never ends."""

    def __init__(self) -> None:
        self.closed = 0

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> Any:
        return await asyncio.get_running_loop().create_future()

    async def aclose(self) -> None:
        self.closed += 1
        await asyncio.get_running_loop().create_future()


def test_a_stream_that_neither_ends_nor_closes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.01)

    async def scenario() -> tuple[list[Any], int]:
        out, stream = Out(), Endless()
        ingest = started(monkeypatch, stream, out)
        await turns()
        await ingest.end("unpublished")
        return out.log, stream.closed

    assert asyncio.run(scenario()) == (["opened", "closed: unpublished"], 1)
    assert "did not close" in caplog.text


def test_a_track_that_comes_back_waits_for_its_former_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> list[Any]:
        log: list[Any] = []
        first = started(monkeypatch, video(), Out(log))
        await turns()
        put(picture(1))
        second = started(monkeypatch, audio(), Out(log), after=first)
        await turns(40)
        put(sound(2))
        await second.end("left")
        return log

    log = asyncio.run(asyncio.wait_for(scenario(), 5))
    assert log[:3] == ["opened", (1, 27, (5, 3), 0, 1_001), "closed: subscribed again"]
    assert log[3:] == ["opened", (2, 320, 16_000, 1), "closed: left"]


def test_a_sink_that_raises_ends_the_track(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Out):
        def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
            raise ValueError("full")

    async def scenario() -> list[Any]:
        out = Broken()
        monkeypatch.setattr(module, "open_stream", lambda *arguments: audio())
        ingest = Ingest(Sink(out), TRACK, ANN)  # type: ignore[arg-type]
        reading = ingest.start(None, SessionOptions())  # type: ignore[arg-type]
        await turns()
        put(sound(1))
        with pytest.raises(ValueError, match="full"):
            await reading
        await ingest.end("late")
        return out.log

    assert asyncio.run(asyncio.wait_for(scenario(), 5)) == ["opened", "closed: "]
