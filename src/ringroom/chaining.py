"""Processors one after the other, in one worker."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence

from ringroom.context import Context
from ringroom.errors import ConfigurationError
from ringroom.events import Event, TrackInfo
from ringroom.frames import DataFrame, Frame
from ringroom.processor import (
    Processor,
    ProcessorLike,
    Replies,
    as_frames,
    as_processor,
    of_track,
)
from ringroom.rpc import RpcAnswer

__all__ = ["chain"]


def chain(*processors: ProcessorLike) -> Processor:
    """Processors one after the other in one worker: what the first returns goes to the second.

    Receives what the first one wants; replies are published as the last one says.
    """
    if not processors:
        raise ConfigurationError("chain() of no processors; give at least one")
    made = [as_processor(processor) for processor in processors]
    return _Chain(made)


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


def _raised_behind(replies: list[Frame], error: Exception) -> Iterator[Frame]:
    yield from replies
    raise error
