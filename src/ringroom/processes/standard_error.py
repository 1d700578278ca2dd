"""Standard error, for processes that must not wait for it: a terminal that is stopped (Ctrl-S), or
a pipe that nobody reads, takes nothing. What it does not take is left out."""

from __future__ import annotations

import errno
import logging
import os
import select
import sys

from ringroom.system import STANDARD_ERROR

__all__ = ["Lines", "pass_on"]

# The end of a text that would have to be written byte by byte.
_SLOW_BYTES = 8_192


class Lines(logging.Handler):
    """Writes a log to standard error, without waiting. How many lines were left out is told before
    the next one that is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 (`handleError` would write there, and wait)
            line = f"{record.name}: a line without its values ({error!r}): {record.msg!r}"
        if self._left_out:
            line = f"{self._left_out} lines were left out: nobody took them\n{line}"
        taken = pass_on(f"{line}\n".encode(errors="backslashreplace"))
        self._left_out = 0 if taken else self._left_out + 1


def pass_on(text: bytes) -> int:
    """Write to this process's standard error, while it takes bytes; how many it took."""
    if not text or sys.__stderr__ is None:  # closed: descriptor 2 may be something else now
        return 0
    if not os.isatty(STANDARD_ERROR):
        return _write(STANDARD_ERROR, text, select.PIPE_BUF)
    try:
        # Opened again, since O_NONBLOCK of descriptor 2 is shared with other programs.
        terminal = os.open(os.ttyname(STANDARD_ERROR), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:  # the terminal of another user (su), or one without a name (in a container)
        return _write(STANDARD_ERROR, text[-_SLOW_BYTES:], 1)
    try:
        return _write(terminal, text, select.PIPE_BUF)
    finally:
        os.close(terminal)


def _write(fd: int, text: bytes, piece: int) -> int:
    """Write as much as there is room for. A terminal is ready while it has some room, and only a
    single byte is sure to fit in."""
    view = memoryview(text)
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    while view and any(event & select.POLLOUT for _, event in poller.poll(0)):
        try:
            view = view[os.write(fd, view[:piece]) :]
        except OSError as error:
            if error.errno != errno.EINTR:
                break
    return len(text) - len(view)
