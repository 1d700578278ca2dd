"""The laws of calls (RPC), ours and theirs: each ends once, within its time, with what is its own.

A call has a number, and says in its text what is wanted of whoever answers it. `CallLedger` is told
by those who call when a call begins and how it has ended, and by those who answer what has reached
them. Times are seconds of the caller's clock.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ringroom.errors import ClosedError, RingroomError, RoomError, RpcError
from ringroom.rpc import RpcAnswer, RpcCall
from ringroom.testing.simulation.laws import Broken

__all__ = [
    "ASK",
    "OF_GUESTS",
    "OF_US",
    "REFUSED",
    "Call",
    "CallLedger",
    "answer_to",
    "answers_of_us",
    "refusal_of",
    "wanted_of",
]

ASK = "ask"
"""The method of everybody."""
ANSWER, REFUSAL, NOTHING = "answer", "refusal", "nothing"
RAISE, TWICE, ASK_BACK = "raise", "twice", "ask back"
MUTE, UNMUTE = "mute", "unmute"
# What is wanted of guests, and of us; and what of that is answered, with the number of the call.
OF_GUESTS = (ANSWER, ANSWER, REFUSAL, NOTHING)
OF_US = (ANSWER, ANSWER, REFUSAL, NOTHING, RAISE, TWICE, ASK_BACK, MUTE, UNMUTE)
ANSWERED = frozenset((ANSWER, TWICE, ASK_BACK, MUTE, UNMUTE))
REFUSED = 404
# Times are sums of floating-point durations, and travel in milliseconds.
_ROUNDING = 0.001
_AWAY = (RpcError.CONNECTION_TIMEOUT, RpcError.RECIPIENT_DISCONNECTED, RpcError.RECIPIENT_NOT_FOUND)
_GUEST_GONE = (RpcError.RECIPIENT_DISCONNECTED, RpcError.RECIPIENT_NOT_FOUND)


def wanted_of(payload: str) -> tuple[int, str]:
    """The number of a call, and what is wanted."""
    number, _, wanted = payload.partition(" ")
    return int(number), wanted


def answer_to(number: int, guest: str) -> str:
    """What answers the call, and no other one. ``guest`` is who calls, or is called."""
    return f"{number} with {guest}"


def refusal_of(call: RpcCall) -> RpcAnswer:
    """What refuses the call, and no other one."""
    number, _ = wanted_of(call.text)
    return call.refuse("as was wanted", code=REFUSED, data=f"{number}")


def answers_of_us(call: RpcCall) -> tuple[RpcAnswer, ...]:
    """What we send for a call to us, as far as nothing else is to be done for it."""
    number, wanted = wanted_of(call.text)
    answer = call.answer(answer_to(number, call.participant))
    if wanted == NOTHING:
        return ()
    if wanted == REFUSAL:
        return (refusal_of(call),)
    return (answer, call.answer("a second time")) if wanted == TWICE else (answer,)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One that is under way. ``guest`` is the other's identity, ``by`` the role that waits."""

    number: int
    ours: bool
    guest: str
    wanted: str
    seconds: float
    begun: float
    by: str

    @property
    def payload(self) -> str:
        """What is sent."""
        return f"{self.number} {self.wanted}"


@dataclass
class CallLedger:
    """All calls of a story. ``slack`` is how many seconds late a caller may be told. ``note`` is
    called for laws that are found broken, by any role."""

    slack: float
    note: Callable[[Broken], None]
    ended: int = 0
    away_until: float = 0.0
    """Until then we were out of the room, at times, and calls of both sides may end by that."""
    troubled_until: float = 0.0
    """Until then something went wrong, so that an answer may come too late."""
    excused_until: float = 0.0
    """Until then a process stood still: one that waits there is told late."""
    deaf_as_we_join: bool = False
    """Methods are ours a moment after we have joined: whoever calls before is told that there are
    none. So it is with LiveKit's SDK, which takes them of those alone who are in the room."""
    over: bool = False
    """The room has closed, or does so now."""
    left: set[str] = field(default_factory=set)
    """Guests that have left."""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _under_way: dict[int, Call] = field(default_factory=dict)
    _reached: set[int] = field(default_factory=set)
    _ends: dict[int, float] = field(default_factory=dict)
    """Of calls to us, when the caller's time is over."""

    def begin(
        self, *, ours: bool, guest: str, wanted: str, seconds: float, now: float, by: str
    ) -> Call:
        """Note a call, which is made right after this."""
        call = Call(
            number=next(self._numbers),
            ours=ours,
            guest=guest,
            wanted=wanted,
            seconds=seconds,
            begun=now,
            by=by,
        )
        self._under_way[call.number] = call
        if not ours:
            self._ends[call.number] = now + seconds
        return call

    def reached(self, number: int) -> None:
        """The call has reached whoever is to answer it."""
        if number in self._reached:
            self.note(Broken("calls", f"call {number} has reached two, or one twice"))
        self._reached.add(number)

    def expired(self, now: float) -> int:
        """How many calls to us may have been dropped unread: their callers' time is over, and they
        are not known to have reached anybody."""
        over = (number for number, end in tuple(self._ends.items()) if end <= now + _ROUNDING)
        return sum(number not in self._reached for number in over)

    def of_guest(self, guest: str, call: RpcCall) -> str | None:
        """What a guest answers. Raises the `RpcError` of a refusal."""
        number, wanted = wanted_of(call.text)
        self.reached(number)
        if wanted == REFUSAL:
            refusal_of(call).result()
        return None if wanted == NOTHING else answer_to(number, guest)

    def end(self, call: Call, outcome: str | Exception, now: float) -> None:
        """The caller has that answer, or error."""
        self._under_way.pop(call.number, None)
        self.ended += 1
        if self._is_overdue(call, now):
            self.note(_overdue(call, now))
        elif not self._fits(call, outcome, now):
            end = repr(outcome) if isinstance(outcome, str) else _text(outcome)
            self.note(Broken("calls", f"after {now - call.begun:.3f} s {end} for {call}"))

    def check_overdue(self, now: float, living: Collection[str]) -> None:
        """Raises `Broken` for a call whose caller, a role that lives, was told too late."""
        for call in tuple(self._under_way.values()):
            if call.by not in living:
                del self._under_way[call.number]
            elif self._is_overdue(call, now):
                raise _overdue(call, now)

    def _fits(self, call: Call, outcome: str | Exception, now: float) -> bool:
        match outcome:
            case str():
                right = answer_to(call.number, call.guest)
                return outcome == right and call.wanted in ANSWERED
            case RingroomError() if self.over:
                return True
            case RpcError():
                return self._is_expected(call, outcome, now)
            case TimeoutError():
                return call.ours and self._may_be_unanswered(call, now)
            case ClosedError():  # whoever was to call was not there
                return not call.ours and call.guest in self.left
            case RoomError(reason="disconnected"):
                return call.ours and self.away_until >= call.begun
        return False

    def _is_overdue(self, call: Call, now: float) -> bool:
        return now > max(call.begun + call.seconds, self.excused_until) + self.slack

    def _is_expected(self, call: Call, error: RpcError, now: float) -> bool:
        code = error.code
        if code == REFUSED:
            refuses = call.wanted == REFUSAL or (not call.ours and call.wanted == ASK_BACK)
            return refuses and error.data == f"{call.number}"
        if call.ours:
            return code in _GUEST_GONE and call.guest in self.left
        match code:
            case RpcError.APPLICATION_ERROR:
                flooded = "Too busy" in str(error) and self.troubled_until >= call.begun
                return call.wanted == RAISE or flooded
            case RpcError.RESPONSE_TIMEOUT:
                return self._may_be_unanswered(call, now)
            case RpcError.SEND_FAILED:
                return call.guest in self.left
            case RpcError.UNSUPPORTED_METHOD:
                return self.deaf_as_we_join and self.away_until >= call.begun
        return code in _AWAY and self.away_until >= call.begun

    def _may_be_unanswered(self, call: Call, now: float) -> bool:
        """Its time is over, and there is a reason for that."""
        over = now >= call.begun + call.seconds - _ROUNDING
        troubled = self.troubled_until >= call.begun
        return over and (call.wanted == NOTHING or troubled or self.over)


def _overdue(call: Call, now: float) -> Broken:
    return Broken("calls", f"{now - call.begun:.3f} s have passed, of {call}")


def _text(error: Exception) -> str:
    code = f" {error.code}" if isinstance(error, RpcError) else ""
    reason = f" {error.reason}" if isinstance(error, RoomError) else ""
    kind = type(error).__name__ if isinstance(error, RingroomError | OSError) else repr(error)
    return f"{kind}{code}{reason} ({error})"
