"""The worker role: the user's processor between inbound lanes and reply tracks.

One thread, the worker's, takes what has come, has the processor called (`user_code.py`) and sends
what waits; what other threads of the processor send goes through `answering.py`, too. It never
imports the provider's SDK nor asyncio.

Crash at any line: lanes end with the process; what was taken and not done stays "in flight" in the
statistics until the I/O role buries the lane.
"""

from __future__ import annotations

import traceback
from functools import partial

from ringroom import messages as m
from ringroom.errors import ClosedError
from ringroom.events import Event, EventKind
from ringroom.frames import Item
from ringroom.link import FLUSH_SECONDS
from ringroom.options import SessionOptions
from ringroom.processes.waiting import shortest
from ringroom.processes.worker.answering import Answering
from ringroom.processes.worker.problems import shortened
from ringroom.processes.worker.seat import Seat
from ringroom.processes.worker.user_code import UserCode
from ringroom.processor import Processor
from ringroom.sessions.inbox import Inbox

_TOLD_HERE = (EventKind.TRACK_STARTED, EventKind.TRACK_RESUMED, EventKind.TRACK_ENDED)


class Worker:
    """The loop, from the processor's start to its end. See the module's docstring."""

    def __init__(self, answering: Answering, processor: Processor, options: SessionOptions) -> None:
        self._answering = answering
        self._control = answering.control
        self._machine = answering.machine
        self._lock = answering.lock
        self._user_code = UserCode(processor, answering)
        self._options = options
        self._stopping: float | None = None
        """The moment by which what waits is to be finished; None until `Stop` has come."""
        self._stopped_ns = 0

    def run(self) -> None:
        """Work until the control link ends, `Stop` has come, or the room has ended."""
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
        """Have the processor start. Raises what it raises."""
        self._user_code.start()

    def work(self) -> None:
        """Do all that there is to do now, without a wait."""
        self._pump()
        while self._step():
            self._pump()

    def _start(self) -> None:
        try:
            self.begin()
        except Exception:  # noqa: BLE001 (told to the pool)
            self._control.send(m.WorkerFailed(error=shortened(traceback.format_exc())))
            raise SystemExit(1) from None
        self._machine.freeze_garbage()
        self._control.send(m.WorkerReady())

    def _loop(self) -> None:
        woken = True
        while True:
            if woken:
                self._pump()
            self._check_session()
            if self._stopping is not None and self._machine.now() >= self._stopping:
                return
            if self._step():
                woken = self._patience() == 0.0 or self._answering.keeps
                if (seat := self._answering.seat) is not None:
                    self._look(seat.inbox, 0)
                    woken = woken or seat.inbox.woken
                continue
            if self._is_through():
                return
            woken = self._wait(shortest(self._patience(), self._time_left()))

    def _patience(self) -> float | None:
        """Seconds until the session has something to do, though nothing is readable."""
        seat = self._answering.seat
        return None if seat is None else seat.session.incoming.patience()

    def _time_left(self) -> float | None:
        """Seconds that are left to finish what waits; None until `Stop` has come."""
        return None if self._stopping is None else self._stopping - self._machine.now()

    def _is_through(self) -> bool:
        """Whether `Stop` has come and all that came before it is handled: also what a full track
        holds up, and what a dead worker has left."""
        if self._stopping is None or self._room_over():
            return self._room_over()
        with self._lock:  # another thread of the processor may send
            seat = self._answering.seat
            held = seat is not None and seat.holds
        return not (self._may_wait() and held)

    def _check_session(self) -> None:
        """Raises the error by which the session has ended on this side alone (no descriptors are
        left, say): a worker that dies of it is replaced, and the next one gets the tracks."""
        seat = self._answering.seat
        if seat is not None and seat.session.end is not None and seat.session.end.ours:
            seat.session.check_unfailed()

    def _room_over(self) -> bool:
        seat = self._answering.seat
        return seat is not None and seat.over

    def _pump(self) -> None:
        self._answering.wake.take()
        self._control.flush()
        while (received := self._control.receive_nowait()) is not None:
            message, descriptors = received
            if isinstance(message, m.Start):
                self._take_place(message, descriptors)
            elif isinstance(message, m.Stop):
                self._stopping = self._machine.now() + message.drain
                self._stopped_ns = self._machine.now_ns()
        with self._lock:
            seat = self._answering.seat
            if seat is not None and (told := seat.pump()) is not None:
                self._control.send(told)

    def _take_place(self, start: m.Start, descriptors: tuple[int, ...]) -> None:
        """Take the place in the pool, for the first time or with another I/O process."""
        answering = self._answering
        with self._lock:
            if answering.seat is not None:
                answering.seat.restart(start, descriptors)
                return
            problems = answering.problems
            seat = answering.seat = Seat(start, descriptors, self._options, self._machine, problems)
            seat.inbox.watch(self._control.fileno())
            seat.inbox.watch(answering.wake.fileno())

    def _step(self) -> bool:
        """Handle one arrival and what waits to be sent. Returns whether there was an arrival."""
        seat = self._answering.seat
        if seat is None:
            return False
        with self._lock:
            seat.send_waiting()
            arrival = seat.inbox.receive_nowait()
        if arrival is None:
            return False
        if self._stopping is not None and arrival.lane is not None and self._is_late(arrival.item):
            # It came after `Stop`: in a room that talks on there is always more.
            with self._lock:
                seat.inbox.hold(arrival.lane)
            return True
        self._user_code.handle(arrival)
        return True

    def _is_late(self, item: Item) -> bool:
        """Whether it came after `Stop`. Where a track begins and ends is told as the worker comes
        there, before and behind frames that came in time, so that is never late."""
        told_here = isinstance(item, Event) and item.kind in _TOLD_HERE
        return not told_here and item.received_ns > self._stopped_ns

    def _wait(self, seconds: float | None = None) -> bool:
        """Wait until there is something to do. Returns whether `_pump` may have some of it."""
        if self._answering.keeps:
            seconds = shortest(FLUSH_SECONDS, seconds)
        with self._lock:
            seat = self._answering.seat
            inbox = None if seat is None or seat.inbox.closed else seat.inbox
            others = self._watched_beside(seat, inbox)
        if others:
            self._machine.wait(others if inbox is None else (inbox.fileno(), *others), seconds)
            seconds = 0.0
        if inbox is None:
            return True
        return not self._look(inbox, seconds) or inbox.woken

    def _watched_beside(self, seat: Seat | None, inbox: Inbox | None) -> list[int]:
        """The descriptors to wait for beside those that the inbox watches, if there is one."""
        fds = [] if seat is None or seat.replies is None else seat.replies.freed_filenos()
        if inbox is None:
            fds += (self._control.fileno(), self._answering.wake.fileno())
            fds += () if seat is None else (seat.session.fileno(),)
        return fds

    def _look(self, inbox: Inbox, seconds: float | None) -> bool:
        """Wait for what the inbox watches. Returns whether anything became readable."""
        found = self._machine.select(inbox.selector, seconds)
        with self._lock:
            inbox.note(found)
        return bool(found)

    def finish(self) -> None:
        """Close the tracks in good order and play out, within the time that Stop gave."""
        seat = self._answering.seat
        if seat is not None:
            self._stop_receiving(seat)
        self._user_code.close_tracks()
        self._user_code.stop()
        if seat is not None:
            self._play_out(seat)
            with self._lock:
                seat.session.leave()
        self.close()
        self._control.send(m.WorkerDone())

    def _stop_receiving(self, seat: Seat) -> None:
        """Close the inbox: what still comes is not taken, and must not wake us."""
        with self._lock:
            seat.inbox.close()
            # The session wakes us instead: another thread may take off the link the answer that we
            # wait for.
            seat.session.listeners.add(partial(self._answering.wake.add, 1))

    def _play_out(self, seat: Seat) -> None:
        """Send what waits, and wait until all is played."""
        replies = seat.replies
        while replies is not None and replies.waits and self._may_wait():
            self._wait(self._time_left())
            self._pump()
            with self._lock:
                seat.send_waiting()
        if replies is None or seat.over:
            return
        with self._lock:
            replies.drain()
        while replies.end_requests and self._may_wait():
            self._wait(self._time_left())
            self._pump()

    def _may_wait(self) -> bool:
        """Whether there is time left; another Stop may have shortened it."""
        seat = self._answering.seat
        if seat is not None and seat.session.interrupted:
            return False  # what waits is not played
        return (self._time_left() or 0.0) > 0.0 and not self._room_over()

    def close(self) -> None:
        """Idempotent."""
        self._answering.close()
