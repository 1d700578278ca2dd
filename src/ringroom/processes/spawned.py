"""A child process whose end is waited for without trusting the child, nor the application.

`multiprocess` waits for the end of a pipe that the child has inherited, and then, without limit,
for the process. User code may close all descriptors and live on, or start a program that holds
them open and outlives it. Here the process itself tells of its end, by its pidfd; where there is
none, it is asked in steps. An application that reaps all children itself takes the exit code, which
`multiprocess` would wait for to the end; and the number may then be that of a stranger.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
import threading
import time
from typing import Any

import dill
import multiprocess
from multiprocess import popen_spawn_posix, process, reduction, spawn, util
from multiprocess.context import SpawnProcess, set_spawning_popen

__all__ = ["REAPED_ELSEWHERE", "Spawned"]

REAPED_ELSEWHERE = 256
"""The exit code of a child that the application has reaped, which is not known; no real one."""
_STEP_SECONDS = 0.02
_LONG_SECONDS = 3_600.0


class _Popen(popen_spawn_posix.Popen):  # type: ignore[misc]
    returncode: int | None

    def __init__(self, child: Spawned) -> None:
        # Here `multiprocess` flushes the application's output, which may fail.
        self.returncode, self.finalizer = None, None
        self._fds: list[int] = []
        self._polled = threading.RLock()  # a signal handler may ask in the middle
        self._launch(child)

    def _launch(self, child: Spawned) -> None:
        """As `multiprocess` does, but without its resource tracker: nothing of ours is registered
        there, and it is a process that the application does not expect."""
        data = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(_preparation(child.name), data)
            reduction.dump(child, data)
        finally:
            set_spawning_popen(None)
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            self.sentinel, child_w = _pipe(ours, theirs)
            child_r, parent_w = _pipe(theirs, ours)
            self._fds += [child_r, child_w]
            command = _command(child_r)
            self.pid = util.spawnv_passfds(spawn.get_executable(), command, self._fds)
            ends = (self.sentinel, parent_w)
            self.finalizer = util.Finalize(self, util.close_fds, ends)
            ours.pop_all()
            self._tell(parent_w, data.getbuffer())

    def _tell(self, pipe: int, told: memoryview) -> None:
        """Write what the child begins with, while it lives. The application's arguments and paths
        may be more than a pipe takes, and a child that dies as it starts reads nothing."""
        os.set_blocking(pipe, False)
        poller = select.poll()
        poller.register(pipe, select.POLLOUT)
        while told and self.poll() is None:
            try:
                told = told[os.write(pipe, told) :]
            except BlockingIOError:
                poller.poll(_STEP_SECONDS * 1000)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code, None while it lives; or while another thread, which may just have reaped
        it, is about to note the code."""
        if self.returncode is None and self._polled.acquire(blocking=False):
            try:
                pid, status = os.waitpid(self.pid, flag)
                if pid == self.pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            except ChildProcessError:
                if self.returncode is None:
                    self.returncode = REAPED_ELSEWHERE
            finally:
                self._polled.release()
        return self.returncode


def _pipe(reads: contextlib.ExitStack, writes: contextlib.ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    reads.callback(os.close, reading)
    writes.callback(os.close, writing)
    return reading, writing


def _command(pipe: int) -> list[str]:
    """To start the interpreter. Until it is prepared it looks for no module in the working folder
    (``-P``), where one may hide a module of the standard library, or which may be gone: Python
    3.13.0 does not survive that. What prepares it may lie where the application alone looks."""
    command: list[str] = spawn.get_command_line(pipe_handle=pipe)
    if not getattr(sys, "frozen", False):  # else it is no interpreter, and takes no options
        command.insert(1, "-P")
        folders = [os.path.dirname(os.path.dirname(m.__file__)) for m in (multiprocess, dill)]
        command[-2] = f"import sys; sys.path += {folders}; {command[-2]}"
    return command


def _preparation(name: str) -> dict[str, Any]:
    """What a child is told before it unpickles. No main module: see `spawning`. No working folder,
    which it inherits, and which may be gone."""
    first = process.ORIGINAL_DIR
    return {
        "name": name,
        "authkey": process.current_process().authkey,
        "sys_path": [first if path == "" and first else path for path in sys.path],
        "sys_argv": sys.argv,
        "orig_dir": first,
    }


class Spawned(SpawnProcess):  # type: ignore[misc]
    """A `multiprocess.Process`, owned until `close` by the caller that has started it."""

    pidfd: int | None = None
    """Readable once it is dead; None where there is no such, before `start` and after `close`."""

    @staticmethod
    def _Popen(child: Spawned) -> _Popen:  # noqa: N802 - `multiprocess` names it
        return _Popen(child)

    def start(self) -> None:
        super().start()
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # an old kernel, or no descriptors are left
                self.pidfd = os.pidfd_open(self.pid)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, for that many seconds at most. `exitcode` tells whether it came."""
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while self.exitcode is None and (left := end - time.monotonic()) > 0:
            self._await_end(min(left, _LONG_SECONDS))

    def _await_end(self, seconds: float) -> None:
        if self.pidfd is None:
            time.sleep(min(seconds, _STEP_SECONDS))
            return
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        poller.poll(seconds * 1000)

    def kill(self) -> None:
        """Kill it, if it lives: by its pidfd, since its number may have gone to another process
        once the application has reaped it."""
        if self.exitcode is not None:
            return
        if self.pidfd is None:
            super().kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Idempotent. One that lives was given up (see `spawning.put_down`): `multiprocess` reaps
        it when another is started."""
        fd, self.pidfd = self.pidfd, None
        if fd is not None:
            os.close(fd)
        with contextlib.suppress(ValueError):  # it lives
            super().close()
