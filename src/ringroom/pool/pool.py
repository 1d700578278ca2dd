"""The pool as the application has it, and the thread that supervises it.

Frames never pass through the application: lanes go straight between the I/O process and the
worker that a track belongs to. A supervision thread watches the children, tells events and
problems, and stops everything in order; the application's own threads are free to compute.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from ringroom.errors import ClosedError, RingroomError
from ringroom.events import Kind
from ringroom.faces.connection import Connection, Statistics, configured
from ringroom.faces.mending import ended_with_interpreter
from ringroom.option_checks import as_kinds, check_timeout
from ringroom.options import TransportConfig
from ringroom.pool.options import PoolOptions
from ringroom.pool.staff import Staff
from ringroom.pool.watch import Watch
from ringroom.processes import spawning
from ringroom.processes.hosts import REAP_SECONDS, Where
from ringroom.processes.supervision import supervisor
from ringroom.processes.waiting import Deadline
from ringroom.processor import Processor, ProcessorLike, as_processor
from ringroom.providers.provider import ProviderSpec
from ringroom.sender import Sender
from ringroom.system import sigterm_raises

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
        self._staff = Staff(connection, self.options, self._blob(made))
        self._watch = Watch(connection, self._staff, self.options)
        self._started = False
        self._failure_raised = False

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
        return () if self._connection.closed or not self._started else self._staff.pids

    @property
    def spares(self) -> int:
        """How many workers have started and wait for a place."""
        return 0 if self._connection.closed else self._staff.spares

    @property
    def is_over(self) -> bool:
        """Whether the pool has ended, so that `wait` returns or raises at once."""
        return self._watch.is_over

    def stats(self) -> Statistics:
        """As `Transport.stats`, and what became of the workers."""
        return replace(super().stats(), workers=self._staff.statistics())

    def __enter__(self) -> Self:
        self._check_process()
        if self._connection.closed or self._started:
            raise ClosedError(f"{self._connection.spec.name}: a pool runs once; make another")
        self._started = True
        try:
            self._start_workers()
            self._connect_workers()
            self._watch.start(self)
        except BaseException:
            self.close()
            self._staff.close()  # a signal handler may have closed it, and workers begun later
            raise
        return self

    def _start_workers(self) -> None:
        self._connection.host.start()
        self._staff.start()
        while self._staff.failure is None and not self._staff.ready:
            self._check_unstopped()
            # Not for ever: another thread that closes the pool buries the workers that are awaited.
            self._staff.turn(supervisor.STOP_GRACE)
        self._check_unstopped()
        if self._staff.failure is not None:
            raise self._staff.failure

    def _check_unstopped(self) -> None:
        if self._watch.stopping:
            raise ClosedError(f"{self._connection.spec.name}: the pool was closed as it started")

    def _connect_workers(self) -> None:
        theirs = self._staff.renew_places()
        try:
            self._connect(theirs)
            self._connection.session.outlive_links(ended_with_interpreter)
            self._staff.seat()
        finally:
            for link in theirs:
                link.close()
        self._watch.listen()

    def wait(self, timeout: float | None = None) -> str:
        """Wait until the room ends. Returns the reason. Raises what has ended the pool otherwise
        (`LostProcessError`, `RoomError`), and `TimeoutError` when the time is up and the pool goes
        on."""
        timeout = check_timeout(timeout)
        if not self._started and not self._connection.closed:
            raise ClosedError(f"{self._connection.spec.name}: the pool does not run; use `with`")
        if not self._watch.wait(timeout):
            raise TimeoutError(f"the room has not ended within {timeout} s")
        failure = self._watch.failure
        if failure is not None:
            self._failure_raised = True
            # A copy for each call: an error that is raised again and again keeps all its frames.
            raise copy.copy(failure) if isinstance(failure, RingroomError) else failure
        return self.ended or "closed"

    def drain(self) -> None:
        """Finish what waits, play out, and end the workers; then close. In the child of a fork it
        does nothing: they are the parent's. Raises `LostProcessError` as the interpreter ends: it
        kills them before it calls the `atexit` handlers that were registered early."""
        if self._forked:
            return
        killed = None if self._connection.closed else ended_with_interpreter()
        self._stop_workers(self.options.drain_timeout)
        self.close()
        if killed is not None:
            raise killed

    def _stop_workers(self, drain: float) -> None:
        self._watch.stop()
        if self._connection.opened:
            self._notify()
        self._watch.join(drain + supervisor.STOP_GRACE)
        self._staff.stop(drain)
        limit = Deadline(
            self._connection.machine, drain + 4 * supervisor.STOP_GRACE, "the workers did not end"
        )
        while not self._staff.over and limit.remaining():
            if self._connection.opened:
                with self._connection.lock:
                    self._connection.session.pump()
            self._staff.turn(0.05)

    def close(self) -> None:
        """Idempotent, with a deadline: what was not processed is dropped, counted. A second call
        meanwhile waits until the first has closed it, except in a callback: the first may be
        waiting for that callback."""
        if self._forked:
            return
        patience = self._closing_seconds + REAP_SECONDS + 5 * supervisor.STOP_GRACE
        self._closing.run(self._shut, 0.0 if self._watch.is_here else patience)

    def _shut(self) -> None:
        try:
            self._stop_workers(0.0)
        finally:  # who does not want to wait any longer (Ctrl-C) leaves nothing behind either
            self._free()

    def _free(self) -> None:
        self._connection.closed = True
        with contextlib.ExitStack() as steps:  # each is done, whatever becomes of those before it
            steps.callback(self._watch.end)
            steps.callback(self._close_connection)
            if self._connection.opened:
                steps.callback(self._leave)
            steps.callback(self._watch.close)
            steps.callback(self._staff.close)

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
        if exc_type is None and self._watch.failure is not None and not (raised or self._forked):
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
