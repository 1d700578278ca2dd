"""The way out, over a source that does what the native one does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from loop_kit import run_virtual

rtc = pytest.importorskip("livekit.rtc")

from ringroom.errors import ClosedError, FrameError, RoomError  # noqa: E402
from ringroom.frames import AudioFrame, Kind, VideoFrame  # noqa: E402
from ringroom.options import PublishOptions  # noqa: E402
from ringroom.providers.livekit.line import Line  # noqa: E402
from ringroom.providers.livekit.pictures import VideoPlayout, borrowed  # noqa: E402
from ringroom.providers.livekit.playout import AudioPlayout, queue_size_ms  # noqa: E402
from ringroom.providers.provider import OutgoingTrack  # noqa: E402

RATE = 16_000
REFUSED = "an RtcError occurred: InvalidState - failed to capture frame"


class Piece:
    """A capture, whose answer is told as the native one's is."""

    def __init__(self, answered: Callable[[], None]) -> None:
        self.error: str | None = None
        self._answered = answered
        self._asked = False

    def ask(self) -> None:
        self._asked = True
        if self.error is not None:
            self._answered()

    def answer(self, error: str = "") -> None:
        self.error = error
        if error or self._asked:
            asyncio.get_running_loop().call_soon(self._answered)


class Source:
    """Refuses a second capture under way, as the native source does."""

    def __init__(self, *, held: bool = False) -> None:
        self.held = held
        self.clears = True
        self.pieces: list[np.ndarray] = []
        self.refuse: list[str] = []
        self.under_way: Piece | None = None
        self.log: list[str] = []

    def capture(self, samples: np.ndarray, answered: Callable[[], None]) -> Piece:
        assert "closed" not in self.log, "captured into a closed source"
        piece = Piece(answered)
        if self.refuse or self.under_way is not None:
            piece.answer(REFUSED if self.under_way is not None else self.refuse.pop(0))
            return piece
        self.pieces.append(samples[:, 0].copy())
        if self.held:
            self.under_way = piece
        else:
            piece.answer()
        return piece

    def take(self) -> None:
        """The native queue has room again."""
        done, self.under_way = self.under_way, None
        assert done is not None
        done.answer()

    def clear_queue(self) -> None:
        self.log.append("cleared")
        if self.under_way is not None and self.clears:
            self.take()

    async def aclose(self) -> None:
        assert self.under_way is None, "closed under a capture"
        self.log.append("closed")

    def sound(self) -> np.ndarray:
        return np.concatenate([np.zeros(0, np.int16), *self.pieces])


def speech(count: int, start: int = 0) -> AudioFrame:
    return AudioFrame(np.arange(start, start + count).astype(np.int16), RATE)


class Rig:
    def __init__(self, source: Source, audience: Any = None, **options: Any) -> None:
        self.source = source
        self.line = Line()
        self.line.set(True)
        track = OutgoingTrack(
            name="answer",
            kind=Kind.AUDIO,
            options=PublishOptions(**options),
            sample_rate=RATE,
            channels=1,
        )
        self.playout = AudioPlayout(track, source, self.line, self._unpublish, audience)  # type: ignore[arg-type]

    async def _unpublish(self, playout: object = None) -> None:
        self.source.log.append("unpublished")

    def begin(self, frame: AudioFrame) -> asyncio.Task[None]:
        return asyncio.create_task(self.playout.play(frame))


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run(scenario: Any, seconds: float = 30.0) -> None:
    """In virtual time, so that what is queued is known exactly, however long the machine takes."""

    async def bounded(loop: Any) -> None:
        await asyncio.wait_for(scenario, seconds)
        # What a test has left open is not waited for.
        feeding = asyncio.all_tasks() - {asyncio.current_task()}
        for task in feeding:
            task.cancel()
        await asyncio.gather(*feeding, return_exceptions=True)

    run_virtual(bounded)


class Listeners:
    """Subscribe when they are told to."""

    def __init__(self) -> None:
        self.come = asyncio.get_running_loop().create_future()
        self.waited_for = 0

    async def __call__(self) -> None:
        self.waited_for += 1
        await asyncio.shield(self.come)


def test_the_first_words_wait_for_somebody_who_hears_them() -> None:
    async def scenario() -> None:
        listeners = Listeners()
        rig = Rig(Source(), listeners)
        first = rig.begin(speech(1600))
        await turns()
        assert not rig.source.pieces, "played to nobody"
        assert rig.playout.queued() == pytest.approx(0.1)
        listeners.come.set_result(None)
        await first
        await rig.playout.play(speech(320))
        await turns()
        assert len(rig.source.sound()) == 1920
        assert listeners.waited_for == 1

    run(scenario())


def test_the_first_words_after_a_flush_wait_as_well() -> None:
    async def scenario() -> None:
        listeners = Listeners()
        rig = Rig(Source(), listeners)
        first = rig.begin(speech(1600))
        await turns()
        rig.playout.clear()
        await first
        second = rig.begin(speech(320))
        await turns()
        assert not rig.source.pieces, "played to nobody"
        listeners.come.set_result(None)
        await second
        await turns()
        assert len(rig.source.sound()) == 320

    run(scenario())


def test_nobody_who_subscribes_is_not_waited_for_for_ever() -> None:
    async def scenario() -> None:
        listeners = Listeners()
        rig = Rig(Source(), listeners)
        await rig.playout.play(speech(320))
        await rig.playout.play(speech(320))
        await turns()
        assert len(rig.source.sound()) == 640
        assert listeners.waited_for == 1

    run(scenario())


def test_live_sound_waits_for_nobody() -> None:
    async def scenario() -> None:
        listeners = Listeners()
        rig = Rig(Source(), listeners, mode="live")
        await rig.playout.play(speech(320))
        assert listeners.waited_for == 0

    run(scenario())


@pytest.mark.parametrize("how", ["clear", "close"])
def test_a_wait_for_listeners_ends_at_once(how: str) -> None:
    async def scenario() -> None:
        rig = Rig(Source(), Listeners())
        first = rig.begin(speech(1600))
        await turns()
        if how == "clear":
            assert rig.playout.clear() == pytest.approx(0.1)
        else:
            await rig.playout.close()
        await turns()
        assert first.done()
        assert not rig.source.pieces, "thrown away, and played all the same"
        waiting = [task for task in asyncio.all_tasks() if "Listeners" in repr(task.get_coro())]
        assert not waiting
        if how == "close":
            assert not asyncio.all_tasks() - {asyncio.current_task(), *_outer()}

    run(scenario())


def _outer() -> set[asyncio.Task[Any]]:
    """What `run` waits in."""
    return {task for task in asyncio.all_tasks() if "bounded" in repr(task.get_coro())}


def now() -> float:
    return asyncio.get_running_loop().time()


def test_long_sound_goes_in_pieces_as_the_source_plays() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        began = now()
        await rig.playout.play(speech(RATE + 7))
        assert 0.8 <= now() - began <= 0.85, "it waits while 200 ms of sound wait"
        assert 0.15 <= rig.playout.queued() <= 0.2 + 7 / RATE
        await asyncio.sleep(rig.playout.queued())
        assert np.array_equal(rig.source.sound(), np.arange(RATE + 7).astype(np.int16))
        assert max(map(len, rig.source.pieces)) <= RATE // 5
        await rig.playout.play(speech(320))
        await turns()
        assert len(rig.source.pieces[-1]) == 320
        assert rig.playout.retries == 0

    run(scenario())


def test_a_sender_that_is_ahead_is_held_back_and_handed_over_in_few_pieces() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        began = now()
        for number in range(100):
            await rig.playout.play(speech(320, 320 * number))
            assert rig.playout.queued() <= 0.2 + 1e-6
        assert 1.75 <= now() - began <= 1.85
        await asyncio.sleep(0.2)
        assert np.array_equal(rig.source.sound(), np.arange(32_000).astype(np.int16))
        assert len(rig.source.pieces) <= 30, "a hundred frames"

    run(scenario())


def test_a_sender_in_real_time_is_never_held_back() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        for number in range(50):
            began = now()
            await rig.playout.play(speech(320))
            assert now() == began
            await turns()
            assert len(rig.source.pieces) == number + 1, "not at once"
            await asyncio.sleep(0.02)

    run(scenario())


def test_the_callers_memory_is_free_after_a_cancellation() -> None:
    async def scenario() -> None:
        rig = Rig(Source(held=True))
        frame = speech(8_000)
        expected = frame.samples[:, 0].copy()
        playing = rig.begin(frame)
        await turns()
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing
        frame.samples[:] = 0
        following = rig.begin(speech(320, 9_000))
        await take_all(rig.source, until=following)
        await asyncio.sleep(0.2)
        whole = np.concatenate([expected, speech(320, 9_000).samples[:, 0]])
        assert np.array_equal(rig.source.sound(), whole), "never half"
        assert rig.playout.retries == 0

    run(scenario())


async def take_all(source: Source, until: asyncio.Task[None]) -> None:
    """The source answers in its own time, and goes on to."""
    while not until.done():
        await asyncio.sleep(0.01)
        if source.under_way is not None:
            source.take()
    source.held = False
    if source.under_way is not None:
        source.take()


@pytest.mark.parametrize("count", [320, 8_000])
def test_a_call_that_does_not_know_yet_that_it_was_cancelled(count: int) -> None:
    async def scenario() -> None:
        rig = Rig(Source(held=True))
        playing = rig.begin(speech(count))
        await asyncio.sleep(0)
        playing.cancel()  # it has begun, and hears of it after the next has begun
        following = rig.begin(speech(320, 9_000))
        await take_all(rig.source, until=following)
        await asyncio.wait({playing})
        await asyncio.sleep(0.2)
        whole = [speech(count).samples[:, 0], speech(320, 9_000).samples[:, 0]]
        assert np.array_equal(rig.source.sound(), np.concatenate(whole))
        assert rig.playout.retries == 0

    run(scenario())


def test_a_cancellation_between_two_tries() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        rig.source.refuse = [REFUSED]
        playing = rig.begin(speech(8_000))
        await turns()
        assert rig.playout.retries == 1
        playing.cancel()
        await asyncio.wait({playing})
        await rig.playout.play(speech(320, 9_000))
        await asyncio.sleep(0.2)
        whole = [speech(8_000).samples[:, 0], speech(320, 9_000).samples[:, 0]]
        assert np.array_equal(rig.source.sound(), np.concatenate(whole)), "never half"

    run(scenario())


@pytest.mark.parametrize("cancelled", [True, False])
@pytest.mark.parametrize("count", [320, 8_000])
def test_closing_waits_for_the_capture_that_is_under_way(count: int, cancelled: bool) -> None:
    async def scenario() -> None:
        rig = Rig(Source(held=True))
        playing = rig.begin(speech(count))
        await turns()
        rig.source.clears = False  # natively it takes up to 10 ms
        if cancelled:
            playing.cancel()
            await asyncio.wait({playing})
        closing = asyncio.create_task(rig.playout.close())
        await turns()
        assert rig.source.log == ["cleared"]
        rig.source.take()
        await closing
        assert rig.source.log == ["cleared", "unpublished", "closed"]
        assert len(rig.source.pieces) == 1
        await asyncio.wait({playing})
        assert not asyncio.all_tasks() - {asyncio.current_task(), *_outer()}

    run(scenario())


def test_closing_does_not_wait_for_ever_for_a_capture() -> None:
    async def scenario() -> None:
        source = Source(held=True)
        rig = Rig(source)
        await rig.playout.play(speech(320))
        await turns()
        source.clears = False
        began = now()
        closing = asyncio.create_task(rig.playout.close())
        await asyncio.sleep(0.9)
        assert source.log == ["cleared"]
        source.aclose = rig._unpublish  # type: ignore[method-assign]  (it insists)
        await closing
        assert now() - began == pytest.approx(1.0, abs=0.01)
        assert not asyncio.all_tasks() - {asyncio.current_task(), *_outer()}

    run(scenario())


def test_clear_throws_away_what_is_under_way() -> None:
    async def scenario() -> None:
        rig = Rig(Source(held=True))
        playing = rig.begin(speech(RATE))
        await turns()
        assert rig.playout.queued() == pytest.approx(1.0)
        assert rig.playout.clear() == pytest.approx(1.0)
        await playing
        assert len(rig.source.pieces) == 1
        assert rig.playout.queued() == 0.0
        rig.source.held = False
        await rig.playout.play(speech(320))
        assert rig.playout.queued() == pytest.approx(0.02)
        await turns()
        assert len(rig.source.pieces) == 2, "what follows a flush does not wait"

    run(scenario())


def test_what_waits_for_its_turn_is_thrown_away_too() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        for _ in range(10):
            await rig.playout.play(speech(320))
        await asyncio.sleep(0.07)
        for _ in range(3):
            await rig.playout.play(speech(320, 5_000))
        await turns()
        assert 5_000 not in rig.source.sound(), "the source has enough"
        assert rig.playout.clear() == pytest.approx(0.19)
        await asyncio.sleep(1.0)
        assert 5_000 not in rig.source.sound()

    run(scenario())


def test_a_capture_that_a_flush_has_overtaken_is_cleared_again() -> None:
    """The native library takes a piece on a thread of its own, perhaps after the clearing."""

    async def scenario() -> None:
        source = Source(held=True)
        source.clears = False
        rig = Rig(source)
        await rig.playout.play(speech(320))
        await turns()
        rig.playout.clear()
        assert source.log == ["cleared"]
        source.take()
        await turns()
        assert source.log == ["cleared", "cleared"]
        source.held = False
        await rig.playout.play(speech(320))
        await turns()
        assert source.log == ["cleared", "cleared"], "nothing but what was flushed"

    run(scenario())


def test_a_refusal_is_tried_again_and_counted() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        rig.source.refuse = [REFUSED, REFUSED]
        await rig.playout.play(speech(1_600))
        await turns()
        assert rig.playout.queued() == pytest.approx(0.1), "not at the source yet"
        await asyncio.sleep(0.05)
        assert np.array_equal(rig.source.sound(), speech(1_600).samples[:, 0])
        assert rig.playout.retries == 2
        assert rig.playout.queued() == pytest.approx(0.07, abs=0.001)

    run(scenario())


def test_a_flush_ends_the_tries() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        rig.source.refuse = [REFUSED]
        await rig.playout.play(speech(1_600))
        await turns()
        rig.playout.clear()
        await asyncio.sleep(1)
        assert not rig.source.pieces
        await rig.playout.play(speech(320))
        await turns()
        assert len(rig.source.pieces) == 1

    run(scenario())


def test_a_source_that_takes_nothing_more() -> None:
    async def scenario() -> None:
        hanging = Rig(Source(held=True))
        began = now()
        with pytest.raises(RoomError, match="took no sound for 5 s"):
            await hanging.playout.play(speech(RATE))
        assert now() - began == pytest.approx(5.2)
        refusing = Rig(Source())
        refusing.source.refuse = [REFUSED] * 3_000
        with pytest.raises(RoomError, match="refused sound for 5 s"):
            await refusing.playout.play(speech(RATE))
        assert len(refusing.source.pieces) == 0
        assert refusing.playout.queued() == 0, "who waits for the end would wait for ever"

    run(scenario())


def test_another_error_is_not_tried_again() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        for text in ("InvalidState - sample_rate and num_channels don't match", "broken"):
            rig.source.refuse = [text]
            with pytest.raises(RoomError, match="answer"):
                await rig.playout.play(speech(RATE))
            assert not rig.source.pieces
            rig.source.refuse = [text]
            await rig.playout.play(speech(320))
            await turns()
            with pytest.raises(RoomError, match="answer"):  # it is told by the next
                await rig.playout.play(speech(320))
        assert rig.playout.retries == 0
        await rig.playout.play(speech(320))
        await turns()
        assert len(rig.source.pieces) == 1, "it goes on"

    run(scenario())


def test_an_error_that_nobody_comes_to_hear_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        rig.source.refuse = ["broken"]
        await rig.playout.play(speech(320))
        await turns()
        await rig.playout.close()

    run(scenario())
    assert "broken" in caplog.text


@pytest.mark.parametrize("mode", ["speech", "live"])
def test_speech_waits_while_the_connection_is_lost(mode: str) -> None:
    async def scenario() -> None:
        rig = Rig(Source(), mode=mode)
        rig.line.set(False)
        playing = rig.begin(speech(1_600))
        await turns(20)
        assert playing.done() is (mode == "live")
        rig.line.set(True)
        await playing
        await turns()
        assert len(rig.source.sound()) == 1_600
        rig.line.set(False)
        playing = rig.begin(speech(1_600))
        await turns(20)
        rig.line.end()
        if mode == "speech":
            with pytest.raises(RoomError) as caught:
                await playing
            assert caught.value.reason == "disconnected"
        with pytest.raises(RoomError):
            await rig.playout.play(speech(320))

    run(scenario())


@pytest.mark.parametrize("outage", [0.01, 0.05, 0.09, 0.15])
def test_speech_goes_on_after_an_outage_however_short(outage: float) -> None:
    """Also one that is over before anything more was due at the source."""

    async def scenario() -> None:
        rig = Rig(Source())
        await rig.playout.play(speech(3_200))
        await turns()
        rig.line.set(False)
        playing = rig.begin(speech(1_600, 3_200))
        await asyncio.sleep(outage)
        assert not playing.done()
        rig.line.set(True)
        await playing
        await rig.playout.play(speech(320, 4_800))
        await asyncio.sleep(0.3)
        assert np.array_equal(rig.source.sound(), speech(5_120).samples[:, 0])

    run(scenario())


def test_close_waits_for_the_capture_under_way() -> None:
    async def scenario() -> None:
        rig = Rig(Source(held=True))
        playing = rig.begin(speech(RATE))
        await turns()
        await asyncio.gather(rig.playout.close(), rig.playout.close())
        await playing
        assert rig.source.log == ["cleared", "unpublished", "closed"]
        with pytest.raises(ClosedError):
            await rig.playout.play(speech(320))
        assert rig.playout.clear() == 0.0

    run(scenario())


def test_frames_that_do_not_fit_the_track() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        black = VideoFrame.from_gray(np.zeros((4, 4), np.uint8))
        stereo = AudioFrame(np.zeros((160, 2), np.int16), RATE)
        for frame in (black, stereo, AudioFrame(np.zeros(160, np.int16), 8_000)):
            with pytest.raises(FrameError):
                await rig.playout.play(frame)
        video = VideoPlayout(rig.playout.track, Pictures(), rig.line, rig._unpublish)  # type: ignore[arg-type]
        with pytest.raises(FrameError):
            await video.play(speech(320))
        for width, height in ((2, 2), (3, 400), (640, 2)):  # of these WebRTC ended the process
            dot = VideoFrame.from_gray(np.zeros((height, width), np.uint8))
            with pytest.raises(FrameError, match=f"{width}x{height}, and WebRTC takes sides of 4"):
                await video.play(dot)

    run(scenario())


class Pictures:
    def __init__(self) -> None:
        self.log: list[Any] = []

    def capture_frame(self, frame: Any, *, timestamp_us: int, rotation: int) -> None:
        address = np.frombuffer(frame.data, np.uint8).__array_interface__["data"][0]
        self.log.append((address, frame.width, frame.height, timestamp_us, rotation))

    async def aclose(self) -> None:
        self.log.append("closed")


def test_first_words_wait_for_their_audience_after_they_were_held() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        heard, back = loop.create_future(), asyncio.Event()

        async def audience() -> None:
            await heard

        rig = Rig(Source(), audience)
        saying = rig.begin(speech(320))
        await turns()
        rig.playout.hold(back.wait)
        back.set()
        await turns()
        assert not rig.source.pieces
        heard.set_result(None)
        await saying
        await turns()
        assert len(rig.source.pieces) == 1

    run(scenario())


def test_what_was_held_as_the_room_ended_is_told_as_not_played() -> None:
    async def scenario() -> None:
        rig = Rig(Source(), queue_ms=100)
        rig.line.set(False)
        saying = rig.begin(speech(RATE * 3))
        await asyncio.sleep(1.0)
        rig.line.end()
        with pytest.raises(RoomError, match="has ended"):
            await saying
        assert rig.playout.clear() == 3.0
        assert rig.playout.clear() == 0.0
        assert not rig.source.pieces

    run(scenario())


def test_a_picture_on_a_track_that_is_gone_is_refused_as_it_was_told() -> None:
    async def scenario() -> None:
        rig, told = Rig(Source()), list[RoomError]()
        pictures = Pictures()
        playout = VideoPlayout(rig.playout.track, pictures, rig.line, rig._unpublish)  # type: ignore[arg-type]
        playout.on_ended(told.append)
        playout.take_away("was ended by the server: not allowed")
        with pytest.raises(RoomError, match="'answer' was ended by the server: not al") as caught:
            await playout.play(VideoFrame.from_gray(np.zeros((4, 4), np.uint8)))
        assert caught.value.reason == "publish_refused"
        assert [str(error) for error in told] == [str(caught.value)]
        assert not pictures.log

    run(scenario())


def test_pictures_go_by_reference_with_a_clock_that_goes_on() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        source = Pictures()
        playout = VideoPlayout(rig.playout.track, source, rig.line, rig._unpublish)  # type: ignore[arg-type]
        ring = np.zeros(1_000, np.uint8)
        for time_us, rotation in ((5, 0), (5, 90), (4, 180), (9, 270)):
            data = ring[100 : 100 + 35 + 24]
            data.setflags(write=False)
            frame = VideoFrame(data, 5, 7, rotation=rotation, timestamp_us=time_us)
            await playout.play(frame)
        start = ring.__array_interface__["data"][0] + 100
        assert source.log == [(start, 5, 7, t, r) for t, r in ((5, 0), (0, 1), (0, 2), (9, 3))]
        assert (playout.queued(), playout.clear()) == (0.0, 0.0)
        await playout.close()
        await playout.close()
        assert source.log[-1] == "closed"
        with pytest.raises(ClosedError):
            await playout.play(frame)

    run(scenario())


def test_borrowed_bytes_are_not_copied_by_the_sdk() -> None:
    ring = np.arange(64, dtype=np.uint8)
    part = ring[8:40]
    part.setflags(write=False)
    frame = rtc.VideoFrame(4, 4, rtc.VideoBufferType.I420, borrowed(part))
    ring[8] = 77
    assert frame.data[0] == 77
    assert frame._proto_info().data_ptr == part.__array_interface__["data"][0]


def test_queue_sizes_that_do_not_abort_the_native_library() -> None:
    assert [queue_size_ms(n) for n in (20, 21, 25, 30, 999, 1_000)] == [
        20,
        30,
        30,
        30,
        1_000,
        1_000,
    ]
