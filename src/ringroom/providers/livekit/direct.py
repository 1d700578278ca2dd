"""Media beside the SDK's public API: no queue, no task and no copy of its own for a frame.

In: native frames are given to the sink where they lie, and freed; sound on the native thread that
brings it, if the sink takes it there. Out: the native library itself is asked, by one request for
each piece, whose answer wakes a sender only if one waits for it. Both by way of `native`.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from livekit import rtc
from livekit.rtc._ffi_client import FfiClient, FfiHandle
from livekit.rtc._proto import audio_frame_pb2, ffi_pb2, video_frame_pb2
from numpy.typing import NDArray

from ringroom.colour import i420_size
from ringroom.events import Kind
from ringroom.options import SessionOptions
from ringroom.providers.livekit import native
from ringroom.providers.livekit.media import (
    KEPT_READINGS,
    AnyTrack,
    SoundSource,
    Stream,
    TextReader,
)
from ringroom.providers.provider import PromptSink, TrackSink

__all__ = ["DirectDataStream", "DirectPath", "DirectSource", "DirectStream"]


class DirectPath:
    """A `MediaPath` beside the public API."""

    def __init__(self) -> None:
        self._exchange = native.exchange()
        self._closed = False

    def stream(self, track: AnyTrack, kind: Kind, options: SessionOptions) -> Stream:
        if isinstance(track, rtc.RemoteDataTrack):
            return DirectDataStream(self._exchange, track)
        return DirectStream(self._exchange, track, kind, options)

    def source(self, source: rtc.AudioSource) -> SoundSource:
        return DirectSource(self._exchange, source)

    def fill(self, reader: TextReader, on: bool) -> None:
        (self._exchange.adopt if on else self._exchange.disown)(reader)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._exchange.release()


class DirectStream:
    """A `Stream`. Its native end comes when the track ends, or when its handle is dropped."""

    def __init__(
        self, exchange: native.Exchange, track: rtc.Track, kind: Kind, options: SessionOptions
    ) -> None:
        loop = asyncio.get_running_loop()
        self._exchange = exchange
        self._track = track  # the native stream ends when the track's handle is dropped
        self._kind = kind
        self._out: TrackSink | None = None
        self._prompt: PromptSink | None = None
        """The same, once what came before is given to it, if it takes sound on any thread."""
        self._early: deque[Any] = deque()
        self._deaf = False
        self._over: asyncio.Future[None] = loop.create_future()
        self._failure: Exception | None = None
        self._number = exchange.open_stream(_stream_request(track, kind, options), self)
        self._handle = FfiHandle(self._number)

    async def run(self, out: TrackSink) -> None:
        self._out = out
        try:
            while self._early:
                self._deliver(self._early.popleft())
            if self._kind is Kind.AUDIO and isinstance(out, PromptSink):
                self._prompt = out
            await asyncio.wait({self._over})
            if self._failure is not None:
                raise self._failure
        finally:
            self._hear_no_more()

    async def aclose(self) -> None:
        self._handle.dispose()
        await asyncio.shield(self._over)

    def take_at_once(self, event: Any) -> bool:
        out = self._prompt
        if out is None or not event.HasField("frame_received"):
            return False
        frame = event.frame_received.frame
        try:
            taken = out.audio_at_once(*_sound(frame.info))
        except Exception:  # noqa: BLE001  (it is given again on the loop, whose business errors are)
            return False
        if taken:
            self._exchange.free(frame.handle.id)
        return taken

    def take(self, event: Any) -> None:
        if event.HasField("eos"):
            self._exchange.forget(self._number)
            self._end()
        elif self._out is None and not self._deaf:
            self._early.append(event)
        else:
            self._deliver(event)

    def _deliver(self, event: Any) -> None:
        received = event.frame_received
        owned = received.frame if self._kind is Kind.AUDIO else received.buffer
        try:
            if self._out is None:
                return
            if self._kind is Kind.AUDIO:
                self._out.audio(*_sound(owned.info))
            else:
                _hand_picture(received, owned.info, self._out)
        except Exception as error:  # noqa: BLE001  (raised where `run` is awaited)
            self._failure = error
            self._hear_no_more()
            self._end()
        finally:
            self._exchange.free(owned.handle.id)

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def __del__(self) -> None:
        # Nobody may have come to run it.
        self._hear_no_more()

    def _hear_no_more(self) -> None:
        self._out, self._prompt, self._deaf = None, None, True
        while self._early:
            self._deliver(self._early.popleft())


class DirectDataStream:
    """A `Stream` of a data track. Its frames come on the loop, each after it was asked for: the SDK
    keeps the newest meanwhile. Where it is closed, its native end need not come."""

    def __init__(self, exchange: native.Exchange, track: rtc.RemoteDataTrack) -> None:
        self._exchange = exchange
        self._track = track  # the native one ends with its handle
        self._out: TrackSink | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failure: Exception | None = None
        request = ffi_pb2.FfiRequest()
        request.subscribe_data_track.track_handle = track._ffi_handle.handle
        request.subscribe_data_track.options.buffer_size = KEPT_READINGS
        self._number = exchange.open_stream(request, self)
        self._handle = FfiHandle(self._number)
        self._next = ffi_pb2.FfiRequest()
        self._next.data_track_stream_read.stream_handle = self._number

    async def run(self, out: TrackSink) -> None:
        self._out = out
        try:
            if not self._over.done():
                self._ask()
            await asyncio.wait({self._over})
            if self._failure is not None:
                raise self._failure
        finally:
            self._end()

    async def aclose(self) -> None:
        self._end()

    def _ask(self) -> None:
        FfiClient.instance.request(self._next)

    def take_at_once(self, event: Any) -> bool:
        return False

    def take(self, event: Any) -> None:
        if self._over.done():
            return
        if event.HasField("eos"):
            if event.eos.HasField("error"):
                self._failure = rtc.SubscribeDataTrackError(event.eos.error.message)
            self._end()
        elif self._out is not None:
            frame = event.frame_received.frame
            timestamp = frame.user_timestamp if frame.HasField("user_timestamp") else None
            try:
                self._out.reading(memoryview(frame.payload), timestamp)
                self._ask()
            except Exception as error:  # noqa: BLE001  (raised where `run` is awaited)
                self._failure = error
                self._end()

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)
            self._exchange.forget(self._number)
            self._handle.dispose()

    def __del__(self) -> None:
        # Nobody may have come to run it.
        self._exchange.forget(self._number)


def _stream_request(track: rtc.Track, kind: Kind, options: SessionOptions) -> Any:
    request = ffi_pb2.FfiRequest()
    if kind is Kind.VIDEO:
        pictures = request.new_video_stream
        pictures.track_handle = track._ffi_handle.handle
        pictures.type = video_frame_pb2.VideoStreamType.VIDEO_STREAM_NATIVE
        pictures.format = video_frame_pb2.VideoBufferType.I420
        pictures.normalize_stride = True
        pictures.queue_size_frames = 0  # the default, one, drops without a count
        return request
    sound = request.new_audio_stream
    sound.track_handle = track._ffi_handle.handle
    sound.type = audio_frame_pb2.AudioStreamType.AUDIO_STREAM_NATIVE
    sound.sample_rate = options.sample_rate
    sound.num_channels = options.channels
    sound.frame_size_ms = options.frame_ms
    sound.queue_size_frames = 0  # unbounded, as in `public`, for the same reason
    return request


def _sound(info: Any) -> tuple[memoryview, int, int]:
    """What a sink is given of it."""
    channels = info.num_channels
    samples = _memory(info.data_ptr, info.samples_per_channel * channels * 2)
    return samples, info.sample_rate, channels


def _hand_picture(received: Any, info: Any, out: TrackSink) -> None:
    size = (info.width, info.height)
    i420 = _memory(info.data_ptr, i420_size(*size))
    out.video(i420, size, int(received.rotation) * 90, received.timestamp_us)


def _memory(address: int, nbytes: int) -> memoryview:
    """Valid until the frame is freed: a sink copies before it returns."""
    return memoryview((ctypes.c_char * nbytes).from_address(address)).cast("B")


class DirectSource:
    """A `SoundSource`. The SDK's own source keeps the native one alive, clears and frees it."""

    def __init__(self, exchange: native.Exchange, source: rtc.AudioSource) -> None:
        self._exchange = exchange
        self._source = source
        self._request: Any = None

    def capture(
        self, samples: NDArray[np.int16], answered: Callable[[], None]
    ) -> native.DirectCapture:
        if self._source._ffi_handle.disposed:
            # It takes everything, as the SDK's own does.
            return native.DirectCapture(samples, answered, error="")
        if self._request is None:
            self._request = _capture_request(self._source)
        return self._exchange.capture(self._request, samples, answered)

    def clear_queue(self) -> None:
        self._source.clear_queue()

    async def aclose(self) -> None:
        await self._source.aclose()


def _capture_request(source: rtc.AudioSource) -> Any:
    """All of it that stays the same."""
    request = ffi_pb2.FfiRequest()
    ours = request.capture_audio_frame
    ours.source_handle = source._ffi_handle.handle
    ours.buffer.sample_rate = source.sample_rate
    ours.buffer.num_channels = source.num_channels
    return request
