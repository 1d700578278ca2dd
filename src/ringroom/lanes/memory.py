"""Segments and counters: shared memory and wake-ups, as the operating system has them.

Linux: a segment is a memfd with its size sealed, a counter an eventfd. Elsewhere: an unlinked
temporary file and a pipe; both forms are tested on Linux. Neither has a name in the file system,
so a crash at any line leaves nothing behind: the kernel frees both with their last descriptor.

Segments and counters own their descriptors. `close` is idempotent and poisons them, for their
numbers may be reused at once; what is collected open warns.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
import sys
import tempfile
from abc import abstractmethod
from typing import Self

from ringroom.closeable import Closeable
from ringroom.errors import ClosedError, StartupError, WireError
from ringroom.system import why

POISONED = -1
# How old kernels and strict seccomp profiles say that they have no memfd or no eventfd.
REFUSED = (errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINVAL)
# A private mapping shows what others write to the file until a page of it is written here. POSIX
# leaves that open; Linux does it. Elsewhere frames are copied out (see lane.py).
ZERO_COPY = sys.platform == "linux"
_CLOSED = "the counter is closed"
_COUNT = struct.Struct("=Q")
# The whole of a pipe in one read: 64 KiB on Linux and macOS alike.
_PIPE_BYTES = 65_536


class Segment(Closeable):
    """Anonymous shared memory of a fixed size, known by its descriptor."""

    __slots__ = ("fd", "size")

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size

    @classmethod
    def create(cls, size: int, *, portable: bool = not hasattr(os, "memfd_create")) -> Self:
        """All pages are reserved here, so a full memory is an error now and not SIGBUS later.

        Raises `StartupError` when the machine refuses.
        """
        try:
            fd = _unlinked_file() if portable else _memfd()
        except OSError as error:
            raise StartupError(f"no shared memory segment: {why(error)}") from error
        segment = cls(fd, size)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, size)
            else:
                os.ftruncate(fd, size)
            if not portable:
                _seal(fd)
        except OSError as error:
            segment.close()
            raise StartupError(
                f"no shared memory of {size} bytes: {why(error)}; free memory, raise the limit of "
                "the container (--shm-size, memory), or lower the number or size of tracks, or "
                "what the processor takes along"
            ) from error
        return segment

    @classmethod
    def holding(cls, data: bytes) -> Self:
        """One with these bytes in it (one at least), for another process to read. Raises
        `StartupError`."""
        segment = cls.create(len(data))
        try:
            with segment.map_shared() as mapped:
                mapped[:] = data
        except StartupError:
            segment.close()
            raise
        return segment

    @classmethod
    def attach(cls, fd: int) -> Self:
        """Take over a received descriptor. Raises `WireError` for what cannot be mapped: then it is
        still the caller's."""
        size = os.fstat(fd).st_size
        if not size:
            raise WireError("a segment of no bytes")
        return cls(fd, size)

    def map_shared(self) -> mmap.mmap:
        return self._map(mmap.MAP_SHARED)

    def map_private(self) -> mmap.mmap:
        """For a reader: sees what the writer writes; pages written *here* part from the file."""
        return self._map(mmap.MAP_PRIVATE)

    def _map(self, flags: int) -> mmap.mmap:
        if self.fd == POISONED:
            raise ClosedError("the segment is closed")
        try:
            return mmap.mmap(self.fd, self.size, flags)
        except OSError as error:
            raise StartupError(
                f"shared memory of {self.size} bytes cannot be mapped: {why(error)}"
            ) from error

    def close(self) -> None:
        fd, self.fd = self.fd, POISONED
        if fd != POISONED:
            os.close(fd)

    def _left_open(self) -> str:
        return "" if getattr(self, "fd", POISONED) == POISONED else f"segment of {self.size} bytes"


class Counter(Closeable):
    """A count that one process adds to and another takes from, and the wake-up that goes with it.

    The kernel's lock inside orders the two sides: what was written to memory before `add` is seen
    after the `take` that returned it (this is the only ordering that the rings rely on).
    """

    __slots__ = ()

    @abstractmethod
    def add(self, count: int) -> None:
        """Add; never waits. Raises `ClosedError` once closed."""

    @abstractmethod
    def take(self) -> int:
        """All that was added since the last take; 0 if nothing. Never waits. Raises
        `ClosedError` once closed."""

    @abstractmethod
    def fileno(self) -> int:
        """Readable (for poll) while there is something to take; -1 once closed."""

    @abstractmethod
    def descriptors(self) -> tuple[int, ...]:
        """What another process needs to `attach_counter`."""

    def _left_open(self) -> str:
        return "" if getattr(self, "_fd", POISONED) == POISONED else type(self).__name__


class EventCounter(Counter):
    """An eventfd: 64 bits, additive, one descriptor."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int | None = None) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) if fd is None else fd

    def add(self, count: int) -> None:
        if (fd := self._fd) == POISONED:
            raise ClosedError(_CLOSED)
        os.eventfd_write(fd, count)

    def take(self) -> int:
        if (fd := self._fd) == POISONED:
            raise ClosedError(_CLOSED)
        try:
            return os.eventfd_read(fd)
        except BlockingIOError:
            return 0

    def fileno(self) -> int:
        return self._fd

    def descriptors(self) -> tuple[int, ...]:
        return (self._fd,)

    def close(self) -> None:
        fd, self._fd = self._fd, POISONED
        if fd != POISONED:
            os.close(fd)


class PipeCounter(Counter):
    """A pipe that carries the additions, eight bytes each; both sides hold both ends.

    When the pipe is full the adder takes everything out and puts the sum back in. A death between
    the two loses what was announced, which the lane's statistics then count as lost.
    """

    __slots__ = ("_fd", "_write_fd")

    def __init__(self, fds: tuple[int, int] | None = None) -> None:
        self._fd, self._write_fd = os.pipe() if fds is None else fds
        os.set_blocking(self._fd, False)
        os.set_blocking(self._write_fd, False)

    def add(self, count: int) -> None:
        if self._fd == POISONED:
            raise ClosedError(_CLOSED)
        while True:
            try:
                os.write(self._write_fd, _COUNT.pack(count))
                return
            except BlockingIOError:
                count += self.take()

    def take(self) -> int:
        if self._fd == POISONED:
            raise ClosedError(_CLOSED)
        try:
            taken = os.read(self._fd, _PIPE_BYTES)
        except BlockingIOError:
            return 0
        return sum(count for (count,) in _COUNT.iter_unpack(taken))

    def fileno(self) -> int:
        return self._fd

    def descriptors(self) -> tuple[int, ...]:
        return (self._fd, self._write_fd)

    def close(self) -> None:
        fds, self._fd, self._write_fd = (self._fd, self._write_fd), POISONED, POISONED
        for fd in fds:
            if fd != POISONED:
                os.close(fd)


def open_counter(*, portable: bool = not hasattr(os, "eventfd")) -> Counter:
    try:
        if not portable:
            try:
                return EventCounter()
            except OSError as error:
                if error.errno not in REFUSED:
                    raise
        return PipeCounter()
    except OSError as error:
        raise StartupError(f"no counter for shared memory: {why(error)}") from error


def attach_counter(descriptors: tuple[int, ...]) -> Counter:
    """Take over received descriptors: one is an eventfd, two are a pipe."""
    if len(descriptors) == 1:
        return EventCounter(descriptors[0])
    return PipeCounter((descriptors[0], descriptors[1]))


def _memfd() -> int:
    try:
        return os.memfd_create("ringroom", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        if error.errno in REFUSED:
            return _unlinked_file()
        raise


def _unlinked_file() -> int:
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (unlinked at once)
    fd, path = tempfile.mkstemp(prefix="ringroom-", dir=folder)
    try:
        os.unlink(path)
    except OSError:
        os.close(fd)
        raise
    return fd


def _seal(fd: int) -> None:
    """A sealed size means that no peer can shrink the file under our mapping (SIGBUS)."""
    import fcntl  # here, since Windows has none: `require_platform` is to say so

    if hasattr(fcntl, "F_ADD_SEALS"):
        with contextlib.suppress(OSError):  # the unlinked file that stands in takes no seals
            fcntl.fcntl(
                fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            )
