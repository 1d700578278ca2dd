"""The stream of a data track passes the SDK either way: one frame after the other, as it is asked
for, to the end."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc
from livekit.rtc import data_track as sdk
from livekit.rtc._proto import ffi_pb2

from native_kit import NATIVE, Out, put, turns
from ringroom.events import Kind
from ringroom.options import SessionOptions
from ringroom.providers.livekit import direct, native
from ringroom.providers.livekit.media import KEPT_READINGS
from ringroom.providers.livekit.paths import open_path

pytestmark = [
    pytest.mark.usefixtures("nothing_stays"),
    pytest.mark.parametrize("way", ["public", "direct"]),
]
STREAM = 201


class Library:
    """The native library, which gives a frame for each request to read, while it has any."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames: deque[Any] = deque()
        self.asked = 0
        """Frames that were asked for and not given."""
        self.most_asked = 0
        self.kept = 0
        self.disposed: list[int] = []
        self.queue = NATIVE.queue
        self._ffi_lib = NATIVE._ffi_lib
        monkeypatch.setattr(native.FfiClient, "instance", self)
        for module in (direct, sdk):
            monkeypatch.setattr(module, "FfiHandle", self.handle)

    def handle(self, number: int) -> Any:
        left = [number]
        return SimpleNamespace(
            handle=number, dispose=lambda: self.disposed.extend([left.pop()] if left else [])
        )

    def request(self, request: Any) -> Any:
        answer = ffi_pb2.FfiResponse()
        if request.WhichOneof("message") == "subscribe_data_track":
            assert request.subscribe_data_track.track_handle == 7
            self.kept = request.subscribe_data_track.options.buffer_size
            answer.subscribe_data_track.stream.handle.id = STREAM
        else:
            assert request.data_track_stream_read.stream_handle == STREAM
            answer.data_track_stream_read.SetInParent()
            self.asked += 1
            self.most_asked = max(self.most_asked, self.asked)
            self._give()
        return answer

    def push(self, payload: bytes, timestamp: int | None = None, stream: int = STREAM) -> None:
        event = ffi_pb2.FfiEvent()
        event.data_track_stream_event.stream_handle = stream
        frame = event.data_track_stream_event.frame_received.frame
        frame.payload = payload
        if timestamp is not None:
            frame.user_timestamp = timestamp
        if stream != STREAM:
            put(event)
            return
        self.frames.append(event)
        self._give()

    def _give(self) -> None:
        if self.frames and self.asked:
            self.asked -= 1
            put(self.frames.popleft())

    def end(self, error: str = "") -> None:
        event = ffi_pb2.FfiEvent()
        event.data_track_stream_event.stream_handle = STREAM
        event.data_track_stream_event.eos.SetInParent()
        if error:
            event.data_track_stream_event.eos.error.code = 0
            event.data_track_stream_event.eos.error.message = error
        put(event)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    return Library(monkeypatch)


def opened(way: str) -> tuple[Any, Any]:
    """The path, and a stream of a track."""
    track = object.__new__(rtc.RemoteDataTrack)
    track._ffi_handle = SimpleNamespace(handle=7)  # type: ignore[assignment]
    path = open_path(way)
    return path, path.stream(track, Kind.DATA_TRACK, SessionOptions())


def run(scenario: Any) -> Any:
    return asyncio.run(asyncio.wait_for(scenario, 20))


def test_frames_come_in_order_each_as_it_is_asked_for(library: Library, way: str) -> None:
    async def scenario() -> None:
        path, stream = opened(way)
        assert library.kept == KEPT_READINGS
        library.push(b"early", 0)
        await turns()
        assert not library.asked, "nobody reads yet"
        out = Out()
        reading = asyncio.create_task(stream.run(out))
        for number in range(5):
            library.push(b"%d" % number, (1 << 64) - 1 if number else None)
        library.push(b"of another", stream=STREAM + 1)
        while len(out.log) < 6:
            await turns()
        library.end()
        await reading
        rest = [(b"%d" % number, (1 << 64) - 1) for number in range(1, 5)]
        assert out.log == [(b"early", 0), (b"0", None), *rest]
        assert library.most_asked == 1
        await stream.aclose()
        assert library.disposed == [STREAM]
        path.close()

    run(scenario())


@pytest.mark.parametrize("first", [True, False])
def test_a_stream_that_is_closed_ends_though_its_native_end_does_not_come(
    library: Library, way: str, first: bool
) -> None:
    async def scenario() -> None:
        path, stream = opened(way)
        out = Out()
        reading = asyncio.create_task(stream.run(out))
        if not first:
            library.push(b"x")
            while not out.log:
                await turns()
        await stream.aclose()
        await stream.aclose()
        await reading
        library.push(b"late")
        await turns()
        assert out.log == ([] if first else [(b"x", None)])
        assert library.disposed == [STREAM]
        path.close()

    run(scenario())


def test_a_stream_that_nobody_comes_to_read(library: Library, way: str) -> None:
    async def scenario() -> None:
        path, stream = opened(way)
        await stream.aclose()
        await stream.run(out := Out())
        assert out.log == []
        path.close()

    run(scenario())


def test_a_subscription_that_is_refused_is_raised(library: Library, way: str) -> None:
    async def scenario() -> None:
        path, stream = opened(way)
        reading = asyncio.create_task(stream.run(Out()))
        await turns()
        library.end("timed-out")
        with pytest.raises(rtc.SubscribeDataTrackError) as caught:
            await reading
        assert caught.value.message == "timed-out"
        path.close()

    run(scenario())


def test_what_a_sink_raises_is_raised_and_nothing_more_is_read(library: Library, way: str) -> None:
    class Broken(Out):
        def reading(self, payload: memoryview, timestamp: int | None) -> None:
            super().reading(payload, timestamp)
            raise ValueError("full")

    async def scenario() -> None:
        path, stream = opened(way)
        out = Broken()
        reading = asyncio.create_task(stream.run(out))
        for payload in (b"1", b"2"):
            library.push(payload)
        with pytest.raises(ValueError, match="full"):
            await reading
        await turns()
        assert out.log == [(b"1", None)]
        assert library.disposed == [STREAM]
        path.close()

    run(scenario())


def test_a_reader_that_is_cancelled_reads_no_more(library: Library, way: str) -> None:
    async def scenario() -> None:
        path, stream = opened(way)
        out = Out()
        reading = asyncio.create_task(stream.run(out))
        await turns()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        library.push(b"late")
        await turns()
        assert out.log == []
        assert library.disposed == [STREAM]
        path.close()

    run(scenario())
