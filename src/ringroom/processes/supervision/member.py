"""A child of a pool as its crew has it: process, control link and voice, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ringroom import messages as m
from ringroom.errors import LostProcessError, RingroomError
from ringroom.link import Link
from ringroom.processes.children import Child
from ringroom.processes.spawning import put_down
from ringroom.processes.supervision.supervisor import Care
from ringroom.processes.worker_voice import describe_exit, is_stopped

__all__ = ["Death", "Member"]

# How long a child whose link has ended may take to end by itself: then its exit code tells of what.
BURIAL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Death:
    """How a child died, or why it did not start."""

    text: str = ""
    error: Exception | None = None
    """What to raise instead of the text, where it was more than a death."""
    words: str = ""
    """The end of its standard error."""

    def failure(self, place: int | None, care: Care) -> Exception:
        """What the pool ends by: it was one death too many, at that place or at none."""
        if self.error is not None:
            return self.error
        text = self.text
        if place is not None and care.restarts:
            text += f"; {care.restarts + 1} deaths within {care.window:g} s"
        if self.words:
            text += f"; its standard error ends with\n{self.words}"
        return LostProcessError(text)


@dataclass(slots=True, eq=False)
class Member:
    """See the module's docstring. It owns all three, until `lay_to_rest`."""

    number: int
    process: Child
    control: Link
    error: RingroomError | None = None
    """Why it does not start."""
    stuck: str = ""
    """What it was reported for."""
    killed: str = ""
    """Why we have killed it, where that is to be told."""

    @property
    def pid(self) -> int:
        """Its process number; 0 where it has none."""
        return self.process.pid or 0

    @property
    def fds(self) -> list[int]:
        """Readable when it has said something, or is dead."""
        process = self.process
        fds = [self.control.fileno()]
        if process.pidfd is not None:
            fds.append(process.pidfd)
        if process.voice is not None:
            fds += process.voice.ours
        return fds

    def heard(self) -> Iterator[m.Message]:
        """What it has said over its link; its standard error is passed on. Raises `ClosedError` at
        the link's end, `WireError` for bytes that are no message, and `StartupError`."""
        if self.process.voice is not None:
            self.process.voice.hear()
        while (received := self.control.receive_nowait()) is not None:
            yield received[0]

    def plight(self, seconds: float) -> tuple[str, str]:
        """A summary of what it does, after that long on one frame, and its Python stacks. Waits for
        these a moment."""
        if is_stopped(self.pid):
            return "it is stopped (SIGSTOP) and does nothing", ""
        voice = self.process.voice
        stack = "" if voice is None else voice.stack(self.pid)
        return f"it has been on one frame for {seconds:g} s or longer", stack

    def await_end(self) -> None:
        """Close its link, and wait a moment for its end."""
        self.control.close()
        self.process.join(BURIAL_SECONDS)

    def lay_to_rest(self, name: str) -> Death:
        """Kill it if it lives, reap it, and free what was ours; how it died, under that name."""
        process = self.process
        code = process.exitcode
        if code is None:
            put_down(process)
        words = ""
        if process.voice is not None:
            process.voice.hear()
            words = process.voice.tail
        process.close()
        return Death(f"{name} {self.killed or describe_exit(code)}", self.error, words)
