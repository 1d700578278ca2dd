"""A pool's supervision thread: it tends the session and the workers, has another I/O process take
over from one that died, and tells the application what happens, until the room ends or all fails.
"""

from __future__ import annotations

import logging
import threading
from functools import partial

from ringroom.errors import ClosedError, RingroomError
from ringroom.events import Event, Kind
from ringroom.faces.connection import Connection, Prepared
from ringroom.faces.mending import Mending, MendingCalls, ended_with_interpreter
from ringroom.pool.options import PoolOptions
from ringroom.pool.staff import Staff
from ringroom.processes.waiting import shortest
from ringroom.sessions.inbox import Inbox

__all__ = ["Watch"]

log = logging.getLogger("ringroom")


class Watch:
    """See the module's docstring. Any thread may call it."""

    def __init__(self, connection: Connection, staff: Staff, options: PoolOptions) -> None:
        self.failure: BaseException | None = None
        """What has ended the pool otherwise than by the room's end."""
        self._connection = connection
        self._staff = staff
        calls = MendingCalls(
            reopen=self._reopen,
            rejoin=self._rejoin,
            tell=staff.note,
            wake=lambda: connection.session.notify(),
        )
        self._mending = Mending(connection, options.care, calls, options.standby)
        self._inbox: Inbox | None = None
        """Where the room's events come in, if the pool receives them."""
        self._thread: threading.Thread | None = None
        self._ended = connection.machine.condition()
        self._over = False
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """Whether the thread was told to stop."""
        return self._stopping

    @property
    def is_over(self) -> bool:
        """Whether the pool has ended."""
        return self._over

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is the one that watches: it is in a callback, say."""
        return threading.current_thread() is self._thread

    def listen(self) -> None:
        """Receive the room's events from now on, if the session has them."""
        if Kind.EVENT in self._connection.options.kinds:
            with self._connection.lock:
                self._inbox = self._connection.session.incoming.open_inbox((Kind.EVENT,), None)

    def start(self, pool: object) -> None:
        """Begin, once the room is joined. The thread refers to the pool, which is therefore not
        collected while it runs. Raises `StartupError` when no thread is to be had."""
        run = partial(self._run, pool)
        self._thread = self._connection.machine.start_thread("ringroom-pool", run)

    def stop(self) -> None:
        """Have the thread end; the next change of the session wakes it."""
        self._stopping = True

    def join(self, seconds: float) -> None:
        """Wait for the thread's end, but not on that thread itself, and no longer than that: it may
        be in a callback, which may wait for the thread that is closing the pool."""
        if self._thread is not None and not self.is_here:
            self._thread.join(seconds)

    def wait(self, seconds: float | None) -> bool:
        """Wait for the pool's end; whether it has come within that time."""
        with self._ended:
            return self._ended.wait_for(lambda: self._over, seconds)

    def end(self) -> None:
        """The pool has ended: wake those that wait for that. Idempotent."""
        with self._ended:
            self._over = True
            self._ended.notify_all()
        if self._connection.opened:  # a task of an event loop waits for changes of the session
            with self._connection.lock:
                self._connection.session.notify()

    def close(self) -> None:
        """Idempotent: no other I/O process takes over any more."""
        self._mending.close()

    def _run(self, _: object) -> None:
        try:
            self._watch()
        except BaseException as error:  # also a callback that exits: who waits for the end does
            log.exception("the supervision of the pool failed")
            self.failure = self.failure or error
        finally:
            self._end_session()
            self.end()

    def _watch(self) -> None:
        session = self._connection.session
        self._mending.begin()
        with self._connection.waiter() as waiter:
            while not self._stopping:
                if (final := ended_with_interpreter()) is not None:
                    self.failure = self.failure or final
                    break
                with self._connection.lock:
                    session.pump()
                    ending = session.end
                self._tell_events()
                self._mending.turn()
                self._staff.turn(0.0)
                self.failure = self.failure or self._staff.failure or self._mending.failure
                if ending is not None or self.failure is not None:
                    self.failure = self.failure or (ending.error if ending else None)
                    break
                theirs, patience = self._staff.watched()
                fds = [session.fileno(), *theirs]
                if self._inbox is not None:
                    fds.append(self._inbox.fileno())
                waiter.wait(fds, shortest(patience, self._mending.patience()))

    def _tell_events(self) -> None:
        while self._inbox is not None:
            with self._connection.lock:
                try:
                    arrival = self._inbox.receive_nowait()
                except ClosedError:
                    return
            if arrival is None:
                return
            arrival.done()
            if isinstance(arrival.item, Event):
                self._staff.tell(arrival.item)

    def _end_session(self) -> None:
        """Nobody tends the session any more: who sends is told, by what ended the pool, and events
        have no reader, for whose sake a send after the room's end would be none."""
        error = self.failure
        if error is not None and not isinstance(error, RingroomError):
            error = ClosedError(f"the pool has ended: {error!r}")
        with self._connection.lock:
            if error is not None:
                self._connection.session.fail(error)
            if self._inbox is not None:
                self._inbox.close()

    def _reopen(self, prepared: Prepared) -> None:
        """A session of its own in another I/O process, with a link for each place."""
        try:
            theirs = self._staff.renew_places()
        except BaseException:
            prepared.discard()
            raise
        try:
            self._connection.reopen(prepared, theirs)
        finally:
            for link in theirs:
                link.close()

    def _rejoin(self) -> None:
        """The room is joined again: the application and the workers go on with it."""
        self._connection.resume()
        self._staff.rejoin()
