"""Brings a connection back when its I/O process has died: a pool's, or a plain transport's
(`recovery`).

When the I/O process has died, another one is prepared and joins the room. A failure is tried again,
after a pause if it is not the first, and given up in the end. Two things can fail:

- The process dies. That counts as the death of a worker does (`Record`).
- The process lives and is not let into the room. That is as any other loss of the connection
  (`Reconnect`), whose deadline holds for both.

What takes its time (a token, a process) is done on a thread, the rest where `turn` is called.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from ringroom.errors import ClosedError, LostProcessError, RingroomError, RoomError, StartupError
from ringroom.events import EventKind
from ringroom.faces.connection import Connection, Prepared
from ringroom.notices import Notices
from ringroom.processes.retries import Retries
from ringroom.processes.spawning import interpreter_is_ending
from ringroom.processes.supervision.supervisor import STANDBY_AFTER, Care, Record

log = logging.getLogger("ringroom")
# The time between two looks whether the standby lives: nothing else tells of its death.
STANDBY_LOOK_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MendingCalls:
    """What the owner of the connection does for `Mending`, and is told by it."""

    reopen: Callable[[Prepared], None]
    rejoin: Callable[[], None]
    tell: Callable[[EventKind, str], None]
    wake: Callable[[], None]
    """Called on another thread, under the connection's lock, when `turn` has something to do."""


@dataclass(slots=True, eq=False)
class _Attempt:
    """What an attempt's thread brings. Both threads use it under the connection's lock."""

    prepared: Prepared | None = None
    error: RingroomError | None = None
    over: bool = False
    given_up: bool = False


class _State(Enum):
    """Of the connection, as far as `turn` has seen."""

    UP = auto()
    """The room is joined."""
    WAITING = auto()
    """The room is not joined, and another try is due at a known time."""
    PREPARING = auto()
    """A thread brings an I/O process, and what that is to be told."""
    JOINING = auto()
    """The I/O process was told, and has not joined the room yet."""
    OVER = auto()
    """Mending was given up, or closed."""


def ended_with_interpreter() -> LostProcessError | None:
    """What a session ends by as the interpreter ends, which kills the I/O processes and lets no
    other start; None while it does not end."""
    if not interpreter_is_ending():
        return None
    return LostProcessError(
        "the interpreter ends, and its I/O processes with it; what was under way is lost. Finish "
        "before, or in an atexit handler that is registered once a transport is open"
    )


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
        self._record = Record(care)
        dice = random.Random(connection.machine.now_ns())  # noqa: S311
        self._retries = Retries(connection.options.reconnect, dice.random)
        self._state = _State.UP
        self._attempt: _Attempt | None = None
        """The one whose thread prepares it; None while none does."""
        self._joined_at = 0.0
        self._next_try_at = 0.0
        self._standby_at: float | None = None
        self._notices = Notices(log, connection.machine.now_ns)

    def begin(self) -> None:
        """The room is joined."""
        self._joined(self._machine.now())

    def _enter(self, state: _State) -> None:
        """Change the state, unless it is over: another thread may have closed it meanwhile."""
        with self._connection.lock:
            if self._state is not _State.OVER:
                self._state = state

    def _joined(self, now: float) -> None:
        self._retries.joined(now)
        self._enter(_State.UP)
        self._joined_at = now
        self._standby_at = now + STANDBY_AFTER if self._standby else None

    def _keep_standby(self, now: float) -> None:
        self._standby_at = now + STANDBY_LOOK_SECONDS
        try:
            if not self._connection.keep_standby():
                self._standby_at = None  # the I/O process is not ours alone
        except RingroomError as error:  # the machine may have room for it the next time
            self._notices.tell("standby", f"no standby I/O process: {error}")

    @property
    def is_up(self) -> bool:
        """Whether the room is joined, as far as `turn` has seen."""
        return self._state is _State.UP

    def patience(self) -> float | None:
        """Seconds until `turn` has something to do; None: when the session changes."""
        due = self._next_try_at if self._state is _State.WAITING else self._standby_at
        return None if due is None else max(0.0, due - self._machine.now())

    def turn(self) -> None:
        """Do what is due; as the interpreter ends, it is given up."""
        if interpreter_is_ending():
            if self._connection.session.interrupted:
                self.failure = ended_with_interpreter()
                self._enter(_State.OVER)
            return
        now = self._machine.now()
        match self._state:
            case _State.UP | _State.JOINING:
                self._look(now)
            case _State.PREPARING:
                self._take(now)
        if self._standby_at is not None and now >= self._standby_at:
            self._keep_standby(now)
        if self._state is _State.WAITING and now >= self._next_try_at:
            self._try(now)

    def _try(self, now: float) -> None:
        attempt = _Attempt()
        with self._connection.lock:
            if self._state is _State.OVER:  # closed on another thread, meanwhile
                return
            self._state, self._attempt = _State.PREPARING, attempt
        try:
            self._machine.start_thread("ringroom-rejoin", self._runner(attempt))
        except StartupError as error:  # a moment later there may be one
            with self._connection.lock:
                self._attempt = None
            self._failed(error, now)

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

    def _take(self, now: float) -> None:
        """Use what the thread has brought, if it is there."""
        with self._connection.lock:
            attempt = self._attempt
            if attempt is None or not attempt.over:  # None: closed meanwhile
                return
            self._attempt = None
        error = attempt.error
        if attempt.prepared is not None:
            try:
                self._calls.reopen(attempt.prepared)
            except RingroomError as failed:
                error = failed
        if error is None:
            self._enter(_State.JOINING)
        else:
            self._failed(error, now)

    def _look(self, now: float) -> None:
        session = self._connection.session
        if (refusal := session.take_refusal()) is not None:
            self._failed(refusal, now)
        elif session.interrupted:
            how = self._connection.host.how_it_died()
            self._failed(LostProcessError(f"the I/O process died{how}"), now)
        elif self._state is _State.JOINING and session.joined is not None:
            self._joined(now)
            self._calls.rejoin()
            text = "another I/O process has joined the room"
            log.warning("%s", text)
            self._calls.tell(EventKind.CONNECTION_BACK, text)

    def _failed(self, error: RingroomError, now: float) -> None:
        """The I/O process has died, or the attempt to put another in its place has failed."""
        was_up, self._standby_at = self.is_up, None
        wait = self._next_try(error, now)
        if wait is None or isinstance(error, ClosedError):
            self.failure = error
            self._enter(_State.OVER)
        else:
            self._next_try_at = now + wait
            self._enter(_State.WAITING)
        if was_up:
            self._calls.tell(EventKind.CONNECTION_LOST, str(error))
        log.error("%s", error)

    def _next_try(self, error: RingroomError, now: float) -> float | None:
        """Seconds until the next try; None: it is given up."""
        if isinstance(error, RoomError):  # a refused token was fresh: another try changes nothing
            return None if error.reason == "unauthorized" else self._retries.next(now)
        wait = self._record.died(now, now - self._joined_at if self.is_up else 0.0)
        late = now + wait >= self._retries.lost(now)
        return None if late or self._record.too_often(now) else wait

    def close(self) -> None:
        """Idempotent: what is under way is given up."""
        with self._connection.lock:
            self._state = _State.OVER
            attempt, self._attempt = self._attempt, None
            if attempt is not None:
                attempt.given_up = True
                _discard(attempt)


def _discard(attempt: _Attempt) -> None:
    prepared, attempt.prepared = attempt.prepared, None
    if prepared is not None:
        prepared.discard()
