"""The SDK's native library, and its events without the SDK's queues and tasks.

All that the native library has to say comes to one callback of the SDK's, on native threads. It
asks each subscriber's filter whether the event is for it; the filter of an `Exchange` takes what is
its own and always says no, so nothing is queued by the SDK. An event of a stream is offered to the
stream there and then. What it does not take then is kept, and handled on the loop, and so is what
comes of that stream until then: each stream's events are handled in their order, one at a time. The
answer to a capture is written down where it comes; the loop wakes for it if somebody waits, or if
it is a refusal.

Each reader of a text or a file the SDK asks for each event, whoever it is for: a thousand that
somebody opens would hold up all sound. So what is for them passes here, too, and each is asked for
nothing.

Who owns what: a frame's native memory belongs to its handle. The handle of a frame of a stream
of ours is ours from the filter on, and is freed exactly once: by the stream that has taken the
frame, or here when the loop is closed. The samples of a capture are kept until its answer.

All of this is private to the SDK: `paths` says whether what is installed is what was looked at.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.audio_frame_pb2 import AudioStreamEvent
from livekit.rtc._proto.video_frame_pb2 import VideoStreamEvent
from numpy.typing import NDArray

__all__ = ["Exchange", "end_events", "exchange"]

# Ids of ours in the table that the SDK's own requests number from 1.
_ids = itertools.count(1 << 62)
LAST_EVENTS_SECONDS = 0.05
_seen_threads: set[int] = set()
_exchanges: dict[asyncio.AbstractEventLoop, Exchange] = {}


def exchange() -> Exchange:
    """The running loop's; each who asks must `release` it."""
    loop = asyncio.get_running_loop()
    for ended in [one for one in _exchanges.values() if one.loop.is_closed()]:
        ended.end()
    found = _exchanges.get(loop)
    if found is None:
        found = _exchanges[loop] = Exchange(loop)
        atexit.unregister(end_events)
        atexit.register(end_events)  # after the SDK's own, so it runs before
    found.users += 1
    return found


class DirectCapture:
    """A `media.Capture`. A native thread writes the answer and then looks whether it was asked for;
    who asks looks for an answer afterwards: one of both sees the other."""

    def __init__(
        self,
        samples: NDArray[np.int16],
        answered: Callable[[], None],
        *,
        error: str | None = None,
    ) -> None:
        self.samples = samples
        self.answered = answered
        self.error = error
        self.asked = False

    def ask(self) -> None:
        self.asked = True
        if self.error is not None:
            self.answered()


class Taker(Protocol):
    """Who gets a stream's events. Neither may raise, and who has taken a frame frees it."""

    def take_at_once(self, event: Any) -> bool:
        """Whether it was taken; on a native thread."""

    def take(self, event: Any) -> None:
        """On the loop."""


class _Passage:
    """Events on their way through the loop: native threads count what is kept, the loop what it has
    handled. No lock: a finalizer of the SDK may run wherever one is held, and wait for the SDK's
    queue, where a native thread would wait for that lock."""

    __slots__ = ("handled", "kept")

    def __init__(self) -> None:
        self.kept = self.handled = 0

    def is_behind(self) -> bool:
        return self.kept != self.handled


class Exchange:
    """The native events of one event loop's streams and captures."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.users = 0
        self.loop = loop
        self._streams: dict[int, tuple[Taker, _Passage]] = {}
        self._unnamed = _Passage()
        """Of streams that are being opened, whose numbers are not known yet."""
        self._captures: dict[int, DirectCapture] = {}
        self._readers: dict[int, Any] = {}
        """The queues of the SDK's readers, by the numbers of their native ones."""
        self._waiting: deque[tuple[int, _Passage, Any]] = deque()
        self._opening = 0
        self._awake = False
        library = FfiClient.instance._ffi_lib
        self._drop = library.livekit_ffi_drop_handle
        # A prototype of its own: the SDK's wants the request as an array.
        prototype = ctypes.CFUNCTYPE(
            ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p
        )
        self._ask = prototype(("livekit_ffi_request", library))
        self._answer, self._answer_bytes = ctypes.c_void_p(), ctypes.c_size_t()
        self._subscription = FfiClient.instance.queue.subscribe(loop, self._take)

    def release(self) -> None:
        """One user less; it ends with the last, and the last event that is still to come."""
        self.users -= 1
        self._end_if_idle()

    def open_stream(self, request: Any, taker: Taker) -> int:
        """Ask for a stream; its number. From then on ``taker`` gets its events, until it says
        `forget`."""
        # Frames may come before the answer does: until then those of unknown streams are kept.
        self._opening += 1
        try:
            answer = FfiClient.instance.request(request)
            made = getattr(answer, answer.WhichOneof("message"))
            number = int(made.stream.handle.id)
            self._streams[number] = taker, _Passage()
        finally:
            self._opening -= 1
        return number

    def forget(self, stream: int) -> None:
        """Nothing more will come from that stream."""
        self._streams.pop(stream, None)
        self._end_if_idle()

    def adopt(self, reader: Any) -> None:
        """Bring a reader of the SDK its events, until it is disowned. One that is built otherwise
        than was looked at goes on by itself."""
        events = FfiClient.instance.queue
        try:
            queue, number = reader._queue, reader._reader_handle
            subscribers, lock = events._subscribers, events._lock
        except AttributeError:
            return
        with lock:  # native threads have it while they ask
            for at in reversed(range(len(subscribers))):
                if subscribers[at][0] is queue:
                    self._readers[number] = queue
                    del subscribers[at]
                    return

    def disown(self, reader: Any) -> None:
        """It is over. Idempotent."""
        self._readers.pop(getattr(reader, "_reader_handle", 0), None)

    def free(self, handle: int) -> None:
        """Give a frame's memory back."""
        self._drop(handle)

    def capture(
        self, request: Any, samples: NDArray[np.int16], answered: Callable[[], None]
    ) -> DirectCapture:
        """Send the request, whose buffer has all but the samples."""
        number = next(_ids)
        ours = request.capture_audio_frame
        ours.request_async_id = number
        ours.buffer.data_ptr = samples.__array_interface__["data"][0]
        ours.buffer.samples_per_channel = len(samples)
        packed = request.SerializeToString()
        # Before the request: its answer may come before it returns.
        capture = self._captures[number] = DirectCapture(samples, answered)
        handle = self._ask(
            packed,
            len(packed),
            ctypes.addressof(self._answer),
            ctypes.addressof(self._answer_bytes),
        )
        if handle:
            self._drop(handle)
        elif self._captures.pop(number, None) is not None:
            self._answered(capture, "the native library refused the request")
        return capture

    def _take(self, event: Any) -> bool:
        """The filter: on native threads, one at a time (the SDK's queue has a lock)."""
        thread = threading.get_ident()
        if thread not in _seen_threads:
            _seen_threads.add(thread)
            _settle_thread(thread)
        which = event.WhichOneof("message")
        if (
            which == "audio_stream_event"
            or which == "video_stream_event"
            or which == "data_track_stream_event"
        ):
            message = getattr(event, which)
            number = message.stream_handle
            opening = self._opening  # asked first: one that is not listed yet is by then
            taker, passage = self._streams.get(number, (None, self._unnamed))
            if taker is None:
                if opening:
                    self._keep(number, passage, message)
            elif (
                passage.is_behind() or self._unnamed.is_behind() or not taker.take_at_once(message)
            ):
                self._keep(number, passage, message)
        elif which == "capture_audio_frame":
            capture = self._captures.pop(event.capture_audio_frame.async_id, None)
            if capture is not None:
                self._answered(capture, event.capture_audio_frame.error)
                # A room of the SDK takes, and wakes the loop for, all that is not a stream's.
                event.audio_stream_event.stream_handle = 0
        elif which == "text_stream_reader_event" or which == "byte_stream_reader_event":
            queue = self._readers.get(getattr(event, which).reader_handle)
            if queue is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self.loop.call_soon_threadsafe(queue.put_nowait, event)
        return False

    def _answered(self, capture: DirectCapture, error: str) -> None:
        capture.error = error
        with contextlib.suppress(RuntimeError):  # the loop is closed
            # First: the loop may end with whoever waits for the answer.
            if not (self.users or self._captures):
                self.loop.call_soon_threadsafe(self._end_if_idle)
            if error or capture.asked:
                self.loop.call_soon_threadsafe(capture.answered)

    def _keep(self, number: int, passage: _Passage, what: Any) -> None:
        passage.kept += 1
        self._waiting.append((number, passage, what))
        try:
            if not self._awake:
                self._awake = True
                self.loop.call_soon_threadsafe(self._handle)
            closed = self.loop.is_closed()
        except RuntimeError:
            closed = True
        if closed:  # nobody else will free what waits
            self._abandon()

    def _handle(self) -> None:
        """On the loop: what has come until now; what comes meanwhile waits for the next turn."""
        self._awake = False
        waiting = self._waiting
        for _ in range(len(waiting)):
            number, passage, what = waiting.popleft()
            taker, _ = self._streams.get(number, (None, passage))
            if taker is not None:
                taker.take(what)
            # else: another's stream, kept while one of ours was being opened
            passage.handled += 1

    def _abandon(self) -> None:
        for number, _, what in self._waiting:
            if number in self._streams and what.HasField("frame_received"):
                received = what.frame_received
                if isinstance(what, AudioStreamEvent):
                    self._drop(received.frame.handle.id)
                elif isinstance(what, VideoStreamEvent):  # what is of a data track has no memory
                    self._drop(received.buffer.handle.id)
        self._waiting.clear()

    def _end_if_idle(self) -> None:
        if self.users or self._streams or self._captures:
            return
        self.end()

    def end(self) -> None:
        """Hear no more. Idempotent."""
        if _exchanges.get(self.loop) is self:
            del _exchanges[self.loop]
        FfiClient.instance.queue.unsubscribe(self._subscription)


def _settle_thread(thread: int) -> None:
    """Let a native thread keep its Python state. It would get one for each event, with a stack that
    is mapped and unmapped again, which costs more than all the rest. The threads that Python itself
    has started have theirs anyway."""
    if all(one.ident != thread for one in threading.enumerate()):
        ctypes.pythonapi.PyGILState_Ensure()


def end_events() -> None:
    """Before the interpreter is torn down: a native thread that is still in the callback then is
    ended by it, which aborts the process."""
    FfiClient.instance._dispose()
    time.sleep(LAST_EVENTS_SECONDS)
