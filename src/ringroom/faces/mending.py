"""Brings a connection back when its I/O process has died: a pool's, or a plain transport's
(`recovery`).

The I/O process has one place, with the life that supervision gives to places (`tables.PLACE`):
it is filled while the room is joined, or is being joined; when that fails it is tried again, after
a while if it fails again and again, and given up in the end. Two things can fail: a process dies,
which counts as supervision counts it (`Care`), or it lives and is not let into the room, and then
it is as after any other loss of the connection (`Reconnect`), whose deadline holds for both. What
takes its time (a token, a process) is done on a thread; the rest where `turn` is called.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from ringroom.errors import ClosedError, LostProcessError, RingroomError, RoomError
from ringroom.faces.connection import Connection, Prepared
from ringroom.frames import EventKind
from ringroom.processes.retries import Retries
from ringroom.processes.spawning import ending
from ringroom.processes.supervision.supervisor import STANDBY_AFTER, Care, Post, Record
from ringroom.processes.supervision.tables import PlaceHappening, PlaceState

log = logging.getLogger("ringroom")
# Between looks whether the standby still lives: nothing else tells, and it is seldom needed.
STANDBY_LOOK_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MendingCalls:
    """What is asked of whoever has the connection, and told to them."""

    reopen: Callable[[Prepared], None]
    rejoin: Callable[[], None]
    tell: Callable[[EventKind, str], None]
    wake: Callable[[], None]
    """On another thread, under the connection's lock: `turn` has something to do."""


@dataclass(slots=True, eq=False)
class _Attempt:
    """What the thread brings; under the connection's lock."""

    prepared: Prepared | None = None
    error: RingroomError | None = None
    over: bool = False
    given_up: bool = False


class Mending:
    """See the module's docstring. Not thread-safe, but for `close`; never waits."""

    def __init__(
        self, connection: Connection, care: Care, calls: MendingCalls, standby: bool
    ) -> None:
        self.failure: RingroomError | None = None
        """Why it was given up."""
        self._connection = connection
        self._machine = connection.machine
        self._calls = calls
        self._standby = standby
        self._post = Post(Record(care))
        dice = random.Random(connection.machine.now_ns())  # noqa: S311
        self._retries = Retries(connection.options.reconnect, dice.random)
        self._attempt: _Attempt | None = None
        self._closed = False
        self._joining = False
        self._down = False
        self._joined_at = 0.0
        self._standby_at: float | None = None

    def begin(self) -> None:
        """The room is joined."""
        self._post.on(PlaceHappening.FILL)
        self._joined(self._machine.now())

    def _joined(self, now: float) -> None:
        self._retries.joined(now)
        self._joining, self._down, self._joined_at = False, False, now
        self._standby_at = now + STANDBY_AFTER if self._standby else None

    def _keep_standby(self, now: float) -> None:
        self._standby_at = None
        try:
            if self._connection.keep_standby():
                self._standby_at = now + STANDBY_LOOK_SECONDS
        except RingroomError as error:
            log.warning("no standby I/O process: %s", error)

    @property
    def is_up(self) -> bool:
        """Whether the room is joined, as far as `turn` has seen."""
        return not self._down

    def patience(self) -> float | None:
        """Seconds until `turn` has something to do; None: when the session changes."""
        due = self._post.until if self._post.state is PlaceState.WAITING else self._standby_at
        return None if due is None else max(0.0, due - self._machine.now())

    def turn(self) -> None:
        """Do what is due; as the interpreter ends, nothing is."""
        if ending():
            return
        now = self._machine.now()
        if self._post.state is PlaceState.WAITING and now >= self._post.until:
            self._post.on(PlaceHappening.TIME)
        if self._post.state is PlaceState.FILLED:
            self._look(now)
        if self._standby_at is not None and now >= self._standby_at and not self._down:
            self._keep_standby(now)
        if self._post.state is PlaceState.VACANT:
            self._post.on(PlaceHappening.FILL)
            self._try()

    def _try(self) -> None:
        attempt = _Attempt()
        with self._connection.lock:
            if self._closed:  # on another thread, meanwhile
                return
            self._attempt = attempt
        self._machine.start_thread("ringroom-rejoin", self._runner(attempt))

    def _runner(self, attempt: _Attempt) -> Callable[[], None]:
        connection = self._connection

        def run() -> None:
            prepared, failed = None, None
            try:
                prepared = connection.prepare()
            except RingroomError as error:
                failed = error
            except BaseException as error:  # a token function may try to exit; its thread does
                log.exception("the connection was not made anew")
                failed = LostProcessError(f"the I/O process died, and no other came: {error}")
            with connection.lock:
                attempt.prepared, attempt.error, attempt.over = prepared, failed, True
                if attempt.given_up:
                    _discard(attempt)
                self._calls.wake()

        return run

    def _look(self, now: float) -> None:
        session = self._connection.session
        if self._attempt is not None:
            with self._connection.lock:
                attempt = self._attempt
                if attempt is None or not attempt.over:  # None: closed meanwhile
                    return
                self._attempt = None
            self._use(attempt, now)
        elif (refusal := session.take_refusal()) is not None:
            self._died(refusal, now)
        elif session.interrupted:
            how = self._connection.host.how_it_died()
            self._died(LostProcessError(f"the I/O process died{how}"), now)
        elif self._joining and session.joined is not None:
            self._joined(now)
            self._calls.rejoin()
            text = "another I/O process has joined the room"
            log.warning("%s", text)
            self._calls.tell(EventKind.CONNECTION_BACK, text)

    def _use(self, attempt: _Attempt, now: float) -> None:
        error = attempt.error
        if attempt.prepared is not None:
            try:
                self._calls.reopen(attempt.prepared)
            except RingroomError as failed:
                error = failed
        if error is not None:
            self._died(error, now)
        self._joining = error is None

    def _died(self, error: RingroomError, now: float) -> None:
        wait = self._next_try(error, now)
        if wait is None or isinstance(error, ClosedError):
            self._post.on(PlaceHappening.DIED_TOO_OFTEN)
            self.failure = error
        else:
            self._post.until = now + wait
            self._post.on(PlaceHappening.DIED_SOON if wait else PlaceHappening.DIED)
        if not self._down:
            self._calls.tell(EventKind.CONNECTION_LOST, str(error))
        self._down, self._joining, self._standby_at = True, False, None
        log.error("%s", error)

    def _next_try(self, error: RingroomError, now: float) -> float | None:
        """Seconds to wait for it; None: it is given up."""
        if isinstance(error, RoomError):  # a fresh token that is refused: nothing would change
            return None if error.reason == "unauthorized" else self._retries.next(now)
        record = self._post.record
        wait = record.died(now, 0.0 if self._down else now - self._joined_at)
        late = now + wait >= self._retries.lost(now)
        return None if late or record.too_often(now) else wait

    def close(self) -> None:
        """Idempotent: what is under way is given up."""
        self._post.on(PlaceHappening.STOP)
        with self._connection.lock:
            self._closed = True
            attempt, self._attempt = self._attempt, None
            if attempt is not None:
                attempt.given_up = True
                _discard(attempt)


def _discard(attempt: _Attempt) -> None:
    prepared, attempt.prepared = attempt.prepared, None
    if prepared is not None:
        prepared.link.close()
        prepared.close()
