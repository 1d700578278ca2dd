"""What goes out in a worker's name, from its own thread and from those of the processor.

Each call holds the lock, under which all of the `Seat` is used; none waits. A child that user code
has forked has no part in it: it would write, take and count in the worker's name.
"""

from __future__ import annotations

import os

from ringroom.errors import ClosedError
from ringroom.frames import Frame, VideoFrame
from ringroom.lanes.memory import open_counter
from ringroom.link import Link
from ringroom.options import Mode, PublishOptions
from ringroom.processes.machine import MACHINE, Machine
from ringroom.processes.worker.problems import Problems
from ringroom.processes.worker.replies import ReplyTracks
from ringroom.processes.worker.seat import Seat
from ringroom.profile import Profile
from ringroom.sessions.filling import Filling
from ringroom.sessions.inbox import InboundLane
from ringroom.sessions.session import Session


class Answering:
    """``control`` is the link to the application, which stays the caller's."""

    def __init__(self, control: Link, machine: Machine = MACHINE) -> None:
        self.control = control
        self.machine = machine
        self.lock = machine.lock()
        self.wake = open_counter()
        """Wakes the worker's thread."""
        self.seat: Seat | None = None
        """None until the worker has a place."""
        self.problems = Problems(control, lambda: self.place)
        self._pid = os.getpid()

    @property
    def place(self) -> int:
        """The worker's number; -1 while it has none."""
        return -1 if self.seat is None else self.seat.start.place

    @property
    def replies(self) -> ReplyTracks | None:
        """None until something can be sent."""
        return None if self.seat is None else self.seat.replies

    @property
    def keeps(self) -> bool:
        """Whether a link keeps what its socket has not taken: the worker's thread sends more of it
        as it pumps."""
        seat = self.seat
        return self.control.backlog > 0 or (seat is not None and seat.session.link.backlog > 0)

    def reply(
        self,
        frame: Frame,
        mode: Mode,
        *,
        publish: PublishOptions | None = None,
        source: InboundLane | None = None,
    ) -> None:
        """Send, or keep what a full track does not take; its source is then held. A new track is
        published as ``publish`` says; if that is None as the session's options do, in that mode."""
        with self.lock:
            replies = self._usable("send from open() or process()")
            if replies is not None and (replies.send(frame, mode, publish, source) or self.keeps):
                self.wake.add(1)

    def fill(self, form: VideoFrame, mode: Mode, publish: PublishOptions | None) -> Filling:
        """A picture of that form, to be filled; its track is published as by `reply`."""
        with self.lock:
            replies = self._usable("send from open() or process()")
            if replies is None:
                return Filling(None, form)
            filling = replies.outgoing.fill(replies.lane_for(form, mode, publish), form)
            if self.keeps:
                self.wake.add(1)
            return filling

    def send_filled(self, filling: Filling) -> VideoFrame | None:
        """Send the picture from where it lies; else what is to be sent in its place."""
        with self.lock:
            seat = self.seat
            replies = None if seat is None or seat.over else seat.replies
            if replies is not None and replies.outgoing.send_filled(filling):
                return None
            return filling.copied()

    def set_profile(self, change: Profile) -> None:
        """Ask the room to tell it of us; the answer is not waited for."""
        with self.lock:
            replies = self._usable("set it in open() or process()")
            if replies is not None:
                replies.session.profile.ask(change, awaited=False)
                if self.keeps:
                    self.wake.add(1)

    def session(self, instead: str) -> Session:
        """For what is asked of the room; the caller holds the lock. Raises `ClosedError` before
        there is one."""
        seat = self.seat
        if seat is None or seat.replies is None:
            raise ClosedError(f"the worker is not connected yet; {instead}")
        return seat.session

    def _usable(self, instead: str) -> ReplyTracks | None:
        """The reply tracks; None when the room is over, for nothing would be heard, and no track
        of the room makes room for it. Raises `ClosedError` before there are any."""
        session = self.session(instead)
        return None if session.end is not None else self.replies

    def end(self, name: str) -> None:
        """The reply track of that name, or the one that a dead worker has left, ends when it has
        played."""
        with self.lock:
            replies = self.replies
            assert replies is not None
            replies.end(name)

    def check_process(self) -> None:
        """Raises `ClosedError` in a fork's child."""
        if os.getpid() != self._pid:
            raise ClosedError(
                "this process was forked from a worker, which alone has a part in the room: hand "
                "the worker what is found here, and end with os._exit()"
            )

    def close(self) -> None:
        """Idempotent. A fork's child has nothing to close: the selector is one with the worker's,
        which would not wake any more."""
        if os.getpid() != self._pid:
            return
        with self.lock:
            if self.seat is not None:
                self.seat.close()
        self.wake.close()
