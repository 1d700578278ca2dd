"""What the receivers of the synchronous and the asyncio face share: everything but the wait."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from typing import ClassVar, Generic, TypeVar

from ringroom.checks import as_items, shown
from ringroom.errors import ConfigurationError
from ringroom.events import Kind
from ringroom.faces.connection import Connection
from ringroom.faces.face import Face
from ringroom.frames import Item
from ringroom.sessions.inbox import Inbox
from ringroom.sessions.session import Session

__all__ = ["ReceivingEnd", "take_item", "wanted_kinds"]

F = TypeVar("F", bound=Face)


class ReceivingEnd(Generic[F]):
    """A receiver of a face. It gives its kinds back when it is closed, exhausted or collected."""

    _over: ClassVar[type[Exception]]
    """Raised when nothing comes any more."""

    def __init__(self, owner: F, inbox: Inbox) -> None:
        self._owner = owner
        self._inbox = inbox

    def _look(self) -> Item | None:
        """The next item; None if nothing waits. Where Ctrl-C keeps an item that was taken from its
        caller, the item belongs into the inbox's ``put_back``."""
        connection = self._owner._connection
        self._owner._check_open()
        item = None
        try:
            with connection.lock:
                item = take_item(connection.session, self._inbox)
        except BaseException:
            if item is not None:
                self._inbox.put_back.append(item)
            raise
        if item is None and self._inbox.closed:
            self._owner._check_open()  # another thread may have closed it before we had the lock
            raise self._over
        return item

    def _close(self) -> None:
        if self._owner._forked:  # a thread of the original may hold the lock for ever here
            return
        with self._owner._connection.lock:
            self._inbox.close()
            self._owner._connection.session.notify()

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if ending():  # modules that this would use may be gone
            return
        if hasattr(self, "_inbox") and not self._owner._forked:
            with self._owner._connection.lock:  # collected on any thread
                self._inbox.close()


def wanted_kinds(connection: Connection, kinds: Collection[str] | None) -> frozenset[Kind]:
    """The kinds to receive. Raises `ConfigurationError` for none, and for one that was not asked
    for."""
    asked = connection.options.kinds
    items = as_items(asked if kinds is None else kinds)
    if items == ():
        raise ConfigurationError(
            "recv of no kinds would only wait for the room's end; name some, here and where the "
            f"transport is opened (kinds={tuple(map(str, asked))})"
        )
    if items is None:
        raise ConfigurationError(
            f"recv of {shown(kinds)}, expected a tuple such as ('audio',); the transport was "
            f"opened with kinds={tuple(map(str, asked))}"
        )
    if not all(isinstance(kind, str) and kind in asked for kind in items):
        raise ConfigurationError(
            f"recv of {shown(kinds)}, but the transport was opened with "
            f"kinds={tuple(map(str, asked))}"
        )
    return frozenset(map(Kind, items))


def take_item(session: Session, inbox: Inbox) -> Item | None:
    """The next item, counted as done; closes the inbox when the room has ended by itself."""
    if inbox.closed:
        return None
    if inbox.put_back:
        return inbox.put_back.pop()
    if inbox.woken:
        session.pump()  # also where frames never run out: a lane has opened, or the room is over
    arrival = inbox.receive_nowait()
    if arrival is None and session.pump():
        arrival = inbox.receive_nowait()
    if arrival is not None:
        try:
            arrival.done()
        except BaseException:
            inbox.put_back.append(arrival.item)
            raise
        return arrival.item
    if session.end is not None:
        inbox.close()
        session.check_unfailed()
    return None
