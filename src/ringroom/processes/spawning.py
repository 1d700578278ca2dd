"""Spawned children: fresh interpreters that inherit only the descriptors they are given.

`multiprocess` re-imports the parent's `__main__` in the child, which runs a script without a main
guard again, and fails for code from standard input. Nothing of ours needs it (a processor is
pickled by value, see `pickle_by_value`), so the child is told that there is no main module.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from importlib import import_module
from types import FrameType, ModuleType
from typing import Any

import dill
import multiprocess
from multiprocess import reduction, resource_tracker
from multiprocess.process import BaseProcess

from ringroom.errors import ConfigurationError, StartupError

# One that is killed dies at once, unless the kernel is at something for it that nothing interrupts:
# a driver, a file server that does not answer.
KILLED_SECONDS = 5.0
_STEP_SECONDS = 0.02
# Held while a child is started; a fork meanwhile would have it for ever, and no main module.
_main_lock = threading.RLock()
_started: weakref.WeakSet[Any] = weakref.WeakSet()
_ending = threading.Event()
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM}


class Inherited:
    """A descriptor in a child's arguments: it arrives as the number that is valid there."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _detach, (reduction.DupFd(self._fd),)


def _detach(duplicate: Any) -> int:
    return int(duplicate.detach())


def spawn(name: str, target: Callable[..., None], *arguments: object) -> Any:
    """Start a child that calls an importable function; a `multiprocess.Process`, started.

    Raises `StartupError` when the machine refuses a process, where this one may have no children or
    is not told of their end, and at the interpreter's end.
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
    context = multiprocess.get_context("spawn")
    process = context.Process(target=target, args=arguments, name=name, daemon=True)
    try:
        with interrupts_at_the_end():
            _start(process)
    except OSError as error:
        raise StartupError(f"no process for {name}: {error.strerror}") from error
    except BaseException:
        if process.pid is not None:  # interrupted (Ctrl-C): nobody takes who was started
            bury(process)
        raise
    return process


def interpreter_is_ending() -> bool:
    """Whether the interpreter ends: what dies now is killed by us, and nobody takes its place."""
    return _ending.is_set()


@atexit.register
def _kill_all() -> None:
    """As the interpreter ends. `multiprocess`, whose turn is after ours, would ask them by SIGTERM,
    to which they are deaf, and wait."""
    _ending.set()
    if _main_lock.acquire(timeout=KILLED_SECONDS):  # who is being started is known then
        _main_lock.release()
    started = tuple(_started)
    for end in (BaseProcess.kill, put_down):  # all of them, before one is waited for
        for process in started:
            with contextlib.suppress(ValueError):  # another thread has closed it
                end(process)


def _forget_all() -> None:
    """In a fork: they are its parent's. `multiprocess` would ask them to end, and wait for them, as
    the fork ends; private to it, so only if it is there."""
    for process in tuple(_started):
        getattr(multiprocess.process, "_children", set[Any]()).discard(process)
    _started.clear()
    _main_lock.release()


os.register_at_fork(
    before=_main_lock.acquire,
    after_in_parent=_main_lock.release,
    after_in_child=_forget_all,
)


@contextlib.contextmanager
def interrupts_at_the_end() -> Iterator[None]:
    """What handles Ctrl-C, and SIGTERM, is called when all is done: raised in the middle it would
    leave a child of which nothing is known, or that nobody reaps. For what takes a moment."""
    came: list[int] = []
    with contextlib.ExitStack() as handlers:
        if threading.current_thread() is threading.main_thread():  # elsewhere none is raised
            for number in (signal.SIGTERM, signal.SIGINT):
                handler = signal.getsignal(number)
                if callable(handler):
                    handlers.callback(_set_back, number, handler, came)
                    signal.signal(number, lambda number, _: came.append(number))
        yield


def _set_back(
    number: int, handler: Callable[[int, FrameType | None], Any], came: list[int]
) -> None:
    signal.signal(number, handler)
    if number in came:
        handler(number, None)


def _start(process: Any) -> None:
    """The child begins deaf to Ctrl-C and SIGTERM, for which the mask is: it inherits it."""
    with _main_lock:
        if _ending.is_set():
            raise StartupError(f"no process for {process.name}: the interpreter ends")
        main = sys.modules["__main__"]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            resource_tracker.ensure_running()  # its own start would let interrupts through again
            signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
            sys.modules["__main__"] = ModuleType("__main__")
            process.start()
            _started.add(process)
        finally:
            sys.modules["__main__"] = main
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interrupts() -> None:
    """In a child: Ctrl-C goes to the whole foreground group, and SIGTERM to all of a service; the
    application decides what they mean. `spawn` has blocked them, so that they find no child that is
    still starting."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # By a handler: SIG_IGN would go on to programs that the user's code starts, which may want to
    # end them by it. Who forks gets rid of it likewise.
    signal.signal(signal.SIGTERM, _ignore)
    os.register_at_fork(after_in_child=_forget_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)


def _ignore(number: int, frame: FrameType | None) -> None:
    pass


def _forget_handler() -> None:
    if signal.getsignal(signal.SIGTERM) is _ignore:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def die_of_own_sigterm() -> None:
    """In a child that ignores SIGTERM: not what it sends to itself, as the SDK does when its native
    part has panicked. What is left then is of no use."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in all threads to come, too
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_await_own_sigterm, name="ringroom-sigterm", daemon=True).start()
    else:  # macOS does not tell whose it is, and a panic must end the process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _await_own_sigterm() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getpid():
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)


def pickle_by_value(what: str, value: object, advice: str) -> bytes:
    """Lambdas, closures, and functions of `__main__` with what they refer to. Modules that they
    refer to are imported by name in the other process, like everything that modules hold.

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
    """dill takes along all that a module holds, unless it lies in the environment's own folders:
    of a module beside the script that would be its locks, files and models too."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, ModuleType) and value.__name__ != "__main__":
            return import_module, (value.__name__,)
        return NotImplemented


def reap(process: Any, deadline: float) -> None:
    """Join within the deadline (seconds), or kill. Who is interrupted (Ctrl-C) does not wait: it is
    killed."""
    try:
        process.join(deadline)
    finally:
        bury(process)


def bury(process: Any) -> None:
    """Kill it, if it lives, and reap it; who is interrupted meanwhile learns it afterwards."""
    with interrupts_at_the_end():
        if process.exitcode is None:
            put_down(process)
        if process.exitcode is not None:
            process.close()


def put_down(process: Any) -> None:
    """Kill it, and wait for its end. One that the kernel does not let go is given up: it runs no
    code of its own any more, and `multiprocess` reaps it when another is started."""
    process.kill()
    end = time.monotonic() + KILLED_SECONDS
    while process.exitcode is None and time.monotonic() < end:
        # In steps: what tells of its end may be held open by a child of its own.
        process.join(_STEP_SECONDS)
