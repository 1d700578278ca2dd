"""What a transport without a pool does when its I/O process dies: it goes on with another.

It uses `mending`, as a pool does, but nothing of it runs while all is well: a call or a wait on the
transport finds the link at its end, and only then `turn` is called, again and again, on a thread
(`RecoveryThread`) or in a task (`awaiting.RecoveryTask`), until there is nothing left to do.

The lanes from before were held by this side alone, so their counts are final as soon as the room
is joined again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

from ringroom.closeable import join_unless_within
from ringroom.errors import LostProcessError, StartupError
from ringroom.events import Event, EventKind
from ringroom.faces.connection import Connection, Prepared
from ringroom.faces.mending import Mending, MendingCalls, ended_with_interpreter
from ringroom.processes.supervision.supervisor import Care
from ringroom.processes.waiting import shortest

__all__ = ["Recovery", "RecoveryThread"]

log = logging.getLogger("ringroom")

# `close` waits so long for the thread. A signal handler that has interrupted the lock's holder
# cannot see its end: the thread waits for that lock, finds the session closed, and ends.
LEFT_BEHIND_SECONDS = 1.0


class Recovery:
    """The recovery of one transport, made once the transport is in its room. Not thread-safe, and
    never waits."""

    def __init__(self, connection: Connection, wake: Callable[[], None]) -> None:
        """``wake`` is called on another thread when `turn` has something to do."""
        policy = connection.options.reconnect
        care = Care(places=1, restarts=policy.retries, window=policy.deadline)
        calls = MendingCalls(reopen=self._reopen, rejoin=self._rejoin, tell=self._tell, wake=wake)
        self._connection = connection
        self._mending = Mending(connection, care, calls, standby=False)
        self._mending.begin()
        connection.session.outlive_links(ended_with_interpreter)

    @property
    def is_due(self) -> bool:
        """Whether the I/O process has died, and the session has no link to another yet."""
        session = self._connection.session
        return session.interrupted and session.end is None and not session.closed

    def turn(self) -> bool:
        """Do what is due. Returns whether there is more to come. An error ends the session."""
        try:
            return self._turn()
        except Exception as error:
            log.exception("the connection was not made anew")
            with self._connection.lock:
                self._connection.session.fail(LostProcessError(f"the I/O process died: {error}"))
            return False

    def _turn(self) -> bool:
        connection, session = self._connection, self._connection.session
        with connection.lock:
            session.pump()
            if session.closed or session.end is not None:
                return False
        self._mending.turn()
        with connection.lock:
            if self._mending.failure is not None:
                session.fail(self._mending.failure)
                return False
            waits = session.incoming.away_until_ns is not None
            return waits or session.interrupted or not self._mending.is_up

    def patience(self) -> float | None:
        """Seconds until `turn` has something to do; None: when the session changes."""
        return shortest(self._mending.patience(), self._connection.session.incoming.patience())

    def close(self) -> None:
        """Idempotent: gives up what is under way."""
        self._mending.close()

    def _reopen(self, prepared: Prepared) -> None:
        self._connection.reopen(prepared, ())

    def _rejoin(self) -> None:
        self._connection.resume()
        with self._connection.lock:
            self._connection.session.settle_past()

    def _tell(self, kind: EventKind, text: str) -> None:
        with self._connection.lock:
            now = self._connection.machine.now_ns()
            event = Event(kind=kind, reason=text, received_ns=now)
            self._connection.session.incoming.tell_of_connection(event)


class RecoveryThread:
    """The recovery of a face that any thread may use: a thread, while there is something to do."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session = connection.session
        self._thread: threading.Thread | None = None
        self._closing = False
        with connection.lock:
            self._recovery = Recovery(connection, self._session.notify)
            self._session.listeners.add(self._look)

    def _look(self) -> None:
        """Called under the connection's lock, as all listeners are."""
        if self._thread is None and not self._closing and self._recovery.is_due:
            machine = self._connection.machine
            try:
                self._thread = machine.start_thread("ringroom-recovery", self._run)
            except StartupError as error:  # no thread will look again
                self._session.fail(error)

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._over)
            wait = stack.enter_context(self._connection.always_waiting())
            while not self._closing and self._recovery.turn():
                wait([self._session.fileno()], self._recovery.patience())

    def _over(self) -> None:
        with self._connection.lock:
            self._thread = None
            self._look()

    def close(self) -> None:
        """Idempotent: gives up what is under way, and waits a second at most for the thread."""
        with self._connection.lock:
            self._closing = True
            thread = self._thread
            self._session.notify()
        if thread is not None:
            join_unless_within(thread, LEFT_BEHIND_SECONDS)
        self._recovery.close()
