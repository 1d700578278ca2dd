"""What a worker says beside its link: its standard error, and its Python stack when asked.

Two pipes, which the pool reads. Standard error goes on to the pool's own, and its last part is kept
for the report of a death; `faulthandler` writes there when native code crashes. The stack is asked
for by a signal, which `faulthandler` answers even while native code holds the GIL.

The child owns the writing ends, the application the reading ends; each closes its own. What a dead
child has written can still be read.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import select
import signal

from ringroom.errors import StartupError
from ringroom.processes.spawned import REAPED_ELSEWHERE
from ringroom.processes.standard_error import pass_on
from ringroom.system import STANDARD_ERROR, process_status, why

__all__ = ["MEMORY_HINT", "REAPED_HINT", "Voice", "describe_exit", "is_stopped", "speak"]

TAIL_BYTES = 8_192
MEMORY_HINT = "which is also what the kernel sends when memory runs out"
REAPED_HINT = "reaped by the application, which alone was told how it ended"
STACK_SECONDS = 0.5
# The longest pause in the middle of a stack: a busy machine may keep the worker off its processor
# for so long. The main thread, which usually matters most, is written last.
_PAUSE_SECONDS = 0.2
# A pipe takes 64 KiB; a worker that says more at once should not have to wait for the pool.
_PIPE_BYTES = 1 << 20
_READ_BYTES = 65_536
# Nothing uses real-time signals by default, and their numbers are not mistaken for other signals'.
STACK_SIGNAL = getattr(signal, "SIGRTMIN", signal.SIGUSR2) + (
    5 if hasattr(signal, "SIGRTMIN") else 0
)


class Voice:
    """The pool's end. Raises `StartupError` when no descriptors are left."""

    def __init__(self) -> None:
        try:
            errors = os.pipe()
            try:
                stacks = os.pipe()
            except OSError:
                for fd in errors:
                    os.close(fd)
                raise
        except OSError as error:
            raise StartupError(f"no pipe for a worker's standard error: {why(error)}") from error
        self.ours = [errors[0], stacks[0]]
        """The reading ends: readable when there is something to `hear`."""
        self.theirs = [errors[1], stacks[1]]
        self._tail = b""
        self._stack = b""
        for fd in self.ours:
            os.set_blocking(fd, False)
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import fcntl

            fcntl.fcntl(errors[0], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def handed_over(self) -> None:
        """Close the child's ends here, once the child has its copies."""
        while self.theirs:
            os.close(self.theirs.pop())

    def hear(self) -> None:
        """Read what is there: pass standard error on, and keep its last part."""
        errors, stack = (self._read(place) for place in range(2))
        self._tail = (self._tail + errors)[-TAIL_BYTES:]
        self._stack += stack
        pass_on(errors)

    def _read(self, place: int) -> bytes:
        heard = []
        # At most what the pipe holds: the child may write as fast as this reads.
        for _ in range(_PIPE_BYTES // _READ_BYTES + 1):
            if self.ours[place] < 0:
                break
            try:
                data = os.read(self.ours[place], _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                os.close(self.ours[place])
                self.ours[place] = -1
            heard.append(data)
        return b"".join(heard)

    @property
    def tail(self) -> str:
        """The last part of the child's standard error."""
        return self._tail.decode(errors="replace").strip()

    def stack(self, pid: int) -> str:
        """The Python stacks of the child's threads, now; empty when it does not answer."""
        self.hear()
        self._stack = b""
        if self.ours[1] < 0:  # dead; a signal would still be taken until it is reaped
            return ""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, STACK_SIGNAL)
            poller = select.poll()
            poller.register(self.ours[1], select.POLLIN)
            # It comes in one go; a pause means that it is over.
            seconds = STACK_SECONDS
            while self.ours[1] >= 0 and poller.poll(seconds * 1000):
                self.hear()
                seconds = _PAUSE_SECONDS
        return self._stack.decode(errors="replace").strip()

    def close(self) -> None:
        """Idempotent."""
        self.handed_over()
        for place, fd in enumerate(self.ours):
            if fd >= 0:
                os.close(fd)
            self.ours[place] = -1


def speak(errors: int, stacks: int) -> None:
    """The child's end: from here on standard error goes to the pool."""
    os.dup2(errors, STANDARD_ERROR)
    os.close(errors)
    faulthandler.enable(STANDARD_ERROR)  # `sys.stderr` is None where ours was closed
    faulthandler.register(STACK_SIGNAL, file=stacks, all_threads=True)


def is_stopped(pid: int) -> bool:
    """Whether the process is stopped (SIGSTOP); False where that cannot be seen."""
    return process_status(pid)[:1] in (["T"], ["t"])


def describe_exit(code: int | None) -> str:
    """How a process died, in words."""
    if code is None:
        return "closed its link and did not end"
    if code == REAPED_ELSEWHERE:
        return f"was {REAPED_HINT}"
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "real-time"
    hint = f", {MEMORY_HINT}" if name == "SIGKILL" else ""
    return f"was killed by signal {-code} ({name}{hint})"
