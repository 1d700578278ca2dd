"""The pool: a room, an I/O process, and workers that run the user's processor.

Frames never pass through the application: lanes go straight between the I/O process and the
worker that a track belongs to. A supervision thread watches the children, tells events and
problems, and stops everything in order; the application's own threads are free to compute.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import threading
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from ringroom.errors import ClosedError, RingroomError
from ringroom.events import Event, Kind
from ringroom.faces import mending
from ringroom.faces.connection import (
    Connection,
    Prepared,
    Statistics,
    WorkerStatistics,
    configured,
)
from ringroom.faces.places import Places
from ringroom.faces.telling import Telling
from ringroom.option_checks import as_kinds, check_timeout
from ringroom.options import TransportConfig
from ringroom.pool_options import PoolOptions
from ringroom.processes import spawning
from ringroom.processes.hosts import REAP_SECONDS, Where
from ringroom.processes.supervision import crew, supervisor
from ringroom.processes.waiting import Deadline, shortest
from ringroom.processor import Processor, ProcessorLike, as_processor
from ringroom.providers.provider import ProviderSpec
from ringroom.sender import Sender
from ringroom.sessions.inbox import Inbox
from ringroom.system import interrupts_at_the_end, sigterm_raises

__all__ = ["Pool", "PoolOptions", "run"]

log = logging.getLogger("ringroom")


class Pool(Sender):
    """Runs a processor over a room; a context manager, whose end closes the pool at once: what
    waits is dropped, counted. `drain` before it finishes that.

    Options are those of the provider, of `SessionOptions` and of `PoolOptions`. All are checked
    here, before any process starts; what is wrong with them is `ConfigurationError`. The room is
    joined as the context is entered; that raises as `ringroom.transport` does. What ended the pool
    by itself is raised as the context is left normally, unless `wait` or a send has done so.
    """

    _noun = "pool"

    def __init__(
        self,
        processor: ProcessorLike,
        provider: str | ProviderSpec,
        config: TransportConfig | None = None,
        *,
        io: Where = "process",
        **options: Any,
    ) -> None:
        pool_names = PoolOptions.__dataclass_fields__
        own = {name: value for name, value in options.items() if name in pool_names}
        rest = {name: value for name, value in options.items() if name not in pool_names}
        self.options = PoolOptions(**own)
        made = as_processor(processor)
        rest["kinds"] = self._kinds(made, rest.get("kinds", made.kinds))
        if self.options.mode is not None:
            made = copy.copy(made)  # the caller's own stays as it is
            object.__setattr__(made, "mode", self.options.mode)  # its class may be a frozen one
        connection = Connection(
            provider,
            configured(provider, config, rest),
            io,
            readers=self.options.workers,
            route=self.options.route,
            beside=pool_names,
        )
        super().__init__(connection)
        self._telling = Telling(self.options, connection.machine.now_ns)
        self._places = Places(connection, self.options.workers)
        calls = crew.CrewCalls(
            seat=self._places.seat,
            settled=self._places.settled,
            progress=self._places.progress,
            problem=self._telling.problem,
            lost=self._telling.lost,
            replaced=self._telling.replaced,
        )
        self._crew = crew.Crew(connection.host, self._blob(made), self.options.care, calls)
        mending_calls = mending.MendingCalls(
            reopen=self._reopen,
            rejoin=self._rejoin,
            tell=self._telling.event,
            wake=lambda: connection.session.notify(),
        )
        self._mending = mending.Mending(
            connection, self.options.care, mending_calls, self.options.standby
        )
        self._started = False
        self._inbox: Inbox | None = None
        self._thread: threading.Thread | None = None
        self._machine = connection.machine
        self._changed = self._machine.condition()
        self._over = False
        self._failure: BaseException | None = None
        self._failure_raised = False
        self._stopping = False
        # The crew takes one caller at a time, and `close` may overtake `drain` from another thread.
        self._crew_lock = self._machine.lock()

    def _blob(self, processor: Processor) -> bytes:
        # Predicates are the I/O role's; a worker must not need what they refer to.
        session = replace(self._connection.options, participants=None, tracks=None)
        return spawning.pickle_by_value(
            "the processor", (processor, session), "do that in Processor.start"
        )

    def _kinds(self, processor: Processor, asked: Any) -> Any:
        """What is asked for, and events for who listens to them."""
        if self.options.on_event is None and not processor.wants_events:
            return asked
        return (*as_kinds(asked), Kind.EVENT)

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers' process numbers by place, for monitoring; empty when it does not run. Of a
        worker that has died it is the number that it had, until another is there."""
        return () if self._connection.closed or not self._started else tuple(self._crew.pids)

    @property
    def spares(self) -> int:
        """How many workers have started and wait for a place."""
        return 0 if self._connection.closed else self._crew.spares

    @property
    def is_over(self) -> bool:
        """Whether it has ended, so that `wait` returns or raises at once."""
        return self._over

    def stats(self) -> Statistics:
        """As `Transport.stats`, and what became of the workers."""
        return replace(super().stats(), workers=self._worker_statistics())

    def _worker_statistics(self) -> WorkerStatistics:
        told = self._telling
        past = WorkerStatistics(
            deaths=told.deaths, replaced=told.replacements, problems=told.problems.copy()
        )
        if self._connection.closed:
            return past
        crew = self._crew
        return replace(past, seated=crew.filled, vacant=crew.vacant, spares=crew.spares)

    def __enter__(self) -> Self:
        self._check_process()
        if self._connection.closed or self._started:
            raise ClosedError(f"{self._connection.spec.name}: a pool runs once; make another")
        self._started = True
        try:
            self._start_workers()
            self._connect_workers()
            self._thread = self._machine.start_thread("ringroom-pool", self._supervise)
        except BaseException:
            self.close()
            self._close_crew()  # who was begun behind the back of a signal handler that closed
            raise
        return self

    def _start_workers(self) -> None:
        self._connection.host.start()
        with self._crew_lock:
            self._check_unstopped()
            self._crew.start()
        while self._crew.failure is None and not self._crew.ready:
            # Never for ever: whoever closes meanwhile buries those that are waited for.
            self._turn(supervisor.STOP_GRACE)
            self._check_unstopped()
        if self._crew.failure is not None:
            raise self._crew.failure

    def _check_unstopped(self) -> None:
        if self._stopping:
            raise ClosedError(f"{self._connection.spec.name}: the pool was closed as it started")

    def _connect_workers(self) -> None:
        theirs = self._places.renew(set())
        try:
            self._connect(theirs)
            self._connection.session.outlive_links(mending.ended_with_interpreter)
            with self._crew_lock:
                self._crew.seat()
        finally:
            for link in theirs:
                link.close()
            self._places.close()
        if Kind.EVENT in self._connection.options.kinds:
            with self._connection.lock:
                self._inbox = self._connection.session.incoming.open_inbox((Kind.EVENT,), None)

    # When the I/O process has died.

    def _reopen(self, prepared: Prepared) -> None:
        """A session of its own in another I/O process, with a link for each place."""
        try:
            with self._crew_lock:
                self._check_unclosed()
                theirs = self._places.renew(self._crew.occupied)
        except BaseException:
            prepared.discard()
            raise
        try:
            self._connection.reopen(prepared, theirs)
        finally:
            for link in theirs:
                link.close()

    def _check_unclosed(self) -> None:
        if (
            self._connection.closed
        ):  # without waiting for this thread any longer: nobody would close the links
            raise ClosedError(f"{self._connection.spec.name}: the pool is closed")

    def _rejoin(self) -> None:
        """The room is joined again: the application and the workers go on with it."""
        self._connection.resume()
        with self._crew_lock:
            self._crew.rejoin(self._places.linked)
            self._places.settle_past()

    # The supervision thread.

    def _supervise(self) -> None:
        try:
            self._watch()
        except BaseException as error:  # also a callback that exits: who waits for the end does
            log.exception("the supervision of the pool failed")
            self._failure = self._failure or error
        finally:
            self._end_session()
            self._end()

    def _end_session(self) -> None:
        """Nobody tends the session any more: who sends is told, by what `wait` raises, and events
        have no reader, for whose sake a send after the room's end would be none."""
        error = self._failure
        if error is not None and not isinstance(error, RingroomError):
            error = ClosedError(f"the pool has ended: {error!r}")
        with self._connection.lock:
            if error is not None:
                self._connection.session.fail(error)
            if self._inbox is not None:
                self._inbox.close()

    def _end(self) -> None:
        """Whoever waits for the end need not wait any longer."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._connection.opened:
            self._notify()  # a task of an event loop waits for changes of the session

    def _watch(self) -> None:
        session = self._connection.session
        self._mending.begin()
        with self._connection.waiter() as waiter:
            while not self._stopping:
                if (final := mending.ended_with_interpreter()) is not None:
                    self._failure = self._failure or final
                    break
                with self._connection.lock:
                    session.pump()
                    ending = session.end
                self._tell_events()
                self._mending.turn()
                self._turn(0.0)
                self._failure = self._failure or self._crew.failure or self._mending.failure
                if ending is not None or self._failure is not None:
                    self._failure = self._failure or (ending.error if ending else None)
                    break
                with self._crew_lock:
                    fds, patience = [session.fileno(), *self._crew.fds], self._crew.patience()
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
                self._telling.tell_event(arrival.item)

    def _turn(self, seconds: float | None) -> None:
        """Hear what the children say within that time, and do what follows; then call back."""
        with self._crew_lock:
            fds, patience = self._crew.fds, self._crew.patience()
        ready = self._machine.wait(fds, shortest(seconds, patience))
        with self._crew_lock:
            self._crew.turn(ready)
        self._telling.tell_all()

    # The application's side.

    def wait(self, timeout: float | None = None) -> str:
        """Until the room ends; the reason. Raises what ended it otherwise (`LostProcessError`,
        `RoomError`), `TimeoutError` when the time is up and the pool goes on."""
        timeout = check_timeout(timeout)
        if not self._started and not self._connection.closed:
            raise ClosedError(f"{self._connection.spec.name}: the pool does not run; use `with`")
        with self._changed:
            if not self._changed.wait_for(lambda: self._over, timeout):
                raise TimeoutError(f"the room has not ended within {timeout} s")
        if self._failure is not None:
            self._failure_raised = True
            if not isinstance(self._failure, RingroomError):
                raise self._failure
            # A copy for each call: an error that is raised again and again keeps all its frames.
            raise copy.copy(self._failure)
        return self.ended or "closed"

    def drain(self) -> None:
        """Finish what waits, play out, and end the workers; then close. In the child of a fork it
        does nothing: they are the parent's. Raises `LostProcessError` as the interpreter ends: it
        kills them before it calls the `atexit` handlers that were registered early."""
        if self._forked:
            return
        killed = None if self._connection.closed else mending.ended_with_interpreter()
        self._stop_workers(self.options.drain_timeout)
        self.close()
        if killed is not None:
            raise killed

    def _stop_workers(self, drain: float) -> None:
        self._stopping = True
        if self._connection.opened:
            with self._connection.lock:
                self._connection.session.notify()
        if self._thread not in (None, threading.current_thread()):
            # It may be in a callback, which may wait for whoever is closing.
            self._thread.join(drain + supervisor.STOP_GRACE)
        with self._crew_lock:
            self._crew.stop(drain)
        limit = Deadline(
            self._machine, drain + 4 * supervisor.STOP_GRACE, "the workers did not end"
        )
        while not self._crew.over and limit.remaining():
            if self._connection.opened:
                with self._connection.lock:
                    self._connection.session.pump()
            self._turn(0.05)

    def close(self) -> None:
        """Idempotent, with a deadline: what was not processed is dropped, counted. Whoever calls it
        meanwhile waits for the same, but for a callback, for which that may be waiting."""
        if self._forked:
            return
        patience = self._closing_seconds + REAP_SECONDS + 5 * supervisor.STOP_GRACE
        called_back = threading.current_thread() is self._thread
        self._closing.run(self._shut, 0.0 if called_back else patience)

    def _shut(self) -> None:
        try:
            self._stop_workers(0.0)
        finally:  # who does not want to wait any longer (Ctrl-C) leaves nothing behind either
            self._free()

    def _free(self) -> None:
        self._connection.closed = True
        with contextlib.ExitStack() as steps:  # each is done, whatever becomes of those before it
            steps.callback(self._end)
            steps.callback(self._close_connection)
            if self._connection.opened:
                steps.callback(self._leave)
            steps.callback(self._mending.close)
            steps.callback(self._close_crew)

    def _close_crew(self) -> None:
        # All are killed, and the lock is held for moments only: whoever cannot wait gets the rest.
        with interrupts_at_the_end(), self._crew_lock:
            try:
                self._crew.close()
            finally:
                self._places.close()

    def _close_connection(self) -> None:
        if self._connection.opened:
            self._connection.close()
        else:
            self._connection.close_host()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        raised = self._failure_raised or (
            self._connection.opened and self._connection.session.error_raised
        )
        if exc_type is None and self._failure is not None and not (raised or self._forked):
            self.wait()  # raises it

    def _left_open(self) -> str:
        is_open = getattr(self, "_started", False) and not self._connection.closed
        return "pool" if is_open and not self._forked else ""

    def _close_forgotten(self) -> None:
        self.close()


def run(
    processor: ProcessorLike,
    provider: str | ProviderSpec,
    config: TransportConfig | None = None,
    *,
    io: Where = "process",
    **options: Any,
) -> Statistics:
    """Run a processor over a room until the room ends, or Ctrl-C, or SIGTERM; then finish what
    waits and leave. The counts of it all.

    Raises as `Pool` and `Pool.wait` do. A second Ctrl-C does not wait; a second SIGTERM changes
    nothing.
    """
    pool = Pool(processor, provider, config, io=io, **options)
    with sigterm_raises(KeyboardInterrupt), contextlib.ExitStack() as leaving:
        with contextlib.suppress(KeyboardInterrupt):  # also while the workers start
            leaving.enter_context(pool)
            pool.wait()
        pool.drain()
    return pool.stats()
