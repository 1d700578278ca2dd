"""Where the I/O role runs: in a process of its own, or on a thread; and what starts the workers.

A host owns the control link; closing it ends the role.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Literal, Self

from ringroom import messages as m
from ringroom.checks import shown
from ringroom.closeable import Closeable, join_unless_within
from ringroom.errors import ClosedError, ConfigurationError, LostProcessError
from ringroom.link import Link, open_links
from ringroom.option_checks import check_whole
from ringroom.processes import footprint
from ringroom.processes.children import Child, WorkerProcess
from ringroom.processes.machine import MACHINE, Machine
from ringroom.processes.spawned import REAPED_ELSEWHERE, Spawned
from ringroom.processes.spawning import (
    KILLED_SECONDS,
    Inherited,
    reap,
    spawn,
)
from ringroom.processes.worker_voice import MEMORY_HINT, REAPED_HINT
from ringroom.system import (
    hold_standard_descriptors,
    interrupts_at_the_end,
    raise_descriptor_limit,
    require_platform,
)

log = logging.getLogger("ringroom")

CLOSE_SECONDS = 10.0
# The longest that `reap` takes with that deadline: the wait, then the kill.
REAP_SECONDS = CLOSE_SECONDS + KILLED_SECONDS
# The links of a dying process end one after the other, and a moment before it can be reaped. The
# first limits the wait for the control link's end, so it is all that a living process costs.
HANGUP_SECONDS, DEATH_SECONDS = 0.05, 0.5
# An I/O process with the SDK in it takes more.
MIN_MEMORY = 64 << 20


class IOHost(Closeable):
    """Something that runs the I/O role, and starts the workers that belong to it. Several
    transports may share one."""

    replaces_dead = False
    """Whether `start` replaces a role that has died."""

    def __init__(self, clock: Callable[[], int] | None = None, machine: Machine = MACHINE) -> None:
        require_platform()
        hold_standard_descriptors()
        raise_descriptor_limit()
        self.machine = machine
        """What the application waits with."""
        self.clock = clock or machine.now_ns
        """What stamps arrivals and tells ages, in nanoseconds."""
        self._control: Link | None = None
        self._lock = threading.RLock()  # a signal handler may close what it has interrupted
        self._closed = False
        self._pid = os.getpid()

    @property
    def pid(self) -> int | None:
        """The process's number, for monitoring; None when it does not run, or is a thread."""
        return None

    def how_it_died(self) -> str:
        """How the role died, for a message, with a space in front; empty if that is unknown."""
        return ""

    @abstractmethod
    def _start(self, control: Link) -> None:
        """Run the role at the other end of the control link, which it takes over."""

    @abstractmethod
    def _join(self) -> None:
        """Wait for the end of the role, whose control link is closed."""

    def start(self) -> Self:
        """Start the role, if it does not run or has died. Raises `ClosedError` after `close`, and
        in a fork of the process that has made the host."""
        self._check_here()
        with self._lock:
            self._check_unclosed()
            if self._control is not None and self._is_dead(0.0):
                self._end()
            if self._control is None:
                self._control = self._take_standby()
            if self._control is None:
                with interrupts_at_the_end():  # so that what runs is known
                    self._control = self._begin()
            if self._closed:  # by a signal handler, as the role started
                self._end()
            self._check_unclosed()
        return self

    def _begin(self) -> Link:
        ours, theirs = open_links()
        try:
            self._start(theirs)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        return ours

    def _check_here(self) -> None:
        """Before the lock is taken, which a thread of the parent may hold for ever in a fork."""
        if os.getpid() != self._pid:
            raise ClosedError(
                f"this {type(self).__name__} was made in another process, and a fork does not take "
                "it along; open one here"
            )

    def _check_unclosed(self) -> None:
        if self._closed:
            raise ClosedError(f"the {type(self).__name__} is closed")

    def _end(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            control.close()
            self._join()

    def _take_standby(self) -> Link | None:
        """The control link of a standby that runs already, if there is one."""
        return None

    def _is_dead(self, patience: float) -> bool:
        """Whether the role has died; ``patience`` is how long its links may take to end."""
        return False

    def start_worker(self, number: int, control: Link, blob: bytes) -> Child:
        """Start a worker in a process of its own, which gets a copy of its end of the control link.
        ``number`` is for its name: its place is not known yet. Raises `StartupError`."""
        return WorkerProcess(number, control, blob)

    def keep_standby(self, preload: str) -> bool:
        """Keep another role ready for the death of this one, with that module imported. A standby
        that has died is replaced. Returns whether there is one. Raises `StartupError`, and
        `ClosedError` in a fork."""
        return False

    def open_session(self) -> Link:
        """A link to a new session. Raises `LostProcessError` when the role has died, and
        `ClosedError` as `start` does."""
        self.start()
        ours, theirs = open_links()
        try:
            with self._lock:
                self._ask_for_session(theirs)
        except ClosedError as error:
            ours.close()
            how = self.how_it_died()
            raise LostProcessError(f"the I/O process is gone{how}: {error}") from None
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def _ask_for_session(self, link: Link) -> None:
        if self._control is None:
            raise ClosedError("it was closed")
        try:
            self._control.send(m.NewSession(), (link.fileno(),))
        except ClosedError:
            self._control.close()  # drops what it could not send
            raise

    def close(self) -> None:
        """Idempotent: end all its sessions, then the role, within a deadline. In the child of a
        fork it does nothing: the role is the parent's."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            control, self._control = self._control, None
            self._closed = True
        if control is not None:
            control.close()
            self._join()

    def __enter__(self) -> Self:
        return self.start()

    def _left_open(self) -> str:
        runs = getattr(self, "_control", None) is not None and os.getpid() == self._pid
        return type(self).__name__ if runs else ""


class IOProcess(IOHost):
    """A process that only does I/O: whatever the application computes, media keeps flowing.

    ``transport(..., io=IOProcess())`` shares it between transports; as a context manager it
    closes at the end.

    ``max_memory`` is how many bytes of memory of its own it may take (at least 64 MiB; by default
    half of what the machine or the container has, and 256 MiB at least). A process that takes more
    is replaced, as if it had died: what others send can make the SDK grow. Linux only.

    Raises `ConfigurationError`.
    """

    replaces_dead = True

    def __init__(self, *, max_memory: int | None = None) -> None:
        super().__init__()
        if max_memory is None:
            max_memory = footprint.default_limit()
        else:
            check_whole("max_memory", max_memory, MIN_MEMORY, 1 << 60)
        self._max_memory = max_memory
        self._process: Spawned | None = None
        self._death = ""
        """How the last process died."""
        self._standby: tuple[Spawned, Link] | None = None

    @property
    def pid(self) -> int | None:
        """The process's number, for monitoring; None when it does not run."""
        return None if self._process is None else self._process.pid

    def _start(self, control: Link) -> None:
        self._process = self._spawn(control, "")
        control.close()

    def _spawn(self, control: Link, preload: str) -> Spawned:
        from ringroom.processes import entry

        limits = self._max_memory, log.getEffectiveLevel()
        return spawn("ringroom-io", entry.io_process, Inherited(control.fileno()), preload, *limits)

    def _join(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            reap(process, CLOSE_SECONDS)

    def how_it_died(self) -> str:
        with self._lock:  # another thread may be replacing it
            self._is_dead(HANGUP_SECONDS)
            return self._death

    def _is_dead(self, patience: float) -> bool:
        process = self._process
        if process is None:
            return False
        if process.exitcode is None and _has_hung_up(self._control, patience):
            process.join(DEATH_SECONDS)
        code = process.exitcode
        if code is None:
            return False
        self._death = f" ({self._describe(code)})"
        return True

    def _describe(self, code: int) -> str:
        if code == footprint.TOO_LARGE:
            return f"it took more memory than max_memory, {self._max_memory >> 20} MiB"
        if code == -signal.SIGKILL:
            return f"killed by signal {-code}, {MEMORY_HINT}"
        if code == REAPED_ELSEWHERE:
            return f"{REAPED_HINT}; its standard error tells why"
        how = f"killed by signal {-code}" if code < 0 else f"exited with {code}"
        return f"{how}; its standard error tells why"

    def keep_standby(self, preload: str) -> bool:
        self._check_here()
        with self._lock:
            if self._closed or self._living_standby() is not None:
                return not self._closed
            ours, theirs = open_links()
            try:
                self._standby = (self._spawn(theirs, preload), ours)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
            return True

    @property
    def standby_pid(self) -> int | None:
        """The process that waits for the death of this one; None when there is none."""
        with self._lock:
            return None if self._standby is None else self._standby[0].pid

    def _living_standby(self) -> tuple[Spawned, Link] | None:
        """The standby. One that has died is cleared away."""
        if self._standby is not None and self._standby[0].exitcode is not None:
            process, control = self._standby
            self._standby = None
            control.close()
            process.close()
        return self._standby

    def _take_standby(self) -> Link | None:
        standby, self._standby = self._living_standby(), None
        if standby is None:
            return None
        self._process, control = standby
        return control

    def close(self) -> None:
        """Idempotent: end all its sessions, then the role, within a deadline. In the child of a
        fork it does nothing: the processes are the parent's."""
        if os.getpid() != self._pid:
            return
        try:
            super().close()
        finally:
            standby, self._standby = self._standby, None
            if standby is not None:
                standby[1].close()
                standby[0].kill()  # it may still be importing, and has nothing to finish
                reap(standby[0], CLOSE_SECONDS)


class IOThread(IOHost):
    """The I/O role on a thread: starts at once, shares the interpreter. For unit tests, which may
    set its ``clock``, or its ``machine`` (no other process shares it)."""

    def __init__(self, clock: Callable[[], int] | None = None, machine: Machine = MACHINE) -> None:
        super().__init__(clock, machine)
        self._thread: threading.Thread | None = None

    def _start(self, control: Link) -> None:
        from ringroom.processes.io.serving import serve

        # The thread must not refer to the host: a forgotten one is to be collected, and to warn.
        clock, machine = self.clock, self.machine
        self._thread = machine.start_thread(
            "ringroom-io", lambda: machine.run(serve(control, clock))
        )

    def _join(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            join_unless_within(thread, CLOSE_SECONDS)


def _has_hung_up(control: Link | None, patience: float) -> bool:
    if control is None or control.closed:
        return True
    poller = select.poll()
    poller.register(control.fileno(), 0)  # a hang-up is reported in any case
    return bool(poller.poll(patience * 1000))


Where = Literal["process", "thread"] | IOHost


def choose_host(where: Where) -> tuple[IOHost, bool]:
    """The host, and whether it is ours to close."""
    if isinstance(where, IOHost):
        return where, False
    if isinstance(where, str) and where == "process":
        return IOProcess(), True
    if isinstance(where, str) and where == "thread":
        return IOThread(), True
    raise ConfigurationError(
        f"io is {shown(where)}, expected 'process', 'thread' or an IOProcess{_own_host(where)}"
    )


def _own_host(given: object) -> str:
    """What to do with something that has a host, as a virtual clock has, for a message."""
    return "; hand over its `io`" if isinstance(getattr(given, "io", None), IOHost) else ""
