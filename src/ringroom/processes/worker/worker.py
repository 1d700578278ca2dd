"""The worker role: the user's processor between inbound lanes and reply tracks.

One thread takes frames, calls the processor and sends its `replies`. It never imports the
provider's SDK nor asyncio.

Crash at any line: lanes end with the process; what was taken and not done stays "in flight" in the
statistics until the I/O role buries the lane.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from functools import partial

from ringroom import messages as m
from ringroom.errors import ClosedError
from ringroom.frames import (
    DataFrame,
    Event,
    EventKind,
    Frame,
    Item,
    Kind,
    TrackInfo,
    VideoFrame,
)
from ringroom.lanes.memory import open_counter
from ringroom.lanes.statistics import RowPool, StatisticsTable
from ringroom.link import FLUSH_SECONDS, Link
from ringroom.options import Mode, PublishOptions, SessionOptions
from ringroom.processes.machine import MACHINE, Machine
from ringroom.processes.waiting import shortest
from ringroom.processes.worker.context import WorkerContext
from ringroom.processes.worker.problems import Problems, shortened
from ringroom.processes.worker.replies import ReplyTracks
from ringroom.processor import Processor, Replies, as_frames, of_track
from ringroom.profile import Profile
from ringroom.sessions.filling import Filling
from ringroom.sessions.inbox import Arrival, InboundLane, Inbox
from ringroom.sessions.session import Session

_TOLD_HERE = (EventKind.TRACK_STARTED, EventKind.TRACK_RESUMED, EventKind.TRACK_ENDED)


class Worker:
    """See the module's docstring."""

    def __init__(
        self,
        control: Link,
        processor: Processor,
        options: SessionOptions,
        machine: Machine = MACHINE,
    ) -> None:
        self.control = control
        self.machine = machine
        self.lock = machine.lock()
        self._pid = os.getpid()
        self.session: Session | None = None
        self.replies: ReplyTracks | None = None
        self.problems = Problems(control, lambda: self.place)
        self._processor = processor
        self._options = options
        self._table: StatisticsTable | None = None
        self._inbox: Inbox | None = None
        self._wake = open_counter()
        self._stopping: float | None = None
        self._stopped_ns = 0
        self._tracks: dict[str, TrackInfo] = {}
        self._seat: m.Start | None = None
        """The place, and the rows of statistics that go with it."""
        self._attaching = False

    @property
    def place(self) -> int:
        """The worker's number; -1 while it has none."""
        return -1 if self._seat is None else self._seat.place

    def run(self) -> None:
        """Until the control link ends, a Stop came, or the room has ended."""
        try:
            self._start()
            self._loop()
            self.finish()
        except ClosedError:
            return  # the application is gone, or this is a fork's child
        finally:
            self.close()

    # The parts of `run`, for a test that turns a worker by hand.

    def begin(self) -> None:
        """Have the processor start; what that raises."""
        self._processor.start(WorkerContext(self))

    def work(self) -> None:
        """All that there is to do now, without a wait."""
        self._pump()
        while self._step():
            self._pump()

    def _start(self) -> None:
        try:
            self.begin()
        except Exception:  # noqa: BLE001 (told to the pool)
            self.control.send(m.WorkerFailed(error=shortened(traceback.format_exc())))
            raise SystemExit(1) from None
        self.machine.freeze_garbage()
        self.control.send(m.WorkerReady())

    def _loop(self) -> None:
        woken = True
        while True:
            if woken:
                self._pump()
            self._check_session()
            if self._stopping is not None and self.machine.now() >= self._stopping:
                return
            if self._step():
                woken = self._patience() == 0.0 or self._keeps
                if self._inbox is not None:
                    self._look(self._inbox, 0)
                    woken = woken or self._inbox.woken
                continue
            if self._is_through():
                return
            woken = self._wait(shortest(self._patience(), self._time_left()))

    def _patience(self) -> float | None:
        """Seconds until the session has something to do, though nothing is readable."""
        return None if self.session is None else self.session.incoming.patience()

    def _time_left(self) -> float | None:
        """Seconds in which what waits is to be finished; None while the end was not called."""
        return None if self._stopping is None else self._stopping - self.machine.now()

    @property
    def _keeps(self) -> bool:
        """Whether a link keeps what its socket has not taken: `_pump` sends more of it."""
        session = self.session
        return self.control.backlog > 0 or (session is not None and session.link.backlog > 0)

    def _is_through(self) -> bool:
        """Whether the end was called and all that came before it is handled: also what a full
        track holds up, and what a dead worker has left."""
        if self._stopping is None or self._room_over():
            return self._room_over()
        with self.lock:  # another thread of the processor may send
            held = self.replies is not None and self.replies.holds
        return not (self._may_wait() and (held or self._attaching))

    def _check_session(self) -> None:
        """Raises the error by which it ended on this side alone (no descriptors are left, say): a
        worker that dies of it is replaced, and the next one gets the tracks."""
        session = self.session
        if session is not None and session.end is not None and session.end.ours:
            session.check_unfailed()

    def _room_over(self) -> bool:
        return self.session is not None and self.session.end is not None

    def _pump(self) -> None:
        self._wake.take()
        self.control.flush()
        while (received := self.control.receive_nowait()) is not None:
            message, descriptors = received
            if isinstance(message, m.Start):
                self._begin(message, descriptors)
            elif isinstance(message, m.Stop):
                self._stopping = self.machine.now() + message.drain
                self._stopped_ns = self.machine.now_ns()
        with self.lock:
            if self.session is not None:
                self.session.pump()
                if self._attaching and self.session.attached is not None:
                    self._inherit(self.session, self.session.attached)
                if self.replies is not None:
                    self.replies.take_answers()
                    self.replies.tell_busy()

    def _begin(self, message: m.Start, descriptors: tuple[int, ...]) -> None:
        with self.lock:
            before, self._table = self._table, StatisticsTable.attach(descriptors[1])
            link = Link.attach(descriptors[0])
            self._seat, self._attaching = message, True
            if self.session is not None and before is not None:
                self.session.restart(link, self._table)
                before.close()
                return
            self.session = Session(link, self._table, self._options, self.machine.now_ns)
            self.session.outlive_links()
            self._inbox = self.session.incoming.open_inbox({*self._options.kinds, Kind.EVENT}, None)
            self._inbox.watch(self.control.fileno())
            self._inbox.watch(self._wake.fileno())

    def _inherit(self, session: Session, attached: m.Attached) -> None:
        """Go on for the worker that was in this place before; with another I/O process, with our
        own tracks."""
        assert self._table is not None
        assert self._seat is not None
        seat, self._attaching = self._seat, False
        taken = frozenset(attached.rows)
        rows = RowPool(self._table, seat.rows_first, seat.rows_count, taken=taken)
        if self.replies is None:
            assert self._inbox is not None
            self.replies = ReplyTracks(session, rows, self._inbox, self.problems)
        else:
            self.replies.outgoing.restart(rows)
        if session.restarts:  # also when the I/O process before had died without a word to us
            self.control.send(m.Rejoined(place=seat.place, generation=seat.generation))
        self.replies.inherited = set(attached.tracks)

    def _step(self) -> bool:
        """Handle one arrival and what waits to be sent; whether there was anything."""
        with self.lock:
            self._send_waiting()
            arrival = None if self._inbox is None else self._inbox.receive_nowait()
        if arrival is None:
            return False
        if self._stopping is not None and arrival.lane is not None and self._is_late(arrival.item):
            # It came after the end was called: in a room that talks on there is always more.
            with self.lock:
                assert self._inbox is not None
                self._inbox.hold(arrival.lane)
            return True
        self._handle(arrival)
        return True

    def _is_late(self, item: Item) -> bool:
        """Whether it came after the end was called. Where a track begins and ends is told as the
        worker comes there, before and behind frames that came in time."""
        told_here = isinstance(item, Event) and item.kind in _TOLD_HERE
        return not told_here and item.received_ns > self._stopped_ns

    def _handle(self, arrival: Arrival) -> None:
        item = arrival.item
        if isinstance(item, Event):
            self._handle_event(item, arrival.lane)
            return
        source = None if isinstance(item, DataFrame) else item.track
        if not self._call("process", lambda: self._processor.process(item), source, arrival.lane):
            arrival.problem()
        arrival.done()

    def _handle_event(self, event: Event, lane: InboundLane | None) -> None:
        track = event.track
        if self._processor.wants_events:
            self._call("event", lambda: self._processor.event(event), track, lane)
        if track is None or lane is None or lane.track is None:
            return
        if event.kind is EventKind.TRACK_STARTED:
            self._tracks[track.sid] = track
            self._call("open", lambda: self._processor.open(track), track, lane)
        elif event.kind is EventKind.TRACK_ENDED and self._close_track(track):
            self._end_reply(track)

    def _close_track(self, track: TrackInfo) -> bool:
        """Let the processor close it; whether it was open."""
        if self._tracks.pop(track.sid, None) is None:
            return False
        self._call("close", lambda: self._processor.close(track), track, None)
        return True

    def _end_reply(self, track: TrackInfo) -> None:
        """Nothing answers the track any more: its reply track ends when it has played."""
        if any(other.reply_name == track.reply_name for other in self._tracks.values()):
            return
        with self.lock:
            assert self.replies is not None
            self.replies.end(track.reply_name)

    def _call(
        self,
        where: str,
        function: Callable[[], Replies],
        source: TrackInfo | str | None,
        lane: InboundLane | None,
    ) -> bool:
        """Call user code and send what it returns, as it comes; False, and told, when it raised, or
        one of the frames was not sent."""
        good = True
        try:
            for frame in as_frames(function()):
                self.check_process()
                good = self._answer(of_track(frame, source), lane) and good
        except Exception as error:  # noqa: BLE001 (told to the pool)
            self.problems.raised(where, error)
            good = False
        self.check_process()
        return good

    def _answer(self, frame: Frame, lane: InboundLane | None) -> bool:
        try:
            self.reply(frame, self._processor.mode, source=lane)
        except Exception as error:  # noqa: BLE001 (told to the pool; the other replies are sent)
            self.problems.raised("reply", error)
            return False
        return True

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
            replies = self._answering()
            if replies is not None and (replies.send(frame, mode, publish, source) or self._keeps):
                self._wake.add(1)

    def fill(self, form: VideoFrame, mode: Mode, publish: PublishOptions | None) -> Filling:
        """A picture of that form, to be filled; its track is published as by `reply`."""
        with self.lock:
            replies = self._answering()
            if replies is None:
                return Filling(None, form)
            filling = Filling(replies.lane_for(form, mode, publish), form)
            if self._keeps:
                self._wake.add(1)
            return filling

    def send_filled(self, filling: Filling) -> VideoFrame | None:
        """Send the picture from where it lies; else what is to be sent in its place."""
        with self.lock:
            replies = None if self._room_over() else self.replies
            if replies is not None and replies.outgoing.send_filled(filling):
                return None
            return filling.copied()

    def _answering(self) -> ReplyTracks | None:
        """None when the room is over: nothing would be heard, and no track of the room makes room
        for it."""
        if self.replies is None:
            raise ClosedError("the worker is not connected yet; send from open() or process()")
        if self._room_over():
            return None
        return self.replies

    def set_profile(self, change: Profile) -> None:
        """Ask the room to tell it of us; the answer is not waited for."""
        with self.lock:
            if self.session is None or self.replies is None:
                raise ClosedError("the worker is not connected yet; set it in open() or process()")
            if self._room_over():
                return
            self.session.profile.ask(change, awaited=False)
            if self._keeps:
                self._wake.add(1)

    def _send_waiting(self) -> None:
        replies = self.replies
        if replies is None or not replies.waits:
            return
        if self._room_over():
            replies.forget_all()
        replies.send_waiting()

    def _wait(self, seconds: float | None = None) -> bool:
        """Until there is something to do; whether that may be for `_pump`."""
        if self._keeps:
            seconds = shortest(FLUSH_SECONDS, seconds)
        with self.lock:
            inbox = self._inbox
            others = [] if self.replies is None else self.replies.freed_filenos()
            if inbox is None:
                others += (self.control.fileno(), self._wake.fileno())
                others += () if self.session is None else (self.session.fileno(),)
        if others:
            self.machine.wait(others if inbox is None else (inbox.fileno(), *others), seconds)
            seconds = 0.0
        if inbox is None:
            return True
        return not self._look(inbox, seconds) or inbox.woken

    def _look(self, inbox: Inbox, seconds: float | None) -> bool:
        """Wait for what the inbox watches; whether there was anything."""
        found = self.machine.select(inbox.selector, seconds)
        with self.lock:
            inbox.note(found)
        return bool(found)

    def finish(self) -> None:
        """Close the tracks in good order and play out, within the time that Stop gave."""
        self._stop_receiving()
        for track in tuple(self._tracks.values()):
            self._close_track(track)
        self._call("stop", self._stop_processor, None, None)
        while self.replies is not None and self.replies.waits and self._may_wait():
            self._wait(self._time_left())
            self._pump()
            with self.lock:
                self._send_waiting()
        self._play_out()
        with self.lock:
            if self.session is not None:
                self.session.leave()
        self.close()
        self.control.send(m.WorkerDone())

    def _stop_receiving(self) -> None:
        """What still comes must not wake us: it is not taken."""
        with self.lock:
            inbox, self._inbox = self._inbox, None
            if inbox is not None and self.session is not None:
                inbox.close()
                # In its place: another thread may take an answer that we wait for off the link.
                self.session.listeners.add(partial(self._wake.add, 1))

    def check_process(self) -> None:
        """Raises `ClosedError` in the child of a fork that user code has made: it would write, take
        and count in the name of the worker."""
        if self._forked:
            raise ClosedError(
                "this process was forked from a worker, which alone has a part in the room: hand "
                "the worker what is found here, and end with os._exit()"
            )

    @property
    def _forked(self) -> bool:
        return os.getpid() != self._pid

    def close(self) -> None:
        """Idempotent. A fork's child has nothing to close: the selector is one with the worker's,
        which would not wake any more."""
        if self._forked:
            return
        with self.lock:
            if self.replies is not None:
                self.replies.close()
            if self.session is not None:
                self.session.close()
            if self._table is not None:
                self._table.close()
        self._wake.close()

    def _stop_processor(self) -> None:
        try:
            self._processor.stop()
        except ClosedError:
            # What a spare that never had a place, or not yet, would send has nowhere to go.
            if self.replies is not None:
                raise

    def _may_wait(self) -> bool:
        """Whether there is time left; another Stop may have shortened it."""
        if self.session is not None and self.session.interrupted:
            return False  # what waits is not played
        return (self._time_left() or 0.0) > 0.0 and not self._room_over()

    def _play_out(self) -> None:
        if self.replies is None or self._room_over():
            return
        with self.lock:
            self.replies.drain()
        while self.replies.end_requests and self._may_wait():
            self._wait(self._time_left())
            self._pump()
