"""The native library's events: which are ours, who hears of them, and what becomes of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.rtc._proto import ffi_pb2

from native_kit import NATIVE, Freed, end_event, forget_ended_loops, frame, put, turns
from ringroom.events import Kind
from ringroom.providers.livekit import native

pytestmark = pytest.mark.usefixtures("nothing_stays")


def run(scenario: Any) -> Any:
    return asyncio.run(asyncio.wait_for(scenario, 20))


def stream_request() -> Any:
    request = ffi_pb2.FfiRequest()
    request.new_audio_stream.track_handle = 1
    return request


def capture_request() -> Any:
    request = ffi_pb2.FfiRequest()
    request.capture_audio_frame.source_handle = 1
    buffer = request.capture_audio_frame.buffer
    buffer.sample_rate, buffer.num_channels = 16_000, 1
    return request


def answer(number: int, error: str = "") -> Any:
    event = ffi_pb2.FfiEvent()
    event.capture_audio_frame.async_id = number
    if error:
        event.capture_audio_frame.error = error
    return event


def deaf(exchange: native.Exchange, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The library takes captures and answers none of them; their numbers, as they come."""
    sent: list[int] = []

    def ask(packed: bytes, *_: Any) -> int:
        sent.append(ffi_pb2.FfiRequest.FromString(packed).capture_audio_frame.request_async_id)
        return 77

    monkeypatch.setattr(exchange, "_ask", ask)
    monkeypatch.setattr(exchange, "_drop", lambda handle: True)
    return sent


def quiet() -> None:
    """Nobody waits for the answer."""


async def answered(exchange: native.Exchange, request: Any, samples: np.ndarray) -> str | None:
    told = asyncio.Event()
    capture = exchange.capture(request, samples, told.set)
    capture.ask()
    await told.wait()
    return capture.error


class Taker:
    """Of a stream: what it takes on the loop, and at once if it does."""

    def __init__(
        self,
        take: Callable[[Any], object] = lambda event: None,
        take_at_once: Callable[[Any], bool] = lambda event: False,
    ) -> None:
        self._take, self._take_at_once = take, take_at_once

    def take(self, event: Any) -> None:
        self._take(event)

    def take_at_once(self, event: Any) -> bool:
        return self._take_at_once(event)


def handle_of(event: Any) -> int:
    return int(event.frame_received.frame.handle.id)


def test_one_for_each_loop_until_its_last_user_and_stream_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Freed(monkeypatch)

    async def scenario() -> None:
        first = native.exchange()
        assert native.exchange() is first
        number = first.open_stream(stream_request(), Taker())
        first.release()
        first.release()
        assert first in native._exchanges.values(), "its stream has not ended"
        first.forget(number)
        second = native.exchange()
        assert second is not first
        second.release()

    run(scenario())


def test_a_frame_that_comes_before_its_stream_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    freed = Freed(monkeypatch)
    asked = freed.request

    def early(request: Any) -> Any:
        made = asked(request)
        put(frame(Kind.AUDIO, 1, 101, handle=11))
        put(frame(Kind.AUDIO, 2, 555, handle=12))  # somebody else's, at the same moment
        return made

    monkeypatch.setattr(freed, "request", early)

    async def scenario() -> None:
        exchange = native.exchange()
        got: list[Any] = []
        number = exchange.open_stream(stream_request(), Taker(got.append))
        await turns()
        assert [event.frame_received.frame.handle.id for event in got] == [11]
        assert not freed.handles
        exchange.forget(number)
        exchange.release()

    run(scenario())


def test_what_came_before_a_stream_had_a_number_is_not_overtaken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    freed = Freed(monkeypatch)
    asked = freed.request

    def early(request: Any) -> Any:
        made = asked(request)
        put(frame(Kind.AUDIO, 1, 101, handle=11))
        return made

    monkeypatch.setattr(freed, "request", early)

    async def scenario() -> None:
        exchange = native.exchange()
        log: list[int] = []

        def take(event: Any) -> bool:
            log.append(handle_of(event))
            return True

        number = exchange.open_stream(stream_request(), Taker(take, take))
        put(frame(Kind.AUDIO, 2, 101, handle=12))
        assert log == []
        await turns()
        put(frame(Kind.AUDIO, 3, 101, handle=13))
        assert log == [11, 12, 13]
        exchange.forget(number)
        exchange.release()

    run(scenario())


def test_a_stream_that_is_listed_while_its_first_frame_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop goes on between the native thread's two questions."""
    Freed(monkeypatch)

    async def scenario() -> None:
        exchange = native.exchange()
        got: list[Any] = []

        class Streams(dict[int, Any]):
            def get(self, number: int, default: Any = None) -> Any:
                found = super().get(number, default)
                if number == 101 and 101 not in self:
                    self[101] = Taker(got.append), native._Passage()
                    exchange._opening -= 1
                return found

        exchange._streams = Streams()
        exchange._opening += 1
        put(frame(Kind.AUDIO, 1, 101, handle=11))
        await turns()
        assert [handle_of(event) for event in got] == [11]
        exchange.forget(101)
        exchange.release()

    run(scenario())


def test_a_stream_that_is_refused_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    freed = Freed(monkeypatch)

    def refuse(request: Any) -> Any:
        raise AssertionError("invalid handle")

    monkeypatch.setattr(freed, "request", refuse)

    async def scenario() -> None:
        exchange = native.exchange()
        with pytest.raises(AssertionError):
            exchange.open_stream(stream_request(), Taker())
        put(frame(Kind.AUDIO, 2, 555, handle=12))
        assert not exchange._waiting
        exchange.release()

    run(scenario())


def test_what_comes_while_others_are_handled_waits_for_the_next_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Freed(monkeypatch)

    async def scenario() -> None:
        exchange = native.exchange()
        turn: list[int] = []
        got: list[int] = []

        def take(event: Any) -> None:
            got.append(len(turn))
            if len(got) < 3:
                put(frame(Kind.AUDIO, 1, number))

        number = exchange.open_stream(stream_request(), Taker(take))
        put(frame(Kind.AUDIO, 1, number))
        while len(got) < 3:
            await asyncio.sleep(0)
            turn.append(1)
        assert got[0] < got[1] < got[2]
        exchange.forget(number)
        exchange.release()

    run(scenario())


def test_what_is_taken_at_once_wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    Freed(monkeypatch)

    async def scenario() -> None:
        exchange = native.exchange()
        on_loop: list[int] = []
        threads: list[int] = []

        def take_at_once(event: Any) -> bool:
            threads.append(threading.get_ident())
            return True

        taker = Taker(on_loop.append, take_at_once)
        number = exchange.open_stream(stream_request(), taker)
        native_thread = threading.Thread(target=put, args=(frame(Kind.AUDIO, 1, number),))
        native_thread.start()
        native_thread.join()
        put(frame(Kind.AUDIO, 2, number))
        assert threads == [native_thread.ident, threading.get_ident()]
        assert not exchange._waiting
        assert not exchange._awake
        await turns()
        assert on_loop == []
        exchange.forget(number)
        exchange.release()

    run(scenario())


def test_what_is_left_for_the_loop_goes_before_all_that_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of its own stream; another is not held up."""
    Freed(monkeypatch)

    async def scenario() -> None:
        exchange = native.exchange()
        log: list[tuple[str, int]] = []

        def taker_of(name: str) -> Taker:
            def take_at_once(event: Any) -> bool:
                prompt = handle_of(event) % 10 != 0
                if prompt:
                    log.append((name, handle_of(event)))
                return prompt

            return Taker(
                lambda event: log.append((f"{name} on the loop", handle_of(event))), take_at_once
            )

        one = exchange.open_stream(stream_request(), taker_of("one"))
        other = exchange.open_stream(stream_request(), taker_of("other"))
        for stream, handle in ((one, 11), (one, 20), (one, 21), (other, 31), (one, 30), (one, 31)):
            put(frame(Kind.AUDIO, 1, stream, handle=handle))
        assert log == [("one", 11), ("other", 31)]
        log.clear()
        await turns()
        assert log == [("one on the loop", handle) for handle in (20, 21, 30, 31)]
        log.clear()
        put(frame(Kind.AUDIO, 1, one, handle=41))
        assert log == [("one", 41)], "nothing of it waits any more"
        exchange.forget(one)
        exchange.forget(other)
        exchange.release()

    run(scenario())


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("kind", [Kind.AUDIO, Kind.VIDEO])
def test_frames_for_a_loop_that_is_closed_are_freed(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, waits: bool
) -> None:
    freed = Freed(monkeypatch)
    made: list[native.Exchange] = []

    async def scenario() -> None:
        exchange = native.exchange()
        made.append(exchange)
        exchange.open_stream(stream_request(), Taker())

    loop = asyncio.new_event_loop()
    loop.run_until_complete(scenario())
    if waits:
        put(frame(kind, 1, 101, handle=11))  # its turn never comes
    loop.close()
    assert not freed.handles
    put(frame(kind, 2, 101, handle=12))
    put(end_event(kind, 101))
    assert freed.handles == ([11, 12] if waits else [12])
    made[0].forget(101)
    made[0].release()


def test_an_answer_that_comes_before_its_request_has_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        exchange = native.exchange()

        def ask(packed: bytes, *_: Any) -> int:
            sent = ffi_pb2.FfiRequest.FromString(packed).capture_audio_frame
            if sent.buffer.samples_per_channel == 2:
                return 0
            put(answer(sent.request_async_id, "InvalidState"))
            return 77

        dropped: list[int] = []
        monkeypatch.setattr(exchange, "_ask", ask)
        monkeypatch.setattr(exchange, "_drop", dropped.append)
        request = capture_request()
        assert await answered(exchange, request, np.zeros((3, 1), np.int16)) == "InvalidState"
        assert dropped == [77], "the answer's own memory"
        refused = await answered(exchange, request, np.zeros((2, 1), np.int16))
        assert refused == "the native library refused the request"
        await turns()
        exchange.release()

    run(scenario())


def test_nobody_else_is_woken_for_our_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        exchange = native.exchange()
        # As a room of the SDK does, which joins after the exchange was made.
        room = NATIVE.queue.subscribe(
            loop,
            lambda e: e.WhichOneof("message") not in ("audio_stream_event", "video_stream_event"),
        )
        sent = deaf(exchange, monkeypatch)
        capture = exchange.capture(capture_request(), np.zeros((1, 1), np.int16), quiet)
        put(answer(sent[0], "oh"))
        put(answer(5))  # one of the SDK's own
        assert capture.error == "oh"
        await turns()
        assert room.qsize() == 1
        assert room.get_nowait().capture_audio_frame.async_id == 5
        NATIVE.queue.unsubscribe(room)
        exchange.release()

    run(scenario())


def test_a_native_thread_keeps_its_state() -> None:
    """What Python keeps for a thread is gone with its state: `threading.local` shows it."""

    async def scenario() -> None:
        exchange = native.exchange()
        local = threading.local()
        counts: dict[int, list[int]] = {}
        take = exchange._take

        def counted(event: Any) -> bool:
            said = take(event)
            local.count = getattr(local, "count", 0) + 1
            counts.setdefault(threading.get_ident(), []).append(local.count)
            return said

        subscribers = NATIVE.queue._subscribers
        place = next(n for n, one in enumerate(subscribers) if one[0] is exchange._subscription)
        subscribers[place] = (*subscribers[place][:2], counted)
        source = rtc.AudioSource(16_000, 1, 1000)
        request = capture_request()
        request.capture_audio_frame.source_handle = source._ffi_handle.handle
        for _ in range(20):
            assert await answered(exchange, request, np.zeros((160, 1), np.int16)) == ""
        # Each thread goes on counting where it was; twenty answers come from a few of them.
        assert all(each == list(range(1, len(each) + 1)) for each in counts.values()), counts
        assert max(map(len, counts.values())) > 1
        await source.aclose()
        exchange.release()

    run(scenario())


def test_only_threads_that_python_has_not_started_are_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settled: list[int] = []
    api = SimpleNamespace(PyGILState_Ensure=lambda: settled.append(1))
    monkeypatch.setattr(native.ctypes, "pythonapi", api)
    native._settle_thread(threading.get_ident())
    assert not settled
    native._settle_thread(-1)
    assert settled == [1]


def test_a_loop_that_has_ended_is_left_behind_by_the_next() -> None:
    async def unreleased() -> None:
        native.exchange()

    asyncio.run(unreleased())
    (left,) = native._exchanges
    assert left.is_closed()
    forget_ended_loops()


@pytest.mark.parametrize(
    ("ask", "error", "told"),
    [("no", "", 0), ("no", "oh", 1), ("before", "", 1), ("before", "oh", 1), ("after", "", 1)],
)
def test_the_loop_wakes_for_an_answer_that_is_asked_for_or_a_refusal(
    monkeypatch: pytest.MonkeyPatch, ask: str, error: str, told: int
) -> None:
    async def scenario() -> None:
        exchange = native.exchange()
        sent = deaf(exchange, monkeypatch)
        calls: list[int] = []
        samples = np.zeros((1, 1), np.int16)
        capture = exchange.capture(capture_request(), samples, lambda: calls.append(ours()))
        if ask == "before":
            capture.ask()
        await turns()
        assert (capture.error, calls) == (None, [])
        await asyncio.to_thread(put, answer(sent[0], error))
        assert capture.error == error
        if ask == "after":
            capture.ask()
        await turns()
        assert calls == [ours()] * told, "by the loop's thread"
        exchange.release()

    ours = threading.get_ident
    run(scenario())


def test_an_answer_after_the_last_user_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        exchange = native.exchange()
        sent = deaf(exchange, monkeypatch)
        for _ in range(2):
            exchange.capture(capture_request(), np.zeros((1, 1), np.int16), quiet)
        exchange.release()
        put(answer(sent[0]))
        await turns()
        assert exchange in native._exchanges.values(), "another is under way"
        put(answer(sent[1]))
        await turns()
        assert not native._exchanges

    run(scenario())


def test_an_answer_for_a_loop_that_is_closed_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> tuple[native.DirectCapture, list[int]]:
        exchange = native.exchange()
        sent = deaf(exchange, monkeypatch)
        capture = exchange.capture(capture_request(), np.zeros((1, 1), np.int16), quiet)
        capture.ask()
        exchange.release()
        return capture, sent

    capture, sent = asyncio.run(scenario())
    put(answer(sent[0]))
    assert capture.error == ""
    forget_ended_loops()


class Reader:
    """As the SDK makes one: of each event it is asked whether it is its."""

    def __init__(self, number: int) -> None:
        self._reader_handle = number
        self.asked = 0
        self._queue = NATIVE.queue.subscribe(filter_fn=self._is_its)

    def _is_its(self, event: Any) -> bool:
        self.asked += 1
        which = event.WhichOneof("message")
        return which in READERS and getattr(event, which).reader_handle == self._reader_handle

    def got(self) -> list[bytes]:
        events = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        return [getattr(one, one.WhichOneof("message")).chunk_received.content for one in events]


READERS = ("text_stream_reader_event", "byte_stream_reader_event")


def chunk(which: str, number: int, content: Any) -> Any:
    event = ffi_pb2.FfiEvent()
    getattr(event, which).reader_handle = number
    getattr(event, which).chunk_received.content = content
    return event


@pytest.mark.parametrize(("which", "of"), [*zip(READERS, (str, str.encode), strict=True)])
def test_readers_that_are_adopted_are_asked_for_nothing(
    which: str, of: Callable[[str], Any]
) -> None:
    """And get what is theirs, in order: also what came before."""

    async def scenario() -> None:
        exchange, before = native.exchange(), len(NATIVE.queue._subscribers)
        ours, other, alone = Reader(1), Reader(2), Reader(3)
        put(chunk(which, 1, of("a")))
        exchange.adopt(ours)
        exchange.adopt(other)
        asked = ours.asked
        for text in "bc":
            put(chunk(which, 1, of(text)))
        put(chunk(which, 2, of("d")))
        put(chunk(which, 3, of("e")))
        put(sounding := frame(Kind.AUDIO, 1, 1 << 40))
        assert sounding.WhichOneof("message")
        await turns()
        assert ours.got() == [of(text) for text in "abc"]
        assert (other.got(), alone.got()) == ([of("d")], [of("e")])
        assert ours.asked == asked
        assert len(NATIVE.queue._subscribers) == before + 1
        for _ in range(2):
            exchange.disown(ours)
        put(chunk(which, 1, of("late")))
        await turns()
        assert ours.got() == []
        NATIVE.queue.unsubscribe(alone._queue)
        exchange.release()

    run(scenario())


def test_a_reader_that_is_built_otherwise_goes_on_by_itself() -> None:
    async def scenario() -> None:
        exchange, reader = native.exchange(), Reader(1)
        exchange.adopt(SimpleNamespace(_reader_handle=1))
        exchange.adopt(SimpleNamespace(_reader_handle=1, _queue="of nobody"))
        exchange.disown(SimpleNamespace())
        put(chunk(READERS[0], 1, "a"))
        await turns()
        assert reader.got() == ["a"]
        NATIVE.queue.unsubscribe(reader._queue)
        exchange.release()

    run(scenario())


def test_what_comes_for_a_reader_as_its_loop_is_closed_is_nobodys() -> None:
    async def adopted() -> tuple[native.Exchange, Reader]:
        exchange, reader = native.exchange(), Reader(1)
        exchange.adopt(reader)
        return exchange, reader

    exchange, reader = run(adopted())
    put(chunk(READERS[0], 1, "a"))
    assert reader.got() == []
    exchange.release()
