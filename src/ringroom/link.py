"""A link: messages and descriptors between two processes, in order, over a Unix socket pair.

Neither direction ever waits. What the socket does not take is kept (bounded) and sent when
`flush` is called again. The peer's death shows as the end of file: `ClosedError`, once all that it
had sent was received. Received descriptors belong to the receiver of their message.

Frame on the wire: length u32, count of descriptors u32, the message. The descriptors travel with
the first byte of their message.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import struct
import weakref
from collections import deque
from collections.abc import Iterable, Iterator

from ringroom import message_codec
from ringroom.closeable import Closeable
from ringroom.errors import ClosedError, StartupError, WireError
from ringroom.messages import MAX_MESSAGE_BYTES, Message
from ringroom.system import NO_DESCRIPTORS, interrupts_at_the_end, why

_HEADER = struct.Struct("!II")
MAX_DESCRIPTORS = 32
# A peer that leaves this many messages unread counts as dead.
MAX_BACKLOG = 100_000
# The longest time between two calls of `flush` while something is kept. That the socket takes more
# is looked for, not waited for: to poll, it is writable also where descriptors are refused.
FLUSH_SECONDS = 0.01
_READ_BYTES = 65_536
# macOS may lack both flags. Python ignores SIGPIPE anyway, and close-on-exec is set after receipt.
_NO_SIGNAL: int = getattr(socket, "MSG_NOSIGNAL", 0)
CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
Received = tuple[Message, tuple[int, ...]]
_open: weakref.WeakSet[Link] = weakref.WeakSet()


def _close_all() -> None:
    """Close the links' copies in the child of a fork. The child may outlive this process, and while
    it held them no peer would see this process end."""
    for link in tuple(_open):
        link.close()


os.register_at_fork(after_in_child=_close_all)


def open_links() -> tuple[Link, Link]:
    """The two ends of a new link. Raises `StartupError` when the machine refuses."""
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise StartupError(f"no link between processes: {why(error)}") from error
    return Link(ours), Link(theirs)


class Link(Closeable):
    """One end. Not thread-safe: one caller at a time. In the child of a fork it is closed."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket: socket.socket | None = sock
        self._fd = sock.fileno()
        self._received = bytearray()
        self._descriptors: deque[int] = deque()
        self._outbox: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        _open.add(self)

    @classmethod
    def attach(cls, fd: int) -> Link:
        """Take over a received descriptor."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        """For poll; -1 once closed."""
        return self._fd

    @property
    def closed(self) -> bool:
        return self._socket is None

    @property
    def backlog(self) -> int:
        """Messages that the socket has not taken yet."""
        return len(self._outbox)

    def patience(self) -> float | None:
        """Seconds until `flush` is to be called again; None: nothing is kept."""
        return FLUSH_SECONDS if self._outbox else None

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        """Send or keep for `flush`. The descriptors are duplicated, the caller keeps its own.

        Raises `ClosedError` when this end is closed or the peer is gone, `WireError` for a message
        of more than `MAX_MESSAGE_BYTES` or with more than `MAX_DESCRIPTORS`, `StartupError` when
        it is to be kept and no descriptors are left.
        """
        if self._socket is None:
            raise ClosedError("the link is closed")
        if len(self._outbox) >= MAX_BACKLOG:
            raise ClosedError(f"the peer has let {MAX_BACKLOG} messages lie")
        raw = message_codec.encode(message)
        if len(raw) > MAX_MESSAGE_BYTES or len(descriptors) > MAX_DESCRIPTORS:
            raise WireError(f"a message of {len(raw)} bytes with {len(descriptors)} descriptors")
        header = _HEADER.pack(len(raw), len(descriptors))
        data = memoryview(header + raw)
        sent = self._push(data, descriptors) if self.flush() else 0
        if sent < len(data):
            kept = () if sent else _duplicates(descriptors)  # they go with the first byte
            self._outbox.append((data[sent:], kept))
            self.flush()

    def flush(self) -> bool:
        """Send what was kept. Returns whether all of it is sent."""
        if self._outbox:
            with interrupts_at_the_end():  # else something is sent or closed twice
                self._send_kept()
        return not self._outbox

    def _send_kept(self) -> None:
        while self._outbox:
            data, descriptors = self._outbox[0]
            sent = self._push(data, descriptors)
            if not sent:
                return
            close_descriptors(descriptors)
            if sent < len(data):
                self._outbox[0] = (data[sent:], ())
            else:
                self._outbox.popleft()

    def _push(self, data: memoryview, descriptors: tuple[int, ...]) -> int:
        """Returns how many bytes the socket took; 0 when the peer must read some first."""
        sock = self._open_socket()
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        try:
            return sock.sendmsg([data], [rights] if descriptors else [], _NO_SIGNAL)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:
                return 0
            if error.errno == errno.EBADF:  # a descriptor to be sent is closed, not the socket
                raise
            raise ClosedError(f"the peer is gone: {error.strerror}") from None

    def has_come(self) -> bool:
        """Whether `receive_nowait` may have something to give or to raise; else it need not be
        called. Raises `ClosedError` when this end is closed."""
        if not self._received:
            try:
                self._open_socket().recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return False
            except OSError:  # `receive_nowait` raises it
                pass
        return True

    def receive_nowait(self) -> Received | None:
        """The next message and its descriptors, or None.

        Raises `ClosedError` at the peer's end of file, `WireError` for bytes that are no message,
        `StartupError` when this process had no room for the descriptors. After either of the last
        two the link is useless: a message is lost.
        """
        while True:
            sock = self._open_socket()
            received = self._next()
            if received is not None:
                return received
            try:
                data, ancillary, flags, _ = sock.recvmsg(
                    _READ_BYTES, socket.CMSG_SPACE(4 * MAX_DESCRIPTORS), CLOSE_ON_EXEC
                )
            except BlockingIOError:
                return None
            except OSError as error:
                raise ClosedError(f"the peer is gone: {error.strerror}") from None
            self._keep_descriptors(ancillary)
            if flags & socket.MSG_CTRUNC:
                raise StartupError(f"a message came without its descriptors: {NO_DESCRIPTORS}")
            if not data:
                raise ClosedError("the peer has closed the link")
            self._received += data

    def _keep_descriptors(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                self._descriptors.extend(fds)
                if not CLOSE_ON_EXEC:
                    for fd in fds:
                        os.set_inheritable(fd, False)

    def _next(self) -> Received | None:
        if len(self._received) < _HEADER.size:
            return None
        length, count = _HEADER.unpack_from(self._received)
        if length > MAX_MESSAGE_BYTES or count > MAX_DESCRIPTORS:
            raise WireError(f"a message of {length} bytes with {count} descriptors")
        end = _HEADER.size + length
        if len(self._received) < end:
            return None
        raw = bytes(self._received[_HEADER.size : end])
        del self._received[:end]
        if count > len(self._descriptors):
            raise WireError(f"{count} descriptors announced, {len(self._descriptors)} came")
        descriptors = tuple(self._descriptors.popleft() for _ in range(count))
        try:
            return message_codec.decode(raw), descriptors
        except WireError:
            close_descriptors(descriptors)
            raise

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise ClosedError("the link is closed")
        return self._socket

    def shut_down(self) -> None:
        """End the link for both sides: a thread that waits at either end, also in this process,
        sees the end of file. The link is still to be closed."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the far end is gone
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Idempotent. Descriptors that nobody took, and messages not yet sent, are dropped."""
        sock, self._socket, self._fd = self._socket, None, -1
        if sock is None:
            return
        _open.discard(self)
        sock.close()
        close_descriptors(self._descriptors)
        for _, descriptors in self._outbox:
            close_descriptors(descriptors)
        self._received.clear()
        self._descriptors.clear()
        self._outbox.clear()

    def _left_open(self) -> str:
        return "" if getattr(self, "_socket", None) is None else "link"


def close_descriptors(descriptors: Iterable[int]) -> None:
    """Close descriptors that came with a message, or go with one."""
    for fd in descriptors:
        os.close(fd)


@contextlib.contextmanager
def until_taken(descriptors: Iterable[int]) -> Iterator[None]:
    """Close descriptors that came with a message if the block raises. Once it has ended without,
    somebody else owns them."""
    try:
        yield
    except BaseException:
        close_descriptors(descriptors)
        raise


def _duplicates(descriptors: tuple[int, ...]) -> tuple[int, ...]:
    made: list[int] = []
    try:
        for fd in descriptors:
            made.append(os.dup(fd))
    except OSError as error:
        close_descriptors(made)
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise StartupError(NO_DESCRIPTORS) from error
        raise
    return tuple(made)
