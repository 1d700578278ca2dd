"""Spawned children: fresh interpreters that inherit only the descriptors they are given.

`multiprocess` re-imports the parent's `__main__` in the child, which runs a script without a main
guard again, and fails for code from standard input. Nothing of ours needs it (a processor is
pickled by value, see `pickle_by_value`), so the child is told of no main module (see `spawned`).
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import threading
import weakref
from collections.abc import Callable
from importlib import import_module
from types import FrameType, ModuleType
from typing import Any, Protocol

import dill
import multiprocess
from multiprocess import reduction

from ringroom.errors import ConfigurationError, StartupError
from ringroom.processes.spawned import Spawned
from ringroom.system import interrupts_at_the_end, why

# A killed process dies at once, unless the kernel does something for it that nothing interrupts: in
# a driver, or with a file server that does not answer.
KILLED_SECONDS = 5.0
# Held while a child starts. A fork during that would inherit the held lock.
_start_lock = threading.RLock()
_started: weakref.WeakSet[Spawned] = weakref.WeakSet()
_ending = threading.Event()
# What a terminal, a service manager or an operator sends to a whole group. The application handles
# it, or dies of it and takes its children along.
_OPERATORS = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM, *_OPERATORS}


class Process(Protocol):
    """A child that was started: a `Spawned`, or what stands for one in virtual time."""

    @property
    def exitcode(self) -> int | None:
        """None while it lives."""

    def join(self, timeout: float | None = None) -> None: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...


class Inherited:
    """A descriptor in a child's arguments: it arrives as the number that is valid there."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _detach, (reduction.DupFd(self._fd),)


def _detach(duplicate: Any) -> int:
    return int(duplicate.detach())


def spawn(name: str, target: Callable[..., None], *arguments: object) -> Spawned:
    """Start a child that calls an importable function. The arguments must fit into a pipe: a larger
    write waits until the child has read them, for ever if it dies before.

    Raises `StartupError` when the machine refuses a process, when this process may have no children
    or is not told of their end, and at the interpreter's end.
    """
    if multiprocess.current_process().daemon:
        raise StartupError(
            f"no process for {name}: this one is a daemonic process (daemon=True; so are a pool's "
            'workers), which may have no children: start it with daemon=False, or use io="thread"'
        )
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        raise StartupError(
            f"no process for {name}: SIGCHLD is ignored here, so nobody is told when and how a "
            "child ends: signal.signal(signal.SIGCHLD, signal.SIG_DFL) before"
        )
    process = Spawned(target=target, args=arguments, name=name, daemon=True)
    try:
        with interrupts_at_the_end():
            _start(process)
    except OSError as error:
        raise StartupError(f"no process for {name}: {why(error)}") from error
    except BaseException:
        if process.pid is not None:  # interrupted (Ctrl-C): nobody takes the child
            bury(process)
        raise
    return process


def interpreter_is_ending() -> bool:
    """Whether the interpreter ends. Children that die now were killed here: replace none."""
    return _ending.is_set()


@atexit.register
def _kill_all() -> None:
    """Kill all children as the interpreter ends. `multiprocess`, whose handler runs after this one,
    would send them SIGTERM, which they ignore, and wait for them."""
    _ending.set()
    if _start_lock.acquire(timeout=KILLED_SECONDS):  # a child that is being started is known then
        _start_lock.release()
    started = tuple(_started)
    for end in (Spawned.kill, put_down):  # kill all of them before waiting for one
        for process in started:
            with contextlib.suppress(ValueError, OSError):  # another thread has closed it
                end(process)


def _forget_all() -> None:
    """In the child of a fork: the processes are its parent's. `multiprocess` would ask them to end,
    and wait for them, when the fork ends. Its list of them is private, so it may be missing."""
    for process in tuple(_started):
        getattr(multiprocess.process, "_children", set[Any]()).discard(process)
    _started.clear()
    _start_lock.release()


os.register_at_fork(
    before=_start_lock.acquire,
    after_in_parent=_start_lock.release,
    after_in_child=_forget_all,
)


def _start(process: Spawned) -> None:
    """Start a child that is deaf to what `ignore_interrupts` names: it inherits the signal mask."""
    with _start_lock:
        if _ending.is_set():
            raise StartupError(f"no process for {process.name}: the interpreter ends")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
        try:
            process.start()
            _started.add(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interrupts() -> None:
    """In a child: ignore Ctrl-C, which goes to the whole foreground group, SIGTERM, which goes to
    all processes of a service, and what else is sent to groups. The application decides what they
    mean. `spawn` has blocked them, so that none meets a child that is still starting."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # By a handler: programs that the user's code starts would inherit SIG_IGN, and that code may
    # want to end them by SIGTERM. For the same reason a fork drops the handler.
    signal.signal(signal.SIGTERM, _ignore)
    for number in _OPERATORS:
        if signal.getsignal(number) is signal.SIG_DFL:  # those programs keep what nohup ignores
            signal.signal(number, _ignore)
    os.register_at_fork(after_in_child=_forget_handlers)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)


def _ignore(number: int, frame: FrameType | None) -> None:
    pass


def _forget_handlers() -> None:
    for number in _INTERRUPTS:
        if signal.getsignal(number) is _ignore:
            signal.signal(number, signal.SIG_DFL)


def die_of_own_sigterm() -> None:
    """In a child that ignores SIGTERM: die of the one that the child sends to itself, as the SDK
    does when its native part has panicked. The process is useless then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # later threads inherit it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_await_own_sigterm, name="ringroom-sigterm", daemon=True).start()
    else:  # macOS does not tell who sent it, and a panic must end the process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _await_own_sigterm() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getpid():
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)


def pickle_by_value(what: str, value: object, advice: str) -> bytes:
    """Pickle a value; lambdas, closures, and functions of `__main__` with what they refer to.
    Modules, and everything that modules hold, are imported by name in the other process.

    Raises `ConfigurationError` that names what cannot travel to another process, with the advice.
    """
    file = io.BytesIO()
    try:
        _Pickler(file, recurse=True).dump(value)
    except Exception as error:
        raise ConfigurationError(
            f"{what} cannot be sent to another process: {type(error).__name__}: {error}. Files, "
            f"locks, connections and loaded models stay where they are made: {advice}"
        ) from error
    return file.getvalue()


class _Pickler(dill.Pickler):  # type: ignore[misc]
    """Pickles modules by name. dill takes along all that a module holds, unless it lies in the
    environment's own folders: for a module beside the script that is its locks and models too."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, ModuleType) and value.__name__ != "__main__":
            return import_module, (value.__name__,)
        return NotImplemented


def reap(process: Process, deadline: float) -> None:
    """Join within the deadline (seconds), or kill. When the wait is interrupted (Ctrl-C), the
    process is killed at once."""
    try:
        process.join(deadline)
    finally:
        bury(process)


def bury(process: Process) -> None:
    """Kill the process, if it lives, and reap it. An interrupt meanwhile is raised afterwards."""
    with interrupts_at_the_end():
        if process.exitcode is None:
            put_down(process)
        process.close()


def put_down(process: Process) -> None:
    """Kill the process, and wait for its end. One that the kernel does not let go is given up: it
    runs no code of its own any more, and `multiprocess` reaps it when another is started."""
    process.kill()
    process.join(KILLED_SECONDS)
