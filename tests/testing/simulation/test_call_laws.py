"""Each law of calls, and of muting, is broken once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from ringroom.errors import ClosedError, RoomError, RpcError
from ringroom.testing.simulation.call_laws import REFUSED, Call, CallLedger
from ringroom.testing.simulation.laws import Broken
from ringroom.testing.simulation.mute_laws import MuteLedger


@dataclass(frozen=True)
class Case:
    """A call of 2 s that begins at 10 s, and how it ends."""

    ours: bool
    wanted: str
    outcome: str | Exception
    at: float = 10.5


def ledger_of(**around: Any) -> CallLedger:
    def broken(law: Broken) -> None:
        raise law

    return CallLedger(0.3, broken, **around)


def failed(code: int, data: str = "") -> RpcError:
    return RpcError("failed", code=code, data=data)


def began(ledger: CallLedger, case: Case) -> Call:
    return ledger.begin(
        ours=case.ours, guest="ann", wanted=case.wanted, seconds=2.0, now=10.0, by="me"
    )


def end(ledger: CallLedger, case: Case) -> None:
    ledger.end(began(ledger, case), case.outcome, case.at)


RIGHT = "0 with ann"
LOST = RoomError("lost", reason="disconnected")
LATE = failed(RpcError.RESPONSE_TIMEOUT)
GONE = failed(RpcError.RECIPIENT_DISCONNECTED)
AWAY = failed(RpcError.RECIPIENT_NOT_FOUND)

RULES = [
    Case(True, "answer", RIGHT),
    Case(False, "answer", RIGHT),
    Case(False, "ask back", RIGHT),
    Case(True, "refusal", failed(REFUSED, "0")),
    Case(False, "ask back", failed(REFUSED, "0")),
    Case(False, "raise", failed(RpcError.APPLICATION_ERROR)),
    Case(True, "nothing", TimeoutError(), 12.0),
    Case(False, "nothing", LATE, 12.1),
]
EXCUSED = [
    ({"troubled_until": 10.1}, Case(True, "answer", TimeoutError(), 12.0)),
    ({"troubled_until": 10.1}, Case(False, "answer", LATE, 12.0)),
    ({"away_until": 10.1}, Case(True, "answer", LOST)),
    ({"away_until": 10.1}, Case(False, "answer", GONE)),
    ({"away_until": 10.1}, Case(False, "answer", AWAY)),
    (
        {"away_until": 10.1, "deaf_as_we_join": True},
        Case(False, "answer", failed(RpcError.UNSUPPORTED_METHOD)),
    ),
    ({"left": {"ann"}}, Case(True, "answer", GONE)),
    ({"left": {"ann"}}, Case(True, "answer", AWAY)),
    ({"left": {"ann"}}, Case(False, "answer", failed(RpcError.SEND_FAILED))),
    ({"excused_until": 13.0}, Case(False, "nothing", LATE, 13.1)),
    ({"over": True}, Case(True, "answer", ClosedError("closed"))),
]
NEVER = [
    Case(True, "answer", "1 with ann"),
    Case(True, "answer", "0 with bob"),
    Case(False, "nothing", RIGHT),
    Case(True, "refusal", failed(REFUSED, "1")),
    Case(True, "answer", failed(REFUSED, "0")),
    Case(True, "answer", failed(RpcError.APPLICATION_ERROR)),
    Case(True, "answer", failed(RpcError.SEND_FAILED)),
    Case(False, "answer", failed(RpcError.UNSUPPORTED_METHOD)),
    Case(False, "answer", failed(RpcError.APPLICATION_ERROR)),
    Case(False, "answer", LOST),
    Case(True, "answer", RoomError("no", reason="failed")),
    Case(True, "nothing", TimeoutError(), 11.9),
    Case(True, "nothing", TimeoutError(), 12.4),
    Case(False, "answer", RIGHT, 12.4),
    Case(True, "answer", ValueError("no error of ours")),
]


@pytest.mark.parametrize("case", RULES, ids=repr)
def test_how_a_call_may_end(case: Case) -> None:
    end(ledger_of(), case)


@pytest.mark.parametrize(("around", "case"), EXCUSED, ids=repr)
def test_how_it_may_end_for_a_reason(around: dict[str, object], case: Case) -> None:
    end(ledger_of(**around), case)
    with pytest.raises(Broken, match="calls: "):
        end(ledger_of(), case)


@pytest.mark.parametrize("case", NEVER, ids=repr)
def test_how_it_may_not_end(case: Case) -> None:
    with pytest.raises(Broken, match="calls: "):
        end(ledger_of(), case)


def test_a_call_reaches_one_who_answers_and_once() -> None:
    ledger = ledger_of()
    ledger.reached(0)
    ledger.reached(1)
    with pytest.raises(Broken, match="calls: call 0 has reached two"):
        ledger.reached(0)


def test_a_call_that_does_not_end_is_found_while_its_caller_lives() -> None:
    ledger = ledger_of()
    began(ledger, RULES[0])
    ledger.check_overdue(12.2, ["me"])
    with pytest.raises(Broken, match=r"calls: 2\.400 s have passed"):
        ledger.check_overdue(12.4, ["me"])
    ledger.check_overdue(12.4, ["somebody else"])
    ledger.check_overdue(12.4, ["me"])


def muted(*changes: tuple[bool, float, float]) -> MuteLedger:
    ledger = MuteLedger()
    for mutes, called, returned in changes:
        ledger.begin("mic", mutes, called)
        ledger.done("mic", mutes, returned)
    return ledger


def test_what_is_muted_is_not_heard() -> None:
    ledger = muted((True, 1.0, 1.2), (True, 1.3, 1.4), (False, 2.0, 2.1), (True, 3.0, 3.1))
    ledger.check_heard("mic", (0.5, 1.1, 1.2, 2.0, 2.5, 3.1))
    ledger.check_heard("other", (1.5,))
    for heard in (1.25, 1.99, 3.5):
        with pytest.raises(Broken, match="muting: 'mic' was heard"):
            ledger.check_heard("mic", (0.5, heard))


def test_the_far_end_is_told_what_is_muted() -> None:
    for mutes in (True, False):
        ledger = muted((True, 1.0, 1.1), (mutes, 2.0, 2.1))
        ledger.check_state("mic", mutes)
        ledger.check_state("other", False)
        for name, told in (("mic", not mutes), ("other", True)):
            with pytest.raises(Broken, match=f"muting: '{name}' is "):
                ledger.check_state(name, told)


def test_a_change_that_did_not_return_says_nothing() -> None:
    ledger = muted((True, 1.0, 1.1))
    ledger.begin("mic", False, 2.0)
    ledger.check_state("mic", True)
    ledger.check_state("mic", False)
    ledger.check_heard("mic", (2.5,))
