"""Media beside the SDK's public API: frames are freed once, and the native library itself, which
feeds what our sources play into streams of the same track."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from livekit import rtc

from native_kit import (
    Freed,
    Out,
    end_event,
    frame,
    put,
    seen,
    stream_of,
    turns,
)
from ringroom.events import Kind
from ringroom.options import SessionOptions
from ringroom.providers.livekit import native
from ringroom.providers.livekit.paths import open_path

KINDS = (Kind.AUDIO, Kind.VIDEO)
RATE = 16_000


pytestmark = pytest.mark.usefixtures("nothing_stays")


@pytest.fixture
def freed(monkeypatch: pytest.MonkeyPatch) -> Freed:
    return Freed(monkeypatch)


def run(scenario: Any) -> Any:
    return asyncio.run(asyncio.wait_for(scenario, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_given_in_order_and_freed_once(freed: Freed, kind: Kind) -> None:
    async def scenario() -> None:
        out, stream = Out(), stream_of("direct", kind)
        put(frame(kind, 1, 101, handle=11))
        await turns()
        assert not freed.handles, "it waits for the reader"
        reading = asyncio.create_task(stream.run(out))
        await turns()
        put(frame(kind, 2, 101, handle=12))
        put(frame(kind, 9, 555, handle=19))  # a stream of somebody else
        put(frame(kind, 3, 101, handle=13))
        put(end_event(kind, 101))
        await reading
        await stream.aclose()
        assert out.log == [seen(kind, value) for value in (1, 2, 3)]
        assert freed.handles == [11, 12, 13]

    run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_that_is_cancelled_frees_what_still_comes(freed: Freed, kind: Kind) -> None:
    async def scenario() -> None:
        out, stream = Out(), stream_of("direct", kind)
        put(frame(kind, 1, 101, handle=11))
        reading = asyncio.create_task(stream.run(out))
        await turns()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        put(frame(kind, 2, 101, handle=12))
        await stream.aclose()
        assert out.log == [seen(kind, 1)]
        assert freed.handles == [11, 12]

    run(scenario())


def test_a_stream_that_nobody_reads_frees_its_frames(freed: Freed) -> None:
    async def scenario() -> None:
        stream = stream_of("direct", Kind.AUDIO)
        put(frame(Kind.AUDIO, 1, 101, handle=11))
        await turns()
        reading = asyncio.create_task(stream.run(Out()))
        reading.cancel()  # before its first step
        await asyncio.wait({reading})
        await stream.aclose()
        del reading, stream
        assert freed.handles == [11]

    run(scenario())


def test_a_sink_that_raises_gets_nothing_more(freed: Freed) -> None:
    class Broken(Out):
        def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
            super().audio(samples, sample_rate, channels)
            raise ValueError("full")

    async def scenario() -> None:
        out, stream = Broken(), stream_of("direct", Kind.AUDIO)
        reading = asyncio.create_task(stream.run(out))
        await turns()
        for value in (1, 2):
            put(frame(Kind.AUDIO, value, 101, handle=10 + value))
        with pytest.raises(ValueError, match="full"):
            await reading
        put(frame(Kind.AUDIO, 3, 101, handle=13))
        await stream.aclose()
        put(end_event(Kind.AUDIO, 101))
        await turns()
        assert out.log == [seen(Kind.AUDIO, 1)]
        assert freed.handles == [11, 12, 13]

    run(scenario())


class Prompt(Out):
    """Takes sound on any thread, but for what is a multiple of ten."""

    def audio_at_once(self, samples: memoryview, sample_rate: int, channels: int) -> bool:
        value = int(np.frombuffer(samples, np.int16)[0])
        if value == 13:
            raise ValueError("unlucky")
        if value % 10:
            self.log.append("at once")
            self.audio(samples, sample_rate, channels)
        return bool(value % 10)


def test_sound_is_given_where_it_comes_once_what_came_before_is_given(freed: Freed) -> None:
    async def scenario() -> None:
        out, stream = Prompt(), stream_of("direct", Kind.AUDIO)
        put(frame(Kind.AUDIO, 1, 101, handle=11))
        await turns()
        reading = asyncio.create_task(stream.run(out))
        put(frame(Kind.AUDIO, 2, 101, handle=12))
        await turns()
        assert out.log == [seen(Kind.AUDIO, 1), seen(Kind.AUDIO, 2)], "on the loop"
        put(frame(Kind.AUDIO, 3, 101, handle=13))
        assert out.log[2:] == ["at once", seen(Kind.AUDIO, 3)]
        assert freed.handles == [11, 12, 13]
        for value in (10, 4):  # the second waits for the first
            put(frame(Kind.AUDIO, value, 101, handle=10 + value))
        assert freed.handles == [11, 12, 13]
        await turns()
        put(frame(Kind.AUDIO, 13, 101, handle=23))  # what raised is given again on the loop
        put(end_event(Kind.AUDIO, 101))
        await reading
        await stream.aclose()
        assert out.log[4:] == [seen(Kind.AUDIO, value) for value in (10, 4, 13)]
        assert freed.handles == [11, 12, 13, 20, 14, 23]

    run(scenario())


def test_a_reader_that_has_gone_is_given_nothing_at_once(freed: Freed) -> None:
    async def scenario() -> None:
        out, stream = Prompt(), stream_of("direct", Kind.AUDIO)
        reading = asyncio.create_task(stream.run(out))
        await turns()
        reading.cancel()
        await asyncio.wait({reading})
        put(frame(Kind.AUDIO, 1, 101, handle=11))
        await stream.aclose()
        assert out.log == []
        assert freed.handles == [11]

    run(scenario())


def test_pictures_are_given_on_the_loop_alone(freed: Freed) -> None:
    async def scenario() -> None:
        out, stream = Prompt(), stream_of("direct", Kind.VIDEO)
        reading = asyncio.create_task(stream.run(out))
        await turns()
        put(frame(Kind.VIDEO, 1, 101, handle=11))
        assert out.log == []
        put(end_event(Kind.VIDEO, 101))
        await reading
        await stream.aclose()
        assert out.log == [seen(Kind.VIDEO, 1)]

    run(scenario())


class Heard(Out):
    """Counts samples that are not silence, and pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.loud, self.pictures = 0, 0

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        assert (sample_rate, channels) == (RATE, 1)
        self.loud += int((np.abs(np.frombuffer(samples, np.int16)) > 500).sum())

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        assert (len(i420), size) == (64 * 48 * 3 // 2, (64, 48))
        content = set(bytes(i420))
        if content == {0, 128}:
            return  # black: the library's own, until it has the first of ours
        assert (content, rotation) == ({50}, 90)
        self.pictures += 1


async def until(condition: Any) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


async def taken(source: Any, samples: np.ndarray, *, ask: bool = True) -> str:
    """The answer; a refusal comes without being asked for."""
    told = asyncio.Event()
    capture = source.capture(samples, told.set)
    if ask:
        capture.ask()
    await told.wait()
    assert capture.error is not None
    said: str = capture.error
    return said


@pytest.mark.parametrize("way", ["public", "direct"])
def test_sound_through_the_native_library(way: str) -> None:
    async def scenario() -> None:
        path = open_path(way)
        native_source = rtc.AudioSource(RATE, 1, 100)
        track = rtc.LocalAudioTrack.create_audio_track("a", native_source)
        source = path.source(native_source)
        heard = Heard()
        stream = path.stream(track, Kind.AUDIO, SessionOptions())
        reading = asyncio.create_task(stream.run(heard))
        for _ in range(25):
            assert await taken(source, np.full((320, 1), 1000, np.int16)) == ""
        # The last tenth of a second is still queued.
        await until(lambda: heard.loud >= 20 * 320)
        stereo = path.source(_mistaken(native_source))
        said = await taken(stereo, np.zeros((80, 2), np.int16), ask=False)
        assert "InvalidState" in said
        assert "don't match" in said
        await stream.aclose()
        await reading
        await source.aclose()
        path.close()
        path.close()

    run(scenario())


def _mistaken(source: Any) -> Any:
    """The same source, which believes that it is stereo."""
    other = object.__new__(rtc.AudioSource)
    other.__dict__.update(source.__dict__, _num_channels=2)
    return other


@pytest.mark.parametrize("way", ["public", "direct"])
def test_pictures_through_the_native_library(way: str) -> None:
    async def scenario() -> None:
        path = open_path(way)
        source = rtc.VideoSource(64, 48)
        track = rtc.LocalVideoTrack.create_video_track("v", source)
        heard = Heard()
        stream = path.stream(track, Kind.VIDEO, SessionOptions())
        reading = asyncio.create_task(stream.run(heard))
        picture = rtc.VideoFrame(64, 48, rtc.VideoBufferType.I420, bytes([50]) * (64 * 48 * 3 // 2))

        for number in range(3):
            async with asyncio.timeout(15):
                while heard.pictures <= number:  # on a busy machine the library leaves some out
                    source.capture_frame(picture, rotation=rtc.VideoRotation.VIDEO_ROTATION_90)
                    await asyncio.sleep(0.05)
        await stream.aclose()
        await reading
        await source.aclose()
        path.close()

    run(scenario())


async def begun(source: Any) -> Any:
    """A capture of a second that is under way: of two that are asked for at once, the native side
    may begin with the later one, and then it is the first that is refused."""
    while True:
        first = source.capture(np.full((RATE, 1), 1000, np.int16), lambda: None)
        while first.error is None:
            if await taken(source, np.zeros((160, 1), np.int16)):
                return first


@pytest.mark.parametrize("way", ["public", "direct"])
def test_a_second_capture_is_refused_and_the_first_goes_on(way: str) -> None:
    async def scenario() -> None:
        path = open_path(way)
        source = path.source(rtc.AudioSource(RATE, 1, 20))
        first = await begun(source)
        assert "InvalidState" in await taken(source, np.zeros((160, 1), np.int16), ask=False)
        assert first.error is None
        path.close()  # while it is under way
        # The native source plays it piece by piece: each time it is cleared, the next one.
        while first.error is None:
            source.clear_queue()
            await asyncio.sleep(0.002)
        assert first.error == ""
        await until(lambda: not native._exchanges)  # on the loop: it must not end before
        await source.aclose()
        # A source that is closed takes everything, as the SDK's does.
        assert await taken(source, np.zeros((160, 1), np.int16)) == ""

    run(scenario())


def test_an_exchange_has_ended_when_its_last_answer_is_told() -> None:
    """For the loop may end with whoever waits for the answer."""

    async def scenario() -> None:
        exchange, ended = native.exchange(), []
        telling = lambda: ended.append(exchange not in native._exchanges.values())  # noqa: E731
        capture = native.DirectCapture(np.zeros((160, 1), np.int16), telling)
        exchange._captures[0] = capture
        exchange.release()
        capture.ask()
        exchange._answered(exchange._captures.pop(0), "")
        await turns()
        assert ended == [True]

    run(scenario())


def test_the_memory_of_a_capture_is_kept_until_its_answer() -> None:
    async def scenario() -> None:
        path = open_path("direct")
        (exchange,) = native._exchanges.values()
        source = path.source(rtc.AudioSource(RATE, 1, 20))
        long = np.full((RATE, 1), 1000, np.int16)
        capture = source.capture(long, lambda: None)
        (kept,) = exchange._captures.values()
        assert kept.samples is long
        del capture, kept
        while exchange._captures:
            source.clear_queue()
            await asyncio.sleep(0.002)
        await source.aclose()
        path.close()

    run(scenario())


def test_the_interpreter_ends_as_usual_with_threads_that_keep_their_state() -> None:
    code = """
import asyncio, numpy as np
from livekit import rtc
from ringroom.providers.livekit.paths import open_path

async def main():
    path = open_path("direct")
    source = path.source(rtc.AudioSource(16000, 1, 100))
    for _ in range(5):
        told = asyncio.Event()
        source.capture(np.zeros((160, 1), np.int16), told.set).ask()
        await told.wait()

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
