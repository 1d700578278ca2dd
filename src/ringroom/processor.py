"""What the user writes: a function of a frame, or a `Processor` with a state for each track."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, get_args

import numpy as np

from ringroom.context import Context
from ringroom.errors import ConfigurationError
from ringroom.events import Event, TrackInfo
from ringroom.frames import DataFrame, Frame
from ringroom.option_checks import as_kinds, check_choice, check_function
from ringroom.options import Mode

__all__ = ["Problem", "Processor", "ProcessorLike", "Replies", "as_processor"]

Replies: TypeAlias = Frame | Iterable[Frame] | None
"""A frame, several, or none. Those of a generator are sent as it makes them (in a `chain` once all
of it has seen the frame)."""


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


def as_frames(replies: Replies) -> Iterator[Frame]:
    """The frames that a processor returned, one by one, those of a generator as it makes them.
    Raises `TypeError` for anything that is no frame."""
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
