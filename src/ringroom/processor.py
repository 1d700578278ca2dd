"""What the user writes: a function of a frame, or a `Processor` with a state for each track."""

from __future__ import annotations

import copy
import inspect
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from os import PathLike
from typing import Protocol, TypeAlias, get_args

import numpy as np

from ringroom.errors import ConfigurationError
from ringroom.events import Event, Participant, TrackInfo
from ringroom.frames import DataFrame, Frame, VideoFrame
from ringroom.option_checks import as_kinds, check_choice, check_function
from ringroom.options import Mode, PublishOptions
from ringroom.rpc import RpcAnswer
from ringroom.text_out import TextOut

__all__ = ["Context", "Problem", "Processor", "ProcessorLike", "Replies", "as_processor", "chain"]

Replies: TypeAlias = Frame | Iterable[Frame] | None
"""A frame, several, or none. Those of a generator are sent as it makes them (in a `chain` once all
of it has seen the frame)."""


class Context(Protocol):
    """What a processor may do without being asked: given to `Processor.start`.

    Its methods may be called from any thread of the worker.
    """

    @property
    def worker(self) -> int:
        """The worker's place in the pool, from 0 to ``workers`` - 1; -1 in `Processor.start`, since
        a spare has no place before it takes that of a dead worker."""

    def send(
        self, frame: Frame, *, mode: Mode | None = None, publish: PublishOptions | None = None
    ) -> None:
        """Send a frame on the track it names. Does not wait: what a full track does not take is
        kept and sent when it does (``speech``), or dropped, counted (``live``). ``mode`` is that of
        the track, chosen by its first frame; None is ``speech``, also where replies are ``live``.
        ``publish`` in its place gives a new track options of its own, its mode among them.

        Raises `FrameError`, `ConfigurationError` for ``mode`` or ``publish`` that are none, both of
        them, or a ``publish`` other than the track has, and `ClosedError` in `Processor.start`,
        before there is a room."""

    def send_data(
        self,
        payload: bytes | str,
        *,
        topic: str = "",
        reliable: bool = True,
        to: Collection[str] = (),
    ) -> None:
        """Send a message (text as UTF-8) to everyone, or to the identities in ``to``."""

    def send_text(
        self,
        text: str,
        *,
        topic: str = "",
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Send a text with attributes, as LiveKit's frontends receive them (text streams), to
        everyone, or to the identities in ``to``; up to 200,000 bytes, attributes 12,000. Where the
        provider has no texts, ``DATA_FAILED`` tells."""

    def open_text(
        self,
        *,
        topic: str = "",
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> TextOut:
        """A text that is written in a ``with`` block (`TextOut.write`), as `Pool.open_text` gives
        it; at most 64 at a time in each worker. Nothing of it waits: what has no room yet is kept
        and sent when it has. If the worker dies, the others are told that the text is unfinished,
        and ``DATA_FAILED`` tells; and so it is where the provider has none."""

    def send_dtmf(self, digits: str) -> None:
        """Send the digits of a telephone, as `Pool.send_dtmf` does. Where the provider has no DTMF,
        ``DATA_FAILED`` tells."""

    def send_file(
        self,
        payload: bytes | bytearray | memoryview | PathLike[str],
        *,
        topic: str = "",
        name: str = "",
        mime_type: str | None = None,
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Send a file with a name and attributes, as LiveKit's clients receive them (byte streams),
        to everyone, or to the identities in ``to``: bytes, or a path that is read here, whose last
        part is then the ``name``. ``mime_type`` None is guessed from the name. Up to 8 MiB,
        attributes 12,000 bytes. Raises `FrameError`, and `OSError` where the path cannot be read.
        Where the provider has no files, ``DATA_FAILED`` tells."""

    def fill_video(
        self,
        width: int,
        height: int,
        *,
        track: str | TrackInfo | None = None,
        mode: Mode | None = None,
        publish: PublishOptions | None = None,
    ) -> AbstractContextManager[VideoFrame]:
        """A picture to be filled in a ``with`` block, and sent at its end as `send` does; not if
        the block raises. Where that can be had, its memory is the ring from which the I/O process
        gives it to LiveKit, so that the worker never copies it. More on what it holds and when it
        may be touched: `Transport.fill_video`. Raises as `send` does."""

    def set_profile(
        self,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Change what the others are told of us, as `Pool.set_profile` does; it is that of the
        pool, whichever worker sets it. Does not wait: of a refusal an event tells
        (``PROFILE_FAILED``). Raises `ConfigurationError` for values that no room takes, and
        `ClosedError` in `Processor.start`."""

    def participants(self) -> tuple[Participant, ...]:
        """Everybody else who is in the room now, sorted by identity. Waits for the answer of the
        I/O process, and no longer: while the room is joined anew it is `RoomError` (disconnected).
        Raises `TimeoutError` after 5 s, and `ClosedError` in `Processor.start` and when the room
        has ended."""

    def call(self, to: str, method: str, payload: str = "", *, timeout: float = 10.0) -> str:
        """Call a method of somebody in the room (LiveKit's RPC), and wait for the answer, as
        `Pool.call` does; meanwhile this worker takes nothing, unless another thread of its calls.
        Raises as `Pool.call` does; `RoomError` (not_supported) where the provider has no calls,
        and `ClosedError` in `Processor.start`."""

    def mute(self, track: str | TrackInfo | None = None) -> None:
        """Mute a track of the pool's, as `Pool.mute` does, whichever worker sends on it, also
        before its first frame. A `TrackInfo` names the track that answers it, None the default one.
        Waits until it is done; where the I/O process has died it is done before this worker's
        tracks are heard again. Raises `TimeoutError` after 5 s, `RoomError` (not_supported), and
        `ClosedError` in `Processor.start`."""

    def unmute(self, track: str | TrackInfo | None = None) -> None:
        """Unmute it. Waits and raises as `mute` does."""

    def flush(self, track: str | TrackInfo | None = None) -> float:
        """Throw away sound sent on the track and not yet played; the seconds thrown away. A
        `TrackInfo` names the track that answers it, None all tracks of this worker. Waits for the
        answer of the I/O process; raises `TimeoutError` after 5 s."""

    def played(self, track: str | TrackInfo | None = None) -> float:
        """Seconds of the track's sound that were really played; None: of all tracks of this
        worker together. The figure of one track never falls; a track that has ended counts no more.
        """


class Processor:
    """Override what you need. One instance lives in each worker process.

    ``kinds``: what is received; nothing else is subscribed. ``mode``: how replies are published,
    ``"speech"`` (nothing dropped) or ``"live"`` (newest wins).
    """

    kinds: Sequence[str] = ("audio",)
    mode: Mode = "speech"

    def start(self, context: Context) -> None:
        """Once for each worker process, before it gets tracks: load models here."""

    def open(self, track: TrackInfo) -> None:
        """A track arrives."""

    def process(self, frame: Frame) -> Replies:
        """A frame; what is returned is sent. Replies that name no track answer the frame's."""
        return None

    def event(self, event: Event) -> Replies:
        """Something happened in the room or to a track. Only called if it is overridden."""
        return None

    def close(self, track: TrackInfo) -> Replies:
        """A track has ended; what is returned is sent before its reply track ends."""
        return None

    def stop(self) -> None:
        """Called before the worker ends in good order. It may take two seconds, and what is left of
        the pool's ``drain_timeout`` when the pool is drained; then the worker is killed."""

    @property
    def wants_events(self) -> bool:
        """Whether `event` is overridden."""
        return type(self).event is not Processor.event


class _Function(Processor):
    """A function as a processor: replies are live, as befits a transform of what comes in."""

    mode: Mode = "live"

    def __init__(self, function: Callable[[Frame], Replies]) -> None:
        self._function = function

    def process(self, frame: Frame) -> Replies:
        return self._function(frame)


class _Chain(Processor):
    """Processors one after the other, in one worker."""

    def __init__(self, processors: Sequence[Processor]) -> None:
        self._processors = tuple(processors)
        self.kinds = tuple(processors[0].kinds)
        self.mode = processors[-1].mode

    def start(self, context: Context) -> None:
        for processor in self._processors:
            processor.start(context)

    def open(self, track: TrackInfo) -> None:
        def open_one(processor: Processor) -> None:
            processor.open(track)

        self._each(open_one)

    def process(self, frame: Frame) -> Replies:
        return self._through([frame], 0)

    def event(self, event: Event) -> Replies:
        return self._each(lambda processor: processor.event(event))

    def close(self, track: TrackInfo) -> Replies:
        """What one returns at the end still passes through those behind it."""
        return self._each(
            lambda processor: (
                of_track(frame, track) for frame in as_frames(processor.close(track))
            )
        )

    def stop(self) -> None:
        def stop_one(processor: Processor) -> None:
            processor.stop()

        self._each(stop_one)

    def _each(self, call: Callable[[Processor], Replies]) -> Replies:
        """Call all processors, even if one raises: each may hold something for the track. The first
        error is raised at the end, with the others as its notes, behind the replies."""
        replies: list[Frame] = []
        errors: list[Exception] = []
        for index, processor in enumerate(self._processors):
            try:
                for frame in as_frames(call(processor)):
                    replies += self._through([frame], index + 1)
            except Exception as error:  # noqa: BLE001 (raised below)
                errors.append(error)
        if not errors:
            return replies
        for other in errors[1:]:
            text = "".join(traceback.format_exception_only(other)).strip()
            errors[0].add_note(f"another of the chain raised too: {text}")
        if not replies:
            raise errors[0]
        return _raised_behind(replies, errors[0])

    def _through(self, frames: list[Frame], start: int) -> list[Frame]:
        for processor in self._processors[start:]:
            following: list[Frame] = []
            for frame in frames:
                if isinstance(frame, RpcAnswer):  # it is for its caller, and no member's to see
                    following.append(frame)
                    continue
                source = None if isinstance(frame, DataFrame) else frame.track
                replies = as_frames(processor.process(frame))
                following += (of_track(reply, source) for reply in replies)
            frames = following
        return frames

    @property
    def wants_events(self) -> bool:
        return any(processor.wants_events for processor in self._processors)


_CALLS = {
    "start": ("a Context",),
    "open": ("a track",),
    "process": ("a frame",),
    "event": ("an Event",),
    "close": ("a track",),
    "stop": (),
}
ProcessorLike: TypeAlias = Processor | type[Processor] | Callable[..., Replies]


WHERE = ("process", "open", "close", "event", "stop", "reply", "stuck")
"""What `Problem.where` may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """User code raised in a worker. ``traceback`` is given the first time, empty afterwards."""

    worker: int
    where: str
    """``process``, ``open``, ``close``, ``event``, ``stop`` or ``reply``; ``stuck`` for a
    worker that is on one frame for too long, with its Python stack as the traceback, each time."""
    summary: str
    traceback: str
    count: int


def chain(*processors: ProcessorLike) -> Processor:
    """Processors one after the other in one worker: what the first returns goes to the second.

    Receives what the first one wants; replies are published as the last one says.
    """
    if not processors:
        raise ConfigurationError("chain() of no processors; give at least one")
    made = [as_processor(processor) for processor in processors]
    return _Chain(made)


def as_processor(processor: ProcessorLike) -> Processor:
    """A processor from an instance, a class (made without arguments) or a function.

    Raises `ConfigurationError`.
    """
    made = _made(processor)
    check_choice("the processor's mode", made.mode, get_args(Mode))
    as_kinds(made.kinds)
    for name, given in _CALLS.items():
        function = getattr(made, name)
        if name == "process" and isinstance(made, _Function):
            function = made._function
        check_function(f"the processor's {name}", function, *given)
    if type(made) is not Processor and not any(_overrides(made, name) for name in _CALLS):
        raise ConfigurationError(
            f"{type(made).__name__} would do nothing: it overrides none of {', '.join(_CALLS)}"
        )
    return made


def _overrides(processor: Processor, name: str) -> bool:
    return getattr(getattr(processor, name), "__func__", None) is not getattr(Processor, name)


def _made(processor: ProcessorLike) -> Processor:
    if isinstance(processor, Processor):
        return processor
    if isinstance(processor, type):
        if issubclass(processor, Processor):
            try:
                inspect.signature(processor).bind()
            except TypeError as error:
                raise ConfigurationError(
                    f"{processor.__name__} is not made without arguments ({error}); hand over an "
                    "instance"
                ) from None
            return processor()
        raise ConfigurationError(
            f"{processor.__name__} is a class but no ringroom.Processor; derive from it"
        )
    if callable(processor):
        return _Function(processor)
    raise ConfigurationError(
        f"the processor is a {type(processor).__name__}, expected a function of a frame, or a "
        "ringroom.Processor (class or instance)"
    )


def _raised_behind(replies: list[Frame], error: Exception) -> Iterator[Frame]:
    yield from replies
    raise error


def as_frames(replies: Replies) -> Iterator[Frame]:
    """What a processor returned, one by one, those of a generator as it makes them. Raises
    `TypeError` for what is no frame."""
    if replies is None:
        return
    if isinstance(replies, Frame):
        yield replies
        return
    rubbish = isinstance(replies, str | bytes | bytearray | memoryview | Mapping | np.ndarray)
    if rubbish or not isinstance(replies, Iterable):
        raise TypeError(
            f"a processor returned {type(replies).__name__}; expected a frame (sound is wrapped: "
            "ringroom.AudioFrame(samples, sample_rate)), several, or None"
        )
    for frame in replies:
        if not isinstance(frame, Frame):
            raise TypeError(f"a processor returned {type(frame).__name__} among its frames")
        yield frame


def of_track(frame: Frame, track: TrackInfo | str | None) -> Frame:
    """A reply that names no track answers the given one. A copy: the processor may keep the
    frame, and return it for another track."""
    if isinstance(frame, DataFrame) or frame.track is not None or track is None:
        return frame
    reply = copy.copy(frame)
    reply.track = track
    return reply
