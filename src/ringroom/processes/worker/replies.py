"""The tracks that a worker answers on, and the replies that they have not taken.

What a full ``speech`` track does not take waits here; while it does, the lanes whose replies wait
there are held (their frames age), and no other is. Nothing here waits or locks: all of it runs
under the worker's lock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ringroom import messages as m
from ringroom.errors import BusyError, FrameError, WouldBlock
from ringroom.frames import Frame
from ringroom.lanes.statistics import RowPool
from ringroom.options import Mode, PublishOptions
from ringroom.processes.worker.problems import Problems
from ringroom.sessions.inbox import InboundLane, Inbox
from ringroom.sessions.outgoing import Outgoing
from ringroom.sessions.outgoing_lane import OutgoingLane
from ringroom.sessions.session import Session


@dataclass(slots=True, eq=False)
class _Waiting:
    """What belongs to a track that has not taken all of its replies."""

    held: set[InboundLane] = field(default_factory=set)
    """The lanes that are held for it."""
    ends: bool = False
    """The track ends once all is sent."""


class ReplyTracks:
    """See the module's docstring."""

    def __init__(self, session: Session, rows: RowPool, inbox: Inbox, problems: Problems) -> None:
        self.session = session
        self.outgoing = Outgoing(session, rows)
        self.inherited: set[str] = set()
        """Names of tracks that a dead worker has left, and that nobody has ended since."""
        self.end_requests: set[int] = set()
        """Requests that are answered once a track that ends has played."""
        self._publish = session.options.publish
        self._inbox = inbox
        self._problems = problems
        self._waiting: dict[OutgoingLane, _Waiting] = {}

    @property
    def waits(self) -> bool:
        """Whether there are replies that wait for room."""
        return bool(self._waiting)

    @property
    def holds(self) -> bool:
        """Whether a lane is held for them."""
        return any(waiting.held for waiting in self._waiting.values())

    def freed_filenos(self) -> list[int]:
        """Readable when there is room again."""
        return [self.outgoing.freed_fileno(lane) for lane in self._waiting]

    def send(
        self,
        frame: Frame,
        mode: Mode,
        publish: PublishOptions | None,
        source: InboundLane | None,
    ) -> bool:
        """Send on the frame's track, or keep what it does not take; ``source`` is then held.
        Whether something has begun to wait. Options and errors are those of `lane_for`."""
        if self._waiting:
            self.send_waiting()  # a processor may be at it for long, and come here alone
        lane = self.lane_for(frame, mode, publish)
        before = waiting = self._waiting.get(lane)
        if waiting is not None:
            waiting.ends = False  # the track it answers is back
        lane.unsent.put(frame)
        if waiting is None and not self._write(lane):
            waiting = self._waiting[lane] = _Waiting()
        if waiting is not None and source is not None:
            waiting.held.add(source)
            self._inbox.hold(source)
        return waiting is not before

    def lane_for(self, frame: Frame, mode: Mode, publish: PublishOptions | None) -> OutgoingLane:
        """The lane of the frame's track. A new track is published as ``publish`` says; if that is
        None as the session's options do, in that mode. Errors are those of `Outgoing.lane_for`."""
        if self._publish.mode != mode:
            # Kept, for the next reply will be alike: to make it takes as long as to send.
            self._publish = replace(self._publish, mode=mode)
        return self.outgoing.lane_for(frame, publish, self._publish)

    def _write(self, lane: OutgoingLane) -> bool:
        """Write what there is room for, on a track for which nothing waits; whether it was all."""
        try:
            whole = self.outgoing.write_unsent(lane)
        except WouldBlock:
            return False
        except BaseException:
            lane.unsent.clear()
            raise
        if not whole:
            self._problems.cut(lane.name)
        return True

    def send_waiting(self) -> None:
        """Write what there is room for, of all that waits."""
        for lane in tuple(self._waiting):
            try:
                while (piece := lane.unsent.first()) is not None:
                    self._push_first(lane, piece)
            except WouldBlock:
                continue
            except Exception as error:  # noqa: BLE001 (told to the pool)
                lost = f" ({len(lane.unsent)} frames that waited for {lane.name!r} go with it)"
                lane.unsent.clear()
                self._problems.raised("reply", error, lost)
            self._release(lane)

    def _push_first(self, lane: OutgoingLane, piece: Frame) -> None:
        try:
            self.outgoing.push_nowait(lane, piece)
        except FrameError as error:  # those behind it may fit
            self._problems.raised("reply", error)
        lane.unsent.written()

    def forget(self, lane: OutgoingLane) -> float:
        """Drop what waits for a track (a flush); the seconds of sound dropped."""
        if lane not in self._waiting:
            return 0.0
        seconds = lane.forget_unsent()
        self._release(lane)
        return seconds

    def forget_all(self) -> None:
        """Drop all that waits: it would not be heard."""
        for lane in tuple(self._waiting):
            self.forget(lane)

    def _release(self, lane: OutgoingLane) -> None:
        waiting = self._waiting.pop(lane)
        if waiting.ends:
            self._end(lane)
        for held in waiting.held:
            if not any(held in other.held for other in self._waiting.values()):
                self._inbox.release(held)

    def end(self, name: str) -> None:
        """The track of that name, if there is one, ends when all is sent and played."""
        lane = self.outgoing.find(name)
        if lane is None:
            if name in self.inherited:
                self.session.send(m.TrackClose(name=name))
        elif lane in self._waiting:
            self._waiting[lane].ends = True
        else:
            self._end(lane)
        self.inherited.discard(name)

    def _end(self, lane: OutgoingLane) -> None:
        self._problems.forget(lane.name)
        self.end_requests.add(self.outgoing.end(lane))

    def drain(self) -> None:
        """From now on `end_requests` has a request for each track, ended or not."""
        self.end_requests.update(self.outgoing.drain(lane) for lane in self.outgoing.lanes)

    def take_answers(self) -> None:
        """Take the answers about tracks that have ended and played."""
        for request in tuple(self.end_requests):
            if self.session.requests.take(request) is not None:
                self.end_requests.discard(request)

    def tell_busy(self) -> None:
        """Tell of tracks that somebody else sends on. What was sent there is lost; the next send
        would raise that, but there may be none, and no event of the room tells of it."""
        for lane in self.outgoing.take_failed():
            if isinstance(lane.error, BusyError) and lane not in self._waiting:
                self._problems.raised("reply", lane.error)

    def close(self) -> None:
        """Idempotent."""
        self._waiting.clear()
        self.outgoing.close()
