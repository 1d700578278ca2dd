"""The pool: a room, an I/O process, and workers that run the user's processor.

Frames never pass through the application: lanes go straight between the I/O process and the
worker that a track belongs to. A supervision thread watches the children, tells events and
problems, and stops everything in order; the application's own threads are free to compute.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import FrameType, TracebackType
from typing import Any, Self, get_args

from ringroom import messages as m
from ringroom.client import Sender
from ringroom.connection import Connection, Statistics, configured, rows_for
from ringroom.errors import ClosedError, ConfigurationError, LostProcessError, StartupError
from ringroom.frames import Event, Kind
from ringroom.inbox import Inbox
from ringroom.link import Link, open_links
from ringroom.options import Mode, Route, TransportConfig
from ringroom.processes.children import Child, Where
from ringroom.processes.spawning import pickle_by_value, reap
from ringroom.processes.supervision import Action, Happening, State, WorkerLife
from ringroom.processor import Problem, Processor, ProcessorLike, as_processor
from ringroom.providers.provider import ProviderSpec
from ringroom.waiting import Deadline, Waiter

__all__ = ["Pool", "PoolOptions", "run"]

log = logging.getLogger("ringroom")
# Seconds that a worker has for ending once it was told to, beside what it may drain.
STOP_GRACE = 2.0


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """How a pool runs its workers."""

    workers: int = 2
    route: Route = "participant"
    """Which tracks share a worker: all of one ``participant``, or each ``track`` on its own."""
    mode: Mode | None = None
    """How replies are published; None: as the processor says."""
    start_timeout: float = 60.0
    """Seconds that `Processor.start` may take (it loads models)."""
    drain_timeout: float = 5.0
    """Seconds for finishing what waits, when the pool stops in good order."""
    on_event: Callable[[Event], None] | None = None
    on_error: Callable[[Problem], None] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.workers, bool) or not isinstance(self.workers, int):
            raise ConfigurationError(f"workers is {self.workers!r}, expected a whole number")
        if not 1 <= self.workers <= 256:
            raise ConfigurationError(f"workers is {self.workers}, expected 1 to 256")
        if self.route not in get_args(Route):
            raise ConfigurationError(f"route is {self.route!r}, expected 'participant' or 'track'")
        if self.mode not in (None, *get_args(Mode)):
            raise ConfigurationError(f"mode is {self.mode!r}, expected 'speech' or 'live'")
        for name in ("start_timeout", "drain_timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ConfigurationError(f"{name} is {value!r}, expected seconds")
        for name in ("on_event", "on_error"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise ConfigurationError(f"{name} is not callable")


@dataclass(slots=True, eq=False)
class _Child:
    """A worker as the pool sees it."""

    place: int
    process: Child
    control: Link
    life: WorkerLife
    error: str = ""


class Pool(Sender):
    """Runs a processor over a room; a context manager.

    Options are those of the provider, of `SessionOptions` and of `PoolOptions`. All are checked
    here, before any process starts.
    """

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
            made.__dict__["mode"] = self.options.mode
        connection = Connection(
            provider,
            configured(provider, config, rest),
            io,
            readers=self.options.workers,
            route=self.options.route,
        )
        super().__init__(connection)
        # The predicate is the I/O role's; a worker must not need what it refers to.
        session = replace(connection.options, participants=None)
        self._blob = pickle_by_value("the processor", (made, session))
        self._children: list[_Child] = []
        self._inbox: Inbox | None = None
        self._thread: threading.Thread | None = None
        self._machine = connection.machine
        self._changed = self._machine.condition()
        self._over = False
        self._failure: Exception | None = None
        self._stopping = False
        self._drain = 0.0
        self._closing = threading.Lock()
        # A link takes one caller at a time, and `close` may overtake `drain` from another thread.
        self._controls = self._machine.lock()

    def _kinds(self, processor: Processor, asked: Any) -> Any:
        """What is asked for, and events for who listens to them; wrong ones are refused later."""
        if self.options.on_event is None and not processor.wants_events:
            return asked
        return (
            (*asked, Kind.EVENT) if isinstance(asked, Sequence) and asked != str(asked) else asked
        )

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers' process numbers by place, for monitoring; empty when it does not run."""
        return () if self._closed else tuple(child.process.pid or 0 for child in self._children)

    def __enter__(self) -> Self:
        if self._closed or self._children:
            raise ClosedError(f"{self._connection.spec.name}: a pool runs once; make another")
        try:
            self._start_workers()
            self._connect_workers()
        except BaseException:
            self.close()
            raise
        self._thread = self._machine.start_thread("ringroom-pool", self._supervise)
        return self

    def _start_workers(self) -> None:
        self._connection.host.start()
        for place in range(self.options.workers):
            ours, theirs = open_links()
            try:
                process = self._connection.host.start_worker(place, theirs, self._blob)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
            self._children.append(_Child(place, process, ours, WorkerLife()))
        limit = Deadline(self._machine, self.options.start_timeout, "the workers did not start")
        while any(child.life.state == "starting" for child in self._children):
            self._watch_children(limit.remaining())
            if self._failure is not None:
                raise self._failure
            if limit.remaining() == 0.0:
                raise StartupError(
                    f"Processor.start took longer than start_timeout={self.options.start_timeout} s"
                )

    def _connect_workers(self) -> None:
        links = [open_links() for _ in self._children]
        try:
            self._connect([theirs for _, theirs in links])
            for child, (ours, _) in zip(self._children, links, strict=True):
                self._begin(child, ours)
        finally:
            for ours, theirs in links:
                ours.close()
                theirs.close()
        if Kind.EVENT in self._connection.options.kinds:
            with self._connection.lock:
                self._inbox = self._connection.session.open_inbox((Kind.EVENT,), None)

    def _begin(self, child: _Child, link: Link) -> None:
        first, count = rows_for(child.place, self.options.workers)
        if Action.SEND_START in child.life.on(Happening.BEGIN):
            message = m.Start(place=child.place, rows_first=first, rows_count=count)
            child.control.send(message, (link.fileno(), self._connection.table.fd))

    # The supervision thread.

    def _supervise(self) -> None:
        try:
            self._watch()
        except Exception as error:
            log.exception("the supervision of the pool failed")
            self._failure = self._failure or error
        finally:
            self._end()

    def _end(self) -> None:
        """Whoever waits for the end need not wait any longer."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _watch(self) -> None:
        session = self._connection.session
        with Waiter(self._connection) as waiter:
            while not self._stopping:
                with self._connection.lock:
                    session.pump()
                    ending = session.ending
                self._tell_events()
                self._watch_children(0)
                if ending is not None or self._failure is not None:
                    self._failure = self._failure or (ending.error if ending else None)
                    break
                fds = [session.fileno()]
                fds += [child.control.fileno() for child in self._children]
                if self._inbox is not None:
                    fds.append(self._inbox.fileno())
                waiter.wait(fds, None)

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
            if self.options.on_event is not None and isinstance(arrival.item, Event):
                self._call_back(self.options.on_event, arrival.item)

    @staticmethod
    def _call_back(function: Callable[[Any], None], value: object) -> None:
        try:
            function(value)
        except Exception:
            log.exception("a callback of the pool raised")

    def _watch_children(self, seconds: float | None) -> None:
        with self._controls:
            children = {c.control.fileno(): c for c in self._children if not c.control.closed}
        for fd in self._machine.wait(children, seconds):
            self._hear(children[fd])

    def _hear(self, child: _Child) -> None:
        with self._controls:
            try:
                while (received := child.control.receive_nowait()) is not None:
                    self._on_message(child, received[0])
            except ClosedError:
                child.control.close()
                self._apply(child, Happening.EXITED)

    def _on_message(self, child: _Child, message: m.Message) -> None:
        match message:
            case m.WorkerReady():
                self._apply(child, Happening.READY)
            case m.WorkerFailed(error=error):
                child.error = error
                self._apply(child, Happening.FAILED)
            case m.WorkerDone():
                self._apply(child, Happening.STOP)
            case m.Problem():
                self._on_problem(message)

    def _on_problem(self, message: m.Problem) -> None:
        if message.count == 1:
            log.error(
                "worker %s: %s failed (said once, counted from now on)\n%s",
                message.place,
                message.where,
                message.traceback or message.summary,
            )
        if self.options.on_error is not None:
            problem = Problem(
                worker=message.place,
                where=message.where,
                summary=message.summary,
                traceback=message.traceback,
                count=message.count,
            )
            self._call_back(self.options.on_error, problem)

    def _apply(self, child: _Child, happening: Happening) -> None:
        for action in child.life.on(happening):
            if action is Action.FAIL_POOL and self._failure is None:
                self._failure = self._why(child)
            elif action is Action.SEND_STOP:
                self._send_stop(child)

    def _send_stop(self, child: _Child) -> None:
        with contextlib.suppress(ClosedError):
            child.control.send(m.Stop(drain=self._drain))

    def _why(self, child: _Child) -> Exception:
        if child.error:
            return StartupError(f"worker {child.place} did not start:\n{child.error}")
        child.process.join(1.0)
        code = child.process.exitcode
        how = (
            f"was killed by signal {-code}" if code is not None and code < 0 else f"exited ({code})"
        )
        return LostProcessError(f"worker {child.place} {how}; its standard error tells more")

    # The application's side.

    def wait(self, timeout: float | None = None) -> str:
        """Until the room ends; the reason. Raises what ended it otherwise (`LostProcessError`,
        `RoomError`), `TimeoutError` when the time is up and the pool goes on."""
        if not self._children and not self._closed:
            raise ClosedError(f"{self._connection.spec.name}: the pool does not run; use `with`")
        with self._changed:
            if not self._changed.wait_for(lambda: self._over, timeout):
                raise TimeoutError(f"the room has not ended within {timeout} s")
        if self._failure is not None:
            raise self._failure
        return self.ended or "closed"

    def drain(self) -> None:
        """Finish what waits, play out, and end the workers; then close."""
        self._stop_workers(self.options.drain_timeout)
        self.close()

    def _stop_workers(self, drain: float) -> None:
        self._stopping, self._drain = True, drain
        if self._opened:
            with self._connection.lock:
                self._connection.session.notify()
        if self._thread not in (None, threading.current_thread()):
            self._thread.join()
        with self._controls:
            for child in self._children:
                if child.life.state is State.STOPPING:
                    self._send_stop(child)  # sooner than it was told before
                self._apply(child, Happening.STOP)
        limit = Deadline(self._machine, drain + STOP_GRACE, "the workers did not end")
        while any(not c.control.closed for c in self._children) and limit.remaining():
            if self._opened:
                with self._connection.lock:
                    self._connection.session.pump()
            self._watch_children(min(0.05, limit.remaining() or 0.0))

    def close(self) -> None:
        """Idempotent, with a deadline: what was not processed is dropped, counted."""
        if self._closed or not self._closing.acquire(blocking=False):
            return
        self._stop_workers(0.0)
        self._closed = True
        with self._controls:
            for child in self._children:
                child.control.close()
        for child in self._children:
            reap(child.process, 1.0)
        try:
            if self._opened:
                self._leave()
        finally:
            if self._inbox is not None:
                self._inbox.close()
            if self._opened:
                self._connection.close()
            else:
                self._connection.close_host()
            self._end()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_children", None) and not self._closed:
            try:
                self.close()
            finally:
                # Last: where warnings are errors, nothing comes after it.
                warnings.warn("pool never closed", ResourceWarning, 2)


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

    Raises as `Pool` and `Pool.wait` do. A second Ctrl-C does not wait.
    """
    pool = Pool(processor, provider, config, io=io, **options)
    with _interrupted_by_sigterm(), pool:
        with contextlib.suppress(KeyboardInterrupt):
            pool.wait()
        pool.drain()
    return pool.stats()


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM as Ctrl-C, where signals can be handled at all (the main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        # None: it was set by other means than Python's.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
