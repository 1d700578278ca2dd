"""`Workbench`: a processor at work in the test's own process, without a pool, a room or a wait.

It is the worker of a pool, with its session and its lanes, turned by hand: what is opened, given
and closed is handled before the call returns. Only the far end (`far_end.py`) is another.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from ringroom.checks import MAX_IDENTITY_BYTES, check_text, shown
from ringroom.errors import ClosedError, ConfigurationError, FrameError
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.frames import DataFrame, Frame, MediaFrame
from ringroom.option_checks import (
    RECEIVED_SOURCES,
    as_kinds,
    check_choice,
    check_function,
    check_range,
    check_timeout,
)
from ringroom.options import PublishOptions, SessionOptions
from ringroom.pieces import ADD, BEGIN, TextPiece
from ringroom.processes.worker.problems import as_problem
from ringroom.processor import Problem, Processor, ProcessorLike, as_processor
from ringroom.profile import Profile
from ringroom.sessions.sendable import kind_of
from ringroom.subscribers import Subscribers
from ringroom.testing.calls import Answerer
from ringroom.testing.far_end import FarEnd, InboundTrack
from ringroom.testing.hand_turned import HandTurned
from ringroom.testing.written import TextLog, WrittenText

__all__ = ["Workbench"]

# Time for what the worker finishes at its end; nothing there waits for anything but user code.
_STOP_SECONDS = 5.0
_MAX_SECONDS = 1e9
_LOOK_SECONDS = 0.02
_NAMES = {
    Kind.AUDIO: ("mic", "microphone"),
    Kind.VIDEO: ("camera", "camera"),
    Kind.DATA_TRACK: ("data", "unknown"),
}
_TOLD_BY_CALLS = (EventKind.TRACK_STARTED, EventKind.TRACK_ENDED)
_OF_LANES = (EventKind.TRACK_MUTED, EventKind.TRACK_UNMUTED)
_Found = TypeVar("_Found")


class Workbench:
    """A processor at work, by the rules and with the code of a pool's worker, in this process.

    A context manager: it begins with `Processor.start`, and ends with `close` of what is open and
    `Processor.stop`. Each call returns when the processor is through with it; whatever user code
    raised in it is raised then, as it is, unless ``on_error`` is there to be told of it by a
    `Problem`, as a pool's is. The processor is the object that is handed in, and no copy as in a
    pool: whether it can travel to a worker only a pool shows.

    Nothing that is sent waits for room, and no frame is too old: it is all the same how long the
    processor takes. What is sent is played when `play` says so.
    """

    def __init__(
        self, processor: ProcessorLike, *, on_error: Callable[[Problem], None] | None = None
    ) -> None:
        if on_error is not None:
            check_function("on_error", on_error, "a Problem")
        self._processor = as_processor(processor)
        self._kinds = as_kinds(self._processor.kinds)
        self._on_error = on_error
        self._changed = threading.Condition()
        self._sent: list[Frame] = []
        self._texts: dict[int, TextLog] = {}
        self._tracks: dict[str, InboundTrack] = {}
        self._numbers = 0
        self._worker: HandTurned | None = None
        self._far: FarEnd | None = None

    @property
    def processor(self) -> Processor:
        """The processor: also where its class or a function was handed in."""
        return self._processor

    def __enter__(self) -> Self:
        if self._far is not None:
            raise ClosedError("a workbench is used once; make another")
        far = self._far = FarEnd()
        self._worker = worker = HandTurned(far, self._processor, self._options(), self._note)
        try:
            worker.begin()
            far.seat()
            worker.work()
        except BaseException:
            self._close()
            raise
        self._began_ns = time.monotonic_ns()
        return self

    def _options(self) -> SessionOptions:
        wants = (Kind.EVENT,) if self._processor.wants_events else ()
        return SessionOptions(kinds=(*self._kinds, *wants), max_age=60)

    # What comes in.

    def open(
        self,
        participant: str | Participant | TrackInfo,
        name: str = "",
        *,
        kind: str = "audio",
        source: str = "",
    ) -> TrackInfo:
        """A track of somebody arrives: ``mic`` or ``camera``, if it is not named. A `TrackInfo`
        (that of a recorded frame, say) is taken as it is. From now on `Context.participants` tells
        of its publisher, as it does of whoever joins by `event`, until `event` says that they left.

        Raises `ConfigurationError` for a kind that the processor does not receive.
        """
        if isinstance(participant, TrackInfo):
            info, who = participant, Participant(identity=participant.participant)
        else:
            who = participant if isinstance(participant, Participant) else _somebody(participant)
            info = self._described(who, name, kind, source)
        self._check_received(info.kind)
        if info.sid in self._tracks:
            raise ConfigurationError(f"track {info.reply_name!r} ({info.sid}) is open already")
        track = InboundTrack(info, who)
        self._open_far.open(track)
        self._tracks[info.sid] = track
        self._work()
        return info

    def _described(self, who: Participant, name: str, kind: str, source: str) -> TrackInfo:
        check_choice("kind", kind, tuple(map(str, _NAMES)))
        check_choice("source", source, RECEIVED_SOURCES, empty=True)
        usual_name, usual_source = _NAMES[Kind(kind)]
        self._numbers += 1
        return TrackInfo(
            sid=f"TR_{self._numbers}",
            name=check_text("track name", name, MAX_IDENTITY_BYTES) or usual_name,
            kind=Kind(kind),
            participant=who.identity,
            source=source or usual_source,
        )

    def process(
        self, frame: Frame, track: TrackInfo | None = None, *, at: float | None = None
    ) -> list[Frame]:
        """A frame arrives, of that track; by default of its own, or of the only one that is open. A
        message (`DataFrame`) is of none. ``at`` is what its `received_ns` says, in seconds since
        the beginning; None: now.

        Returns what was sent meanwhile. Raises `ConfigurationError` for what the processor does not
        receive, and for a track that is not open.
        """
        kind = kind_of(frame)
        self._check_received(kind)
        received_ns = self._moment(at)
        far = self._open_far
        if isinstance(frame, DataFrame):
            far.post(frame, received_ns)
        else:
            far.give(self._track_of(frame, track), frame, received_ns)
        return self._work(received_ns)

    def event(self, event: Event, *, at: float | None = None) -> list[Frame]:
        """Something happens in the room, or to a track that is open. Returns what was sent
        meanwhile. Raises `ConfigurationError` where `Processor.event` is not overridden, and for
        what `open` and `close` tell."""
        if not isinstance(event, Event):
            raise ConfigurationError(f"the event is {shown(event)}, expected ringroom.Event(...)")
        if event.kind in _TOLD_BY_CALLS:
            raise ConfigurationError(f"{event.kind} is told by open() and close() of the workbench")
        if not self._processor.wants_events:
            raise ConfigurationError(
                f"{_name(self._processor)} does not override event(), and is told of none"
            )
        received_ns = self._moment(at)
        if event.kind in _OF_LANES and event.track is not None:
            self._open_far.tell(self._opened(event.track), event)
        else:
            self._open_far.post(event, received_ns)
        return self._work(received_ns)

    def close(self, track: TrackInfo) -> list[Frame]:
        """The track has ended. Returns what was sent meanwhile."""
        found = self._opened(track)
        del self._tracks[track.sid]
        self._open_far.end(found)
        return self._work()

    # What goes out.

    @property
    def sent(self) -> list[Frame]:
        """All that was sent, in its order: sound, pictures, and messages. The ``track`` of a frame
        is the name of the track that it was sent on."""
        with self._changed:
            return list(self._sent)

    @property
    def messages(self) -> list[DataFrame]:
        """The messages among it."""
        return [frame for frame in self.sent if isinstance(frame, DataFrame)]

    @property
    def texts(self) -> list[WrittenText]:
        """The texts of `Context.open_text`, also those that are being written or were not ended, in
        the order in which they began. One that is whole is in `sent` too, from its end on."""
        with self._changed:
            return [log.snapshot() for log in self._texts.values()]

    @property
    def published(self) -> dict[str, PublishOptions]:
        """The tracks that it sends on now, by name, with their options; one that answered a track
        ends with it, and all at the end of the block."""
        return {} if self._far is None else self._far.published

    @property
    def profile(self) -> Profile:
        """All that `Context.set_profile` has set; None, or no attribute, what it has not."""
        return Profile() if self._far is None else self._far.profile

    @property
    def muted(self) -> frozenset[str]:
        """The names that `Context.mute` has muted and `Context.unmute` has not unmuted. What is
        sent on them is in `sent` all the same."""
        return frozenset() if self._far is None else self._far.muted

    @property
    def subscribers(self) -> Subscribers:
        """Who may subscribe to its tracks, as `Context.allow_subscribers` has said:
        ``bench.subscribers.allows("ann", "audio")``."""
        return Subscribers() if self._far is None else self._far.subscribers

    @property
    def flushed(self) -> list[tuple[str, float]]:
        """The tracks that were flushed, in order, and how many seconds were thrown away."""
        return [] if self._far is None else list(self._far.flushed)

    def play(self, seconds: float | None = None, track: str | TrackInfo | None = None) -> None:
        """That much of what was sent is played to the room (None: all), on that track (None: on
        each): `Context.played` tells of it, and a flush does not throw it away. Raises
        `ConfigurationError` for a track that nothing was sent on."""
        if seconds is not None:
            seconds = check_range("seconds", seconds, 0, _MAX_SECONDS)
        name = track.reply_name if isinstance(track, TrackInfo) else track
        self._open_far.play(name, seconds)

    def answer(self, who: str, method: str, function: Answerer) -> None:
        """From now on, calls (`Context.call`) to that method of somebody are answered by what
        ``function(call)`` returns, or with the `RpcError` that it raises; None: the time passes, at
        once. Without this, nobody has a method."""
        check_function("the answer", function, "a call")
        self._open_far.methods.setdefault(who, {})[method] = function

    def wait_until(self, condition: Callable[[], _Found], timeout: float = 5.0) -> _Found:
        """Waits until ``condition()`` is true, for a processor that sends from threads of its own
        (it is asked when something is sent, and in between), and returns what it returned. Raises
        `TimeoutError`, an `AssertionError` too, which tells what was sent."""
        check_function("condition", condition)
        limit = check_timeout(timeout)
        ends = math.inf if limit is None else time.monotonic() + limit
        # Asked without a lock in hand: it may call the processor, whose threads send meanwhile.
        while not (found := condition()):
            left = ends - time.monotonic()
            if left <= 0:
                newest = self.sent[-8:]
                raise _Unmet(f"waited {timeout} s for the condition; sent until now: {newest}")
            with self._changed:
                self._changed.wait(min(left, _LOOK_SECONDS))
        return found

    # The end.

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        worker, far = self._worker, self._far
        assert worker is not None
        assert far is not None
        try:
            far.stop(_STOP_SECONDS)
            worker.work()
            worker.finish()
            if error is None:
                self._tell()
        finally:
            self._close()

    def _close(self) -> None:
        with contextlib.ExitStack() as steps:
            if self._far is not None:
                steps.callback(self._far.close)
            if self._worker is not None:
                steps.callback(self._worker.close)
        self._worker = None
        self._tracks.clear()  # their rows would keep the statistics in memory

    @property
    def _open_far(self) -> FarEnd:
        if self._worker is None or self._far is None:
            raise ClosedError("the workbench is not open; use `with Workbench(...) as bench:`")
        return self._far

    def _check_received(self, kind: Kind) -> None:
        if kind not in self._kinds:
            raise ConfigurationError(
                f"{_name(self._processor)} receives {', '.join(self._kinds)} (its `kinds`): "
                f"nothing of {kind} reaches it"
            )

    def _track_of(self, frame: MediaFrame, track: TrackInfo | None) -> InboundTrack:
        named = track or frame.track
        if isinstance(named, TrackInfo):
            found = self._opened(named)
        elif named is None and len(self._tracks) == 1:
            (found,) = self._tracks.values()
        else:
            do = (
                "name one by what `open` returned"
                if self._tracks
                else "open one: bench.open('ann')"
            )
            raise ConfigurationError(
                f"of which track is the frame? It says {named!r}, open are {self._names()}: {do}"
            )
        if found.info.kind is not kind_of(frame):
            raise FrameError(
                f"track {found.info.reply_name!r} carries {found.info.kind}, this is a frame of "
                f"{kind_of(frame)}"
            )
        return found

    def _opened(self, track: TrackInfo) -> InboundTrack:
        known = isinstance(track, TrackInfo)
        found = self._tracks.get(track.sid) if known else None
        if found is None:
            named = f"{track.reply_name!r} ({track.sid})" if known else shown(track)
            raise ConfigurationError(f"track {named} is not open; open are {self._names()}")
        return found

    def _names(self) -> list[str]:
        return [one.info.reply_name for one in self._tracks.values()]

    def _moment(self, at: float | None) -> int:
        if at is None:
            return time.monotonic_ns()
        return self._began_ns + round(check_range("at", at, 0, _MAX_SECONDS) * 1e9)

    def _work(self, now_ns: int | None = None) -> list[Frame]:
        """Have the worker do all there is to do, at that moment; what was sent meanwhile."""
        worker = self._worker
        assert worker is not None
        before = len(self._sent)
        worker.turn(now_ns)
        self._tell()
        return self.sent[before:]

    def _tell(self) -> None:
        """What user code has raised."""
        assert self._worker is not None
        assert self._far is not None
        told, raised = self._far.told(), self._worker.take_raised()
        if self._on_error is not None:
            for message in told:
                self._on_error(as_problem(message))
        elif raised:
            for other in raised[1:]:
                raised[0].add_note(f"afterwards: {type(other).__name__}: {other}")
            raise raised[0]

    def _note(self, frame: Frame) -> None:
        with self._changed:
            if isinstance(frame, TextPiece):
                self._note_piece(frame)
            else:
                self._sent.append(frame)
            self._changed.notify_all()

    def _note_piece(self, piece: TextPiece) -> None:
        if piece.step == BEGIN:
            self._texts[piece.number] = TextLog(piece.beginning, "")
        elif piece.step == ADD:
            self._texts[piece.number].add(piece.text)
        else:
            log = self._texts[piece.number]
            log.end(piece.text, piece.attributes)
            if not piece.text:
                self._sent.append(log.frame())


class _Unmet(AssertionError, TimeoutError):
    """What the test waited for did not come."""


def _somebody(identity: str) -> Participant:
    checked = check_text("identity", identity, MAX_IDENTITY_BYTES)
    return Participant(identity=checked, kind="standard")


def _name(processor: Processor) -> str:
    name = type(processor).__name__
    return "the processor" if name.startswith("_") else name  # a function, or a chain
