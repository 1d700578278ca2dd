"""The worker of a `Workbench`: a pool's own, turned by hand, whose far end has no need of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from selectors import DefaultSelector

from ringroom.frames import AudioFrame, DataFrame, DataTrackFrame, Frame, VideoFrame
from ringroom.link import Link
from ringroom.options import Mode, PublishOptions, SessionOptions
from ringroom.processes.machine import Machine
from ringroom.processes.worker.answering import Answering
from ringroom.processes.worker.problems import Problems
from ringroom.processes.worker.worker import Worker
from ringroom.processor import Processor
from ringroom.sessions.filling import Filling
from ringroom.sessions.inbox import Found, InboundLane
from ringroom.sessions.sendable import track_name
from ringroom.testing.far_end import FarEnd

__all__ = ["HandTurned"]


class HandTurned(Worker):
    """It works when the test says so; all that it sends is noted."""

    def __init__(
        self,
        far: FarEnd,
        processor: Processor,
        options: SessionOptions,
        note: Callable[[Frame], None],
    ) -> None:
        self._hand_machine = _HandMachine(far)
        noted = _Noted(far, self._hand_machine, note)
        super().__init__(noted, processor, options)
        self._raised = noted.problems
        self._far = far

    def turn(self, now_ns: int | None) -> None:
        """All there is to do, at that moment (None: now)."""
        self._hand_machine.moment_ns = now_ns
        try:
            self.work()
            self._check_session()  # what was handed in may be nothing that travels
            self._far.serve()
        finally:
            self._hand_machine.moment_ns = None

    def take_raised(self) -> list[Exception]:
        """What user code has raised since the last call."""
        raised, self._raised.errors = self._raised.errors, []
        return raised


class _Noted(Answering):
    """What goes out is noted, and the far end has read it when the call returns."""

    problems: _Raised

    def __init__(self, far: FarEnd, machine: Machine, note: Callable[[Frame], None]) -> None:
        super().__init__(far.near, machine)
        self.problems = _Raised(far.near, lambda: self.place)
        self._far = far
        self._note = note

    def reply(
        self,
        frame: Frame,
        mode: Mode,
        *,
        publish: PublishOptions | None = None,
        source: InboundLane | None = None,
    ) -> None:
        with self.lock:  # noted in the order in which threads send
            super().reply(frame, mode, publish=publish, source=source)
            self._note(_as_sent(frame))
            self._far.serve()
            while (replies := self.replies) is not None and replies.waits:
                replies.session.pump()
                replies.send_waiting()
                self._far.serve()

    def send_filled(self, filling: Filling) -> VideoFrame | None:
        whole = filling.copied()  # afterwards it is no picture any more
        rest = super().send_filled(filling)
        if rest is None:  # else it is sent by `reply`
            self._note(_as_sent(whole))
            self._far.serve()
        return rest


class _Raised(Problems):
    """Problems that keep the errors, too."""

    def __init__(self, control: Link, place: Callable[[], int]) -> None:
        super().__init__(control, place)
        self.errors: list[Exception] = []

    def raised(self, where: str, error: Exception, more: str = "") -> None:
        self.errors.append(error)
        super().raised(where, error, more)


class _HandMachine(Machine):
    """The real machine; before a thread waits, the far end has answered what was asked."""

    def __init__(self, far: FarEnd) -> None:
        self.moment_ns: int | None = None
        """The moment that the test has said it is."""
        self._far = far

    def now_ns(self) -> int:
        return super().now_ns() if self.moment_ns is None else self.moment_ns

    def wait(self, fds: Iterable[int], seconds: float | None) -> list[int]:
        self._far.serve()
        return super().wait(fds, seconds)

    def select(self, selector: DefaultSelector, seconds: float | None) -> Found:
        self._far.serve()
        return super().select(selector, seconds)


def _as_sent(frame: Frame) -> Frame:
    """A copy, of the track that it goes out on: the processor may use its memory again."""
    if isinstance(frame, DataFrame):
        return frame
    name, stamp = track_name(frame), (frame.sequence, frame.received_ns)
    if isinstance(frame, AudioFrame):
        return AudioFrame.received(frame.samples.copy(), frame.sample_rate, name, stamp)
    if isinstance(frame, DataTrackFrame):
        return DataTrackFrame.received(frame.payload, frame.timestamp, name, stamp)
    size, origin = (frame.width, frame.height), (frame.rotation, frame.timestamp_us)
    return VideoFrame.received(frame.data.copy(), size, origin, name, stamp)
