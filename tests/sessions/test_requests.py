"""Requests by number: an answer is taken once, or forgotten, whichever comes first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringroom.sessions.requests import Requests


def test_an_answer_is_taken_once() -> None:
    requests = Requests()
    first, second = requests.new(), requests.new()
    assert (first != second, requests.take(first)) == (True, None)
    requests.answer(second, 2.5)
    assert [requests.take(second), requests.take(second)] == [2.5, None]
    assert requests.unanswered == {first}


def test_what_nobody_waits_for_is_not_kept() -> None:
    requests = Requests()
    early, late = requests.new(), requests.new()
    requests.forget(early)
    requests.answer(early, 1.0)
    requests.answer(late, 1.0)
    requests.forget(late)
    assert (requests.answers, requests.unanswered) == ({}, set())
    assert requests.new() not in (early, late)


@given(
    st.lists(st.sampled_from(["new", "answer", "take", "forget", "all"]), max_size=60), st.data()
)
def test_each_is_unanswered_answered_or_over(steps: list[str], data: st.DataObject) -> None:
    """In any order; and what is over leaves nothing behind."""
    requests, made, forgotten = Requests(), set[int](), set[int]()
    for step in steps:
        if step == "new":
            made.add(requests.new())
        elif step == "all":
            requests.answer_all()
        elif made:
            number = data.draw(st.sampled_from(sorted(made)))
            if step == "answer" and number in requests.unanswered:
                requests.answer(number, 1.0)
            elif step == "take":
                requests.take(number)
            elif step == "forget":
                requests.forget(number)
                forgotten.add(number)
        assert not requests.unanswered & requests.answers.keys()
        assert not forgotten & requests.answers.keys()
    requests.answer_all()
    assert not requests.unanswered
    for number in made:
        requests.take(number)
    assert not requests.answers
    assert not requests._forgotten
