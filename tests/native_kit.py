"""The SDK's native events, made here, and streams of both ways that live on them."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto import ffi_pb2

from ringroom.events import Kind
from ringroom.options import SessionOptions
from ringroom.providers.livekit import direct, native
from ringroom.providers.livekit.direct import DirectStream
from ringroom.providers.livekit.public import PublicStream

# The native library's threads and descriptors stay: loaded here, no test is blamed for them.
NATIVE = FfiClient.instance
atexit.register(native.end_events)
_memory: list[Any] = []  # what native events point to


def forget_ended_loops() -> None:
    """Whoever asks for an exchange takes away what loops that have ended have left."""

    async def ask() -> None:
        native.exchange().release()

    asyncio.run(ask())


def put(event: Any) -> None:
    NATIVE.queue.put(event)


def end_event(kind: Kind, stream: int = 0) -> Any:
    event = ffi_pb2.FfiEvent()
    message = event.audio_stream_event if kind is Kind.AUDIO else event.video_stream_event
    message.stream_handle = stream
    message.eos.SetInParent()
    return event


def address_of(data: np.ndarray) -> int:
    keeper = ctypes.create_string_buffer(data.tobytes(), data.nbytes)
    _memory.append(keeper)
    return ctypes.addressof(keeper)


def sound(value: int, stream: int = 0, handle: int = 0) -> Any:
    """20 ms at 16 kHz, all samples of that value."""
    event = ffi_pb2.FfiEvent()
    event.audio_stream_event.stream_handle = stream
    owned = event.audio_stream_event.frame_received.frame
    owned.handle.id = handle
    owned.info.data_ptr = address_of(np.full(320, value, np.int16))
    owned.info.num_channels, owned.info.sample_rate = 1, 16_000
    owned.info.samples_per_channel = 320
    return event


def picture(value: int, stream: int = 0, handle: int = 0, rotation: int = 0) -> Any:
    """5 x 3, all bytes of that value."""
    event = ffi_pb2.FfiEvent()
    event.video_stream_event.stream_handle = stream
    received = event.video_stream_event.frame_received
    received.timestamp_us = 1_000 + value
    received.rotation = rotation
    received.buffer.handle.id = handle
    info = received.buffer.info
    info.type = rtc.VideoBufferType.I420
    info.width, info.height = 5, 3
    info.data_ptr = address_of(np.full(15 + 2 * 6, value, np.uint8))
    return event


def frame(kind: Kind, value: int, stream: int = 0, handle: int = 0, rotation: int = 0) -> Any:
    if kind is Kind.AUDIO:
        return sound(value, stream, handle)
    return picture(value, stream, handle, rotation)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Out:
    """A track's sink that writes down what it is told."""

    def __init__(self, log: list[Any] | None = None) -> None:
        self.log: list[Any] = [] if log is None else log

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        values = np.frombuffer(samples, np.int16)
        self.log.append((int(values[0]), len(values), sample_rate, channels))

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        self.log.append((i420[0], len(i420), size, rotation, timestamp_us))

    def reading(self, payload: memoryview, timestamp: int | None) -> None:
        self.log.append((bytes(payload), timestamp))

    def muted(self, muted: bool) -> None:
        self.log.append(f"muted {muted}")

    def close(self, reason: str = "") -> None:
        self.log.append(f"closed: {reason}")


def seen(kind: Kind, value: int, rotation: int = 0) -> tuple[Any, ...]:
    """What `Out` writes down for a frame."""
    if kind is Kind.AUDIO:
        return (value, 320, 16_000, 1)
    return (value, 27, (5, 3), rotation, 1_000 + value)


class _Audio(rtc.AudioStream):
    def _create_owned_stream(self) -> Any:
        # Handle 0 is the SDK's "no handle": nothing native is asked for or freed.
        return SimpleNamespace(handle=SimpleNamespace(id=0), info=None)

    async def aclose(self) -> None:
        put(end_event(Kind.AUDIO))
        await super().aclose()


class _Video(rtc.VideoStream):
    def _create_owned_stream(self) -> Any:
        return SimpleNamespace(handle=SimpleNamespace(id=0), info=None)

    async def aclose(self) -> None:
        put(end_event(Kind.VIDEO))
        await super().aclose()


def sdk_stream(kind: Kind) -> Any:
    """The SDK's own stream; its number is 0."""
    remote = SimpleNamespace(
        _register_audio_stream=lambda stream: None, _unregister_audio_stream=lambda stream: None
    )
    return (_Audio if kind is Kind.AUDIO else _Video)(remote)


class Freed:
    """The native library's handles: what was freed, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.handles: list[int] = []
        self.kinds: dict[int, Kind] = {}
        self.next = 100
        monkeypatch.setattr(native.FfiClient, "instance", self)
        monkeypatch.setattr(direct, "FfiHandle", self.handle)
        self.queue = NATIVE.queue
        self._ffi_lib = SimpleNamespace(
            livekit_ffi_drop_handle=self.handles.append,
            _handle=NATIVE._ffi_lib._handle,
        )

    def request(self, request: Any) -> Any:
        """A stream, numbered from 101."""
        self.next += 1
        kind = Kind.AUDIO if request.WhichOneof("message") == "new_audio_stream" else Kind.VIDEO
        self.kinds[self.next] = kind
        answer = ffi_pb2.FfiResponse()
        made = answer.new_audio_stream if kind is Kind.AUDIO else answer.new_video_stream
        made.stream.handle.id = self.next
        return answer

    def handle(self, number: int) -> Any:
        """The SDK's handle of a stream; dropping it ends the stream."""
        left = [number]

        def dispose() -> None:
            if left:
                put(end_event(self.kinds[left[0]], left.pop()))

        return SimpleNamespace(dispose=dispose)


def stream_of(way: str, kind: Kind) -> Any:
    """A stream of that way. Direct ones need `Freed`; they are numbered from 101."""
    if way == "public":
        return PublicStream(sdk_stream(kind))
    remote = SimpleNamespace(_ffi_handle=SimpleNamespace(handle=1))
    exchange = native.exchange()
    made = DirectStream(exchange, remote, kind, SessionOptions())  # type: ignore[arg-type]
    exchange.release()  # it lives on until the stream has ended
    return made
