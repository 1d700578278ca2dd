"""A link on an asyncio loop: each message to a callback, the end of file to another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from ringroom import messages as m
from ringroom.errors import ClosedError, StartupError, WireError
from ringroom.link import Link
from ringroom.system import unwatched

log = logging.getLogger("ringroom.io")

OnMessage = Callable[[m.Message, tuple[int, ...]], None]


class LoopLink:
    """Owns the link. `on_closed` is called once, when the peer is gone or talks nonsense, or when
    a message of its could not be handled: to go on without it would leave its sender waiting.

    Raises `StartupError` when the loop may watch no descriptor more; then the link is closed.
    """

    def __init__(self, link: Link, on_message: OnMessage, on_closed: Callable[[], None]) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._on_closed = on_closed
        self._writing = False
        try:
            self._loop.add_reader(link.fileno(), self._readable)
        except OSError as error:
            link.close()
            raise unwatched(error) from error

    @property
    def closed(self) -> bool:
        return self._link.closed

    def send(self, message: m.Message, descriptors: tuple[int, ...] = ()) -> None:
        """Send, now or when the peer takes it; a peer that is gone is told by `on_closed`."""
        with contextlib.suppress(ClosedError):
            self._link.send(message, descriptors)
            if self._link.backlog and not self._writing:
                self._writing = True
                self._loop.add_writer(self._link.fileno(), self._writable)

    def _writable(self) -> None:
        try:
            done = self._link.flush()
        except ClosedError:
            done = True  # the reading side tells of the end
        if done:
            self._writing = False
            self._loop.remove_writer(self._link.fileno())

    def _readable(self) -> None:
        try:
            while not self._link.closed and (received := self._link.receive_nowait()) is not None:
                self._on_message(*received)
        except ClosedError:
            self._end()
        except WireError as error:
            log.error("a peer sent what is no message of ours: %s", error)
            self._end()
        except StartupError as error:
            log.error("a session cannot go on: %s", error)
            self._end()
        except Exception:
            log.exception("a message was not handled; its link is closed")
            self._end()

    def finish(self) -> None:
        """The peer is dead: handle what it has said, and be told of its end now."""
        if not self._link.closed:
            self._readable()
            self._end()

    def _end(self) -> None:
        if not self._link.closed:
            self.close()
            self._on_closed()

    def close(self) -> None:
        """Idempotent."""
        if self._link.closed:
            return
        self._loop.remove_reader(self._link.fileno())
        if self._writing:
            self._loop.remove_writer(self._link.fileno())
        self._link.close()
