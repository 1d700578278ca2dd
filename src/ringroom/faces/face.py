"""What the synchronous and the asyncio face share: all that does not wait.

What waits is written as steps (`Steps`), once for both: a generator that yields what is worth
waiting for, and returns the result. Each face goes through them in its own way (`_finish`): it
begins to listen for changes of the session at the first yield, so a call that does not have to wait
does not listen. A time limit is raised within the steps; Ctrl-C or a cancellation closes them.

Each call that touches the session is made under the connection's lock, which no thread holds while
it waits. The asyncio face takes it too: another thread closes it, and its receivers are collected
on any.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from functools import partial
from typing import ClassVar, TypeAlias, TypeVar

from ringroom import messages as m
from ringroom.closeable import Forgettable
from ringroom.errors import ClosedError
from ringroom.events import Participant, TrackInfo
from ringroom.faces.connection import Connection, Statistics
from ringroom.sessions.requests import Asked
from ringroom.sessions.session import check_going_on

__all__ = ["Face", "Steps"]

T = TypeVar("T")
Steps: TypeAlias = Generator[int | None, None, T]
"""Yields a descriptor that is worth waking for beside a change of the session (-1: none), or None
before it looks for the first time: others may have the lock, or the loop, first."""


class Face(Forgettable):
    """An application's side of a connection."""

    _noun: ClassVar[str] = "transport"
    _entered_by: ClassVar[str] = "with"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pid = os.getpid()

    @property
    def room(self) -> str:
        """The room's name, as the provider reports it; also after close. Raises `ClosedError` if it
        was never joined."""
        return self._joined.room

    @property
    def identity(self) -> str:
        """Our identity in the room; also after close. Raises `ClosedError` if the room was never
        joined."""
        return self._joined.identity

    @property
    def io_pid(self) -> int | None:
        """The I/O process's number, for monitoring; None when it does not run, or is a thread."""
        return self._connection.host.pid

    @property
    def _joined(self) -> m.Connected:
        joined = self._connection.session.last_joined if self._connection.opened else None
        if joined is None:
            raise ClosedError(f"{self._connection.spec.name}: not connected")
        return joined

    @property
    def ended(self) -> str | None:
        """Why the room ended, in a word or two; None while it goes on. Raises `ClosedError` in the
        child of a fork."""
        self._check_process()  # it reads from the link, which is the original's
        if not self._connection.opened:
            return None
        with self._connection.lock:
            self._hear()
            ending = self._connection.session.end
        return None if ending is None else ending.reason

    def _hear(self) -> None:
        """Handle what has come over the link; under the connection's lock."""
        self._connection.session.pump()

    @property
    def _plays(self) -> bool:
        """Whether there is a room to play out to."""
        return not self._connection.closed and not self._forked and self.ended is None

    def _until(self, ready: Callable[[], T | None], fd: Callable[[], int] = lambda: -1) -> Steps[T]:
        """Wait until ``ready`` gives something, and return that. Raises the error that a wait ends
        with when the session is over."""
        session = self._connection.session
        yield None
        while True:
            self._check_open()
            with self._connection.lock:
                session.pump()
                result = ready()
                if result is not None:
                    return result
                check_going_on(session)
                number = fd()
            yield number

    def _people_steps(self) -> Steps[tuple[Participant, ...]]:
        roll = self._connection.session.roll
        return self._asked_steps(roll, partial(roll.ask, waits=True))

    def _asked_steps(self, asked: Asked[T], ask: Callable[[], int]) -> Steps[T]:
        """Ask the I/O role, and wait for what comes of it."""
        connection = self._connection
        number = None
        try:
            with connection.lock:
                check_going_on(connection.session)
                number = ask()
            return (yield from self._until(partial(asked.take, number)))
        finally:
            if number is not None:
                with connection.lock:
                    asked.forget(number)

    def _notify(self) -> None:
        with self._connection.lock:
            self._connection.session.notify()

    def played(self, track: str | TrackInfo | None = None) -> float:
        """Seconds of the track's sound that were really played; 0.0 if we publish none of that
        name. Of a track it never falls; another under its name begins at 0.0. A `TrackInfo` names
        the track that answers it, None the only one of ours with sound, or `audio` of several.
        Raises `ClosedError`, and
        `FrameError` for an invalid name."""
        self._check_open()
        with self._connection.lock:
            self._connection.session.check_unclosed()
            self._hear()  # if the I/O process has died, it plays nothing more
            lane = self._connection.outgoing.find(track)
            return 0.0 if lane is None else lane.played()

    def stats(self) -> Statistics:
        """Counts of every lane so far, and whether we are in the room. Also after close. Raises
        `ClosedError` in the child of a fork."""
        self._check_process()  # as for `ended`
        if not self._connection.opened:
            return Statistics(lanes=())
        with self._connection.lock:
            self._hear()
            return self._connection.statistics()

    @property
    def _forked(self) -> bool:
        """Whether this is a copy that a fork has made: its descriptors belong to the original."""
        return os.getpid() != self._pid

    def _check_process(self) -> None:
        if self._forked:
            raise ClosedError(
                f"{self._connection.spec.name}: this {type(self).__name__} was made in another "
                "process, and a fork does not take it along; open one here"
            )

    def _check_open(self) -> None:
        connection = self._connection
        if connection.opened and not connection.closed and os.getpid() == self._pid:
            return
        self._check_process()
        name = connection.spec.name
        if connection.closed:
            raise ClosedError(f"{name}: {self._noun} is closed")
        if not connection.opened:
            raise ClosedError(f"{name}: not connected; use `{self._entered_by}`")

    def _left_open(self) -> str:
        connection: Connection | None = getattr(self, "_connection", None)
        is_open = connection is not None and connection.opened and not connection.closed
        return type(self).__name__ if is_open and not self._forked else ""

    def _close_forgotten(self) -> None:
        self._connection.closed = True
        self._connection.close()

    def __repr__(self) -> str:
        connection = self._connection
        state = "closed" if connection.closed else "not connected"
        if connection.opened and not connection.closed and connection.session.joined is not None:
            state = f"in {self.room!r} as {self.identity!r}"
        return f"<{type(self).__name__} {connection.spec.name} {state}>"
