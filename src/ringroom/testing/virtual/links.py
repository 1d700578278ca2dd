"""Which role has which link: a role that dies leaves links behind, which must end.

Memory and counters need no care: their other ends do not notice a death, with processes either.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import stat
import weakref
from collections.abc import Callable, Iterable

from ringroom.link import CLOSE_ON_EXEC, Link
from ringroom.testing.virtual.roles import Role

__all__ = ["LinkRegister", "end_links"]

_READ_BYTES = 65_536
_MOST_DESCRIPTORS = 253


class LinkRegister:
    """Notes, while it is installed, which role makes or takes over which link."""

    def __init__(self, owner: Callable[[], Role | None]) -> None:
        self._owner = owner
        self._links: dict[Role, weakref.WeakSet[Link]] = {}
        self._before: Callable[..., None] = Link.__init__

    def install(self) -> None:
        before = self._before = Link.__init__

        def noted(link: Link, sock: socket.socket) -> None:
            before(link, sock)
            role = self._owner()
            if role is not None:
                self._links.setdefault(role, weakref.WeakSet()).add(link)

        setattr(Link, "__init__", noted)  # noqa: B010 (a method is replaced, for a while)

    def uninstall(self) -> None:
        setattr(Link, "__init__", self._before)  # noqa: B010

    def of(self, role: Role) -> list[int]:
        """The descriptors of the role's links."""
        return sorted(link.fileno() for link in self._links.get(role, ()) if not link.closed)


def end_links(role: Role, fds: Iterable[int]) -> None:
    """The other ends see that nobody is there any more, nor at links that were under way."""
    watched = () if role.loop is None else role.loop.waits_on.numbers()
    for fd in dict.fromkeys((*fds, *watched)):
        if _is_socket(fd):
            _end(fd)


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


def _end(fd: int) -> None:
    with socket.socket(fileno=os.dup(fd)) as copy, contextlib.suppress(OSError):
        copy.shutdown(socket.SHUT_RDWR)
        while True:
            data, ancillary, _, _ = copy.recvmsg(
                _READ_BYTES, socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS), CLOSE_ON_EXEC
            )
            if not data:
                return
            for _, _, raw in ancillary:
                found = array.array("i")
                found.frombytes(raw[: len(raw) - len(raw) % found.itemsize])
                for received in found:
                    os.close(received)
