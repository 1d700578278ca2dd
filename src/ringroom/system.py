"""What ringroom needs of the operating system: settings and signals of the process, and refusals in
words."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import FrameType
from typing import Any

from ringroom.errors import StartupError

NO_DESCRIPTORS = "no descriptors left (raise `ulimit -n`; a track takes about four per process)"
# More than 10,000 lanes; macOS takes no more for a process.
ENOUGH_DESCRIPTORS = 65_536
STANDARD_ERROR = 2
# Ctrl-C has its handler back last, since it is the likeliest to interrupt that.
_SIGNALS = sorted(signal.valid_signals(), key=lambda number: (number != signal.SIGINT, number))
# As C has it: `signal` makes an enumeration of each answer, which takes 0.1 ms for all of them.
_handler_of: Callable[[int], Any] = sys.modules.get("_signal", signal).getsignal


def require_platform() -> None:
    """Raises `StartupError` where shared memory and descriptor passing are not to be had."""
    if find_spec("fcntl") is None or not hasattr(os, "pipe"):
        raise StartupError(
            "not supported: ringroom needs Linux or macOS (shared memory by descriptor, "
            f"Unix sockets); this is {sys.platform}. WSL 2 works."
        )


def why(error: OSError) -> str:
    """The system's refusal in words, with what to do about it."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return NO_DESCRIPTORS
    return os.strerror(error.errno) if error.errno else str(error)


def unwatched(error: OSError) -> StartupError:
    """The error to raise when epoll or kqueue refuses to watch one more descriptor."""
    text = why(error)
    if error.errno == errno.ENOSPC:  # the system's own words speak of a full disk
        text = "this user watches as many as are allowed (raise fs.epoll.max_user_watches)"
    return StartupError(f"one descriptor more cannot be waited for: {text}")


def no_thread(name: str, error: RuntimeError) -> StartupError:
    """The error to raise when Python cannot start one more thread."""
    limits = "`ulimit -u`, or the container's limit of processes"
    return StartupError(f"no thread for {name}: {error} (raise {limits})")


def raise_descriptor_limit() -> None:
    """Lift the soft limit on open files, at most to the hard one: a lane costs a process four."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # A hard limit below 0 is none.
        wanted = ENOUGH_DESCRIPTORS if hard < 0 else min(hard, ENOUGH_DESCRIPTORS)
        if 0 <= soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def hold_standard_descriptors() -> None:
    """Open the null device in place of 0, 1 and 2 where they were closed (``2>&-``, some daemons):
    a descriptor opened later would take their number, and receive what native code writes to
    standard error."""
    with contextlib.suppress(OSError):
        while (fd := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
            os.set_inheritable(fd, True)
        os.close(fd)


def process_status(pid: int) -> list[str]:
    """The fields of ``/proc/<pid>/stat`` from the state on, which is the third; none where there is
    no such process, or no /proc."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            # The name, in parentheses, may hold anything.
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


@contextlib.contextmanager
def interrupts_at_the_end() -> Iterator[None]:
    """Call the handlers of signals after the block: an exception in its middle (Ctrl-C, SIGTERM,
    the time limit of a task queue) could leave a child that nobody knows of, or that nobody reaps.
    For blocks that take a moment."""
    came: list[int] = []
    with contextlib.ExitStack() as handlers:
        if threading.current_thread() is threading.main_thread():  # others handle no signals
            for number in _SIGNALS:
                handler = _handler_of(number)
                if callable(handler):
                    handlers.callback(_set_back, number, handler, came)
                    signal.signal(number, lambda number, _: came.append(number))
        yield


@contextlib.contextmanager
def sigterm_raises(error: type[BaseException]) -> Iterator[None]:
    """Have the first SIGTERM raise the error in the main thread, the only one that can handle
    signals; in another thread this does nothing. Later ones change nothing: a service
    manager may send one to it and another to its group, and kills what does not end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    came = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if not came:
            came = True
            raise error

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        # None: the handler from before was not set by Python.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _set_back(
    number: int, handler: Callable[[int, FrameType | None], Any], came: list[int]
) -> None:
    signal.signal(number, handler)
    if number in came:
        handler(number, None)
