"""What the application and its people do in a chaos run beside frames and messages: they call each
other, and the application mutes a track of its own. Each has a thread, in the middle of whatever
goes wrong; the seed says what is wanted of whom.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from ringroom.errors import RingroomError
from ringroom.pool import Pool
from ringroom.testing.chaos import plan as p
from ringroom.testing.chaos.ears import OWN_TRACK, Ears
from ringroom.testing.simulation.call_laws import (
    ANSWER,
    ASK,
    ASK_BACK,
    NOTHING,
    OF_GUESTS,
    REFUSAL,
    TWICE,
    CallLedger,
)
from ringroom.testing.simulation.laws import Broken

__all__ = ["Deeds", "always_excused"]

# Seconds: between two deeds of a thread, on average, and what calls have.
_APART = 0.3
_CALLS_LAST = (0.2, 0.5, 1.0, 3.0)
_AT_REST = 5.0
OF_US = (ANSWER, ANSWER, REFUSAL, NOTHING, TWICE, ASK_BACK)
_MUTES = 0.6
_HERE = "application"


def always_excused(plan: p.Plan, note: Callable[[Broken], None]) -> CallLedger:
    """The laws of calls while anything may go wrong at any moment: whoever is called may be gone,
    and whoever answers. What a call ends with is its own all the same."""
    always = float("inf")
    people = set(plan.people)
    return CallLedger(plan.patience, note, away_until=always, troubled_until=always, left=people)


class CalledStage(Protocol):
    """What is needed of the stage."""

    ears: Ears
    calls: CallLedger

    def call_us(self, person: int, payload: str, seconds: float) -> str: ...


class Deeds:
    """They rest at first."""

    def __init__(self, pool: Pool, stage: CalledStage, plan: p.Plan) -> None:
        self.pool = pool
        self._stage = stage
        self._plan = plan
        self._over = threading.Event()
        self._rests = True
        self.threads: dict[str, Callable[[], None]] = {
            "callers": lambda: self._go_round("callers", self._let_us_call),
            "called": lambda: self._go_round("called", self._let_them_call),
            "muter": lambda: self._go_round("muter", self._mute),
        }
        """What each of the threads runs, until `end`."""
        self._busy = {name: threading.Lock() for name in self.threads}

    def _go_round(self, name: str, do: Callable[[random.Random], None]) -> None:
        draw = random.Random(f"{self._plan.seed} {name}")  # noqa: S311 (it must be repeatable)
        while not self._over.wait(draw.expovariate(1 / _APART)):
            with self._busy[name]:
                if not self._rests:
                    do(draw)

    def check(self) -> None:
        """Raises `Broken` for a call that should have ended."""
        self._stage.calls.check_overdue(time.monotonic(), (_HERE,))

    def rest(self) -> None:
        """Nothing more is begun until `go_on`, and what is under way has ended."""
        self._rests = True
        for name, lock in self._busy.items():
            if not lock.acquire(timeout=self._plan.patience + max(_CALLS_LAST)):
                raise Broken("deadline", f"{name}: what it does takes too long")
            lock.release()

    def go_on(self) -> None:
        """The end of `rest`."""
        self._rests = False

    def end(self) -> None:
        """The threads end."""
        self._over.set()

    # What they do.

    def set_muted(self, muted: bool) -> None:
        """Mute or unmute our own track. Raises `Broken`."""
        muting, patience = self._stage.ears.muting, self._plan.patience
        muting.begin(OWN_TRACK, muted, time.monotonic())
        try:
            (self.pool.mute if muted else self.pool.unmute)(OWN_TRACK, timeout=patience)
        except (RingroomError, TimeoutError) as error:
            law = "deadline" if isinstance(error, TimeoutError) else "errors"
            text = f"{'' if muted else 'un'}mute: {type(error).__name__}: {error}"
            raise Broken(law, text) from None
        muting.done(OWN_TRACK, muted, time.monotonic())

    def are_calls_answered(self) -> bool:
        """Whether one in each direction is."""
        us, them = self._call_us(0, ANSWER, _AT_REST), self._call_them(0, ANSWER, _AT_REST)
        return isinstance(us, str) and isinstance(them, str)

    def _mute(self, draw: random.Random) -> None:
        self.set_muted(draw.random() < _MUTES)

    def _let_us_call(self, draw: random.Random) -> None:
        person = draw.randrange(self._plan.tracks)
        self._call_them(person, draw.choice(OF_GUESTS), draw.choice(_CALLS_LAST))

    def _let_them_call(self, draw: random.Random) -> None:
        person = draw.randrange(self._plan.tracks)
        self._call_us(person, draw.choice(OF_US), draw.choice(_CALLS_LAST))

    def _call_them(self, person: int, wanted: str, seconds: float) -> str | Exception:
        who = self._plan.people[person]

        def make(payload: str) -> str:
            return self.pool.call(who, ASK, payload, timeout=seconds)

        return self._call(make, True, who, wanted, seconds)

    def _call_us(self, person: int, wanted: str, seconds: float) -> str | Exception:
        def make(payload: str) -> str:
            return self._stage.call_us(person, payload, seconds)

        return self._call(make, False, self._plan.people[person], wanted, seconds)

    def _call(
        self, make: Callable[[str], str], ours: bool, who: str, wanted: str, seconds: float
    ) -> str | Exception:
        calls = self._stage.calls
        call = calls.begin(
            ours=ours, guest=who, wanted=wanted, seconds=seconds, now=time.monotonic(), by=_HERE
        )
        outcome: str | Exception
        try:
            outcome = make(call.payload)
        except Exception as error:  # noqa: BLE001 (the law says which may be)
            outcome = error
        calls.end(call, outcome, time.monotonic())
        return outcome
