"""Who is in the room, asked over a link: answered in parts, and asked again over another link."""

from __future__ import annotations

from typing import Any

import pytest

from ringroom import messages as m
from ringroom.errors import RoomError, WireError
from ringroom.events import Participant
from ringroom.lanes.records import participant_to_json
from ringroom.sessions.roll_calls import RollCalls

ANN = Participant(identity="ann", metadata="m", attributes={"a": "b"}, kind="agent")
BEN = Participant(identity="ben", kind="standard")


@pytest.fixture
def sent() -> list[m.Message]:
    return []


@pytest.fixture
def calls(sent: list[m.Message]) -> RollCalls:
    return RollCalls(sent.append)


def told(number: int, *people: Participant, last: bool = True, away: bool = False) -> m.People:
    fields = {who.identity: participant_to_json(who) for who in people}
    return m.People(request=number, people=fields, last=last, away=away)


def test_an_answer_comes_in_parts_and_is_sorted(calls: RollCalls, sent: list[m.Message]) -> None:
    number = calls.ask(waits=True)
    assert sent == [m.AskPeople(request=number, waits=True)]
    calls.answered(told(number, BEN, last=False))
    assert calls.take(number) is None
    calls.answered(told(number, ANN))
    assert calls.take(number) == (ANN, BEN)
    assert calls.take(number) is None
    second = calls.ask(waits=True)
    calls.answered(told(second))
    assert calls.take(second) == ()


def test_an_answer_is_that_to_all_that_was_asked_before_it(calls: RollCalls) -> None:
    first, second, third = (calls.ask(waits=True) for _ in range(3))
    calls.answered(told(second, ANN))
    assert calls.take(third) is None
    assert calls.take(second) == calls.take(first) == (ANN,)


def test_where_the_room_is_away_that_is_raised_once(calls: RollCalls) -> None:
    number = calls.ask(waits=False)
    calls.answered(told(number, away=True))
    with pytest.raises(RoomError, match="not in the room now") as caught:
        calls.take(number)
    assert caught.value.reason == "disconnected"
    assert calls.take(number) is None


def test_another_link_is_asked_once_and_from_the_beginning(
    calls: RollCalls, sent: list[m.Message]
) -> None:
    calls.ask_again()
    first, second = calls.ask(waits=True), calls.ask(waits=True)
    calls.answered(told(second, ANN, last=False))
    sent.clear()
    calls.ask_again()
    assert sent == [m.AskPeople(request=second, waits=True)]
    calls.answered(told(second, BEN))
    assert calls.take(first) == calls.take(second) == (BEN,)


def test_nothing_is_kept_of_what_nobody_waits_for(calls: RollCalls, sent: list[m.Message]) -> None:
    late, answered = calls.ask(waits=True), calls.ask(waits=True)
    calls.forget(late)
    calls.answered(told(answered, ANN))
    calls.forget(answered)
    sent.clear()
    calls.ask_again()
    assert not sent
    assert not calls._unanswered
    assert not calls._answers
    assert not calls._told


@pytest.mark.parametrize("wrong", [{"ann": 5}, {"ann": {"identity": 5}}, {"ann": {"kind": []}}])
def test_what_is_no_participant(calls: RollCalls, wrong: dict[str, Any]) -> None:
    number = calls.ask(waits=True)
    with pytest.raises(WireError):
        calls.answered(m.People(request=number, people=wrong, last=True, away=False))
