"""Faults of processes on command: frozen, killed, without memory, segments or descriptors.

What lasts is a ``with`` block that restores everything at its end, also when the block raises.
A process is named by its number, or by anything with a ``pid``: ``pool.pids[0]``,
``transport.io_pid``, an `IOProcess`, a `subprocess.Popen`. The faults of the room are
`FakeRoom.faults`.

They work on processes of the same user. Those that set a limit, or look whether a signal has
taken effect, need Linux.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, Protocol, TypeAlias

from ringroom import system
from ringroom.client import Transport
from ringroom.errors import ConfigurationError
from ringroom.lanes import memory
from ringroom.pool import Pool
from ringroom.processes import hosts
from ringroom.sessions.inbox import InboundLane, Inbox
from ringroom.testing.floor import DeadlinePassed

__all__ = [
    "descriptors_exhausted",
    "frozen",
    "killed",
    "killed_in_the_middle_of_a_frame",
    "not_reading",
    "out_of_memory",
    "segments_refused",
]

PATIENCE = 5.0
# A process that was killed dies when the kernel comes to it, on a machine that is busy.
DEATH_PATIENCE = 30.0
_LOOK_SECONDS = 0.001
_ZOMBIE = "ZX"
_STOPPED = "Tt" + _ZOMBIE


class HasPid(Protocol):
    """Anything that knows its process number."""

    @property
    def pid(self) -> int | None: ...


Process: TypeAlias = int | HasPid | None


@contextlib.contextmanager
def frozen(process: Process) -> Iterator[None]:
    """The process stands still (SIGSTOP), as on a machine that swaps or a laptop that sleeps."""
    pid = _pid(process)
    _stop(pid)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def killed(process: Process, number: int = signal.SIGKILL) -> None:
    """The process dies of that signal (SIGKILL is what the kernel sends when memory is short;
    ringroom's processes ignore SIGINT and SIGTERM). Returns when it is dead.

    Raises `DeadlinePassed` if it does not die of it.
    """
    pid = _pid(process)
    os.kill(pid, number)
    _until(lambda: _is_dead(pid), f"the death of process {pid}", DEATH_PATIENCE)


def killed_in_the_middle_of_a_frame(pool: Pool, place: int = 0, timeout: float = PATIENCE) -> None:
    """A worker of the pool dies while it processes a frame: taken, and not done.

    It needs media that comes, and happens the sooner the longer the processor takes for a frame.
    Raises `DeadlinePassed` when the worker was never met in the middle of one.
    """
    pid = pool.pids[place]

    def met() -> bool:
        if not _is_within_a_frame(pool, place):
            return False
        with frozen(pid):
            # What is seen stays true only while the worker stands still.
            if not _is_within_a_frame(pool, place):
                return False
            os.kill(pid, signal.SIGKILL)
        return True

    _until(met, f"worker {place} to be in the middle of a frame", timeout)
    _until(lambda: _is_dead(pid), f"the death of worker {place}", DEATH_PATIENCE)


@contextlib.contextmanager
def out_of_memory(process: Process, spare: int = 16 << 20) -> Iterator[None]:
    """The process gets no more memory than it has and ``spare`` bytes: `MemoryError` in Python,
    refusal of maps and threads in native code."""
    pid = _pid(process)
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    with _limited(pid, resource.RLIMIT_AS, pages * resource.getpagesize() + spare):
        yield


@contextlib.contextmanager
def segments_refused(process: Process = None) -> Iterator[None]:
    """No new shared memory in that process (None: this one): no new lane, transport or
    worker."""
    if process is not None:
        # The kernel refuses to make files larger, anonymous ones too.
        with _limited(_pid(process), resource.RLIMIT_FSIZE, 0):
            yield
        return

    # This process goes on writing to its files: what makes segments is replaced.
    def refuse() -> NoReturn:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    before = memory._memfd, memory._unlinked_file
    memory._memfd = memory._unlinked_file = refuse
    try:
        yield
    finally:
        memory._memfd, memory._unlinked_file = before


@contextlib.contextmanager
def descriptors_exhausted(process: Process = None) -> Iterator[None]:
    """No new descriptor in that process (None: this one): no file, socket, lane or counter. The
    descriptors that it has work on; the number of one that is closed meanwhile may be used again.
    """
    pid = os.getpid() if process is None else _pid(process)
    lift = system.raise_descriptor_limit
    with _limited(pid, resource.RLIMIT_NOFILE, _first_free(pid)):
        # A transport that is opened would lift the limit again.
        vars(hosts)["raise_descriptor_limit"] = lambda: None
        try:
            yield
        finally:
            vars(hosts)["raise_descriptor_limit"] = lift


@contextlib.contextmanager
def not_reading(transport: Transport) -> Iterator[None]:
    """The application does not read: the transport's receivers find nothing, what comes waits and
    ages. At the end they go on with what is still young enough.

    It concerns the receivers that are open at its beginning.
    """
    connection = transport._connection
    held: list[tuple[Inbox, InboundLane]] = []
    with connection.lock:
        inboxes = list(connection.session.incoming.inboxes)
        for inbox in inboxes:
            for lane in list(inbox._lanes.values()):
                inbox.hold(lane)
                held.append((inbox, lane))

            def keep(lane: InboundLane, inbox: Inbox = inbox) -> None:
                held.append((inbox, lane))

            inbox.__dict__["add"] = keep
    try:
        yield
    finally:
        with connection.lock:
            for inbox in inboxes:
                del inbox.__dict__["add"]
            for inbox, lane in held:
                if not inbox.closed:
                    inbox.release(lane)


def _pid(process: Process) -> int:
    pid = process if isinstance(process, int) else getattr(process, "pid", None)
    if not isinstance(pid, int) or pid <= 0:
        raise ConfigurationError(
            f"no process: {process!r} (with io='thread' the connection has no process of its own)"
        )
    return pid


def _stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        _until(lambda: _state(pid) in _STOPPED, f"process {pid} to stand still")
    except BaseException:
        os.kill(pid, signal.SIGCONT)
        raise


def _state(pid: int) -> str:
    """The kernel's letter for the state of the process; that of the dead if it is gone."""
    return "".join(system.process_status(pid)[:1]) or "X"


def _is_dead(pid: int) -> bool:
    """Whether all of the process is dead: its first thread may die before the others."""
    try:
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return True
    return threads <= 1 and _state(pid) in _ZOMBIE


def _until(condition: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= end:
            raise DeadlinePassed(f"waited {timeout} s for {what}")
        time.sleep(_LOOK_SECONDS)


def _is_within_a_frame(pool: Pool, place: int) -> bool:
    return pool._staff.progress(place).within


@contextlib.contextmanager
def _limited(pid: int, limit: int, soft: int) -> Iterator[None]:
    before, hard = resource.prlimit(pid, limit)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.prlimit(pid, limit, (soft, hard))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, limit, (before, hard))


def _first_free(pid: int) -> int:
    """The lowest number that no descriptor has: the kernel would give it to the next."""
    if pid == os.getpid():
        fd = os.open(os.devnull, os.O_RDONLY)
        os.close(fd)
        return fd
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    return next(number for number in range(len(taken) + 1) if number not in taken)
