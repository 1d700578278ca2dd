"""What is asked about our subscribers: answered once, and asked again over another link."""

from __future__ import annotations

from typing import Any

import pytest

from ringroom import messages as m
from ringroom.errors import RoomError
from ringroom.sessions.subscriber_changes import SubscriberChanges
from ringroom.subscribers import Allowance, Subscribers

ANN, BOB = frozenset({"ann"}), frozenset({"bob"})


@pytest.fixture
def sent() -> list[m.Message]:
    return []


@pytest.fixture
def changes(sent: list[m.Message]) -> SubscriberChanges:
    return SubscriberChanges(sent.append)


def done(number: int) -> m.SubscribersAllowed:
    return m.SubscribersAllowed(request=number, error={})


def asked(number: int, who: list[str] | None, track: str = "") -> m.AllowSubscribers:
    fields: dict[str, Any] = {"everybody": who is None, "who": who or [], "track": track}
    return m.AllowSubscribers(request=number, **fields)


def test_each_is_answered_once(changes: SubscriberChanges, sent: list[m.Message]) -> None:
    first, second = changes.ask(Allowance(ANN)), changes.ask(Allowance(None, "b"))
    assert sent == [asked(first, ["ann"]), asked(second, None, "b")]
    assert changes.take(first) is None
    changes.answered(done(first))
    refusal = m.error_to_json(RoomError("no", reason="not_supported"))
    changes.answered(m.SubscribersAllowed(request=second, error=refusal))
    assert changes.take(first) is True
    with pytest.raises(RoomError, match="no"):
        changes.take(second)
    assert changes.take(first) is changes.take(second) is None


def test_over_another_link_all_is_asked_again_what_is_known_first(
    changes: SubscriberChanges, sent: list[m.Message]
) -> None:
    known = Subscribers(ANN, {"a": None})
    changes.known(m.SubscribersKnown(subscribers=known.to_json()))
    late = changes.ask(Allowance(BOB, "a"))
    changes.forget(late)
    sent.clear()
    changes.ask_again()
    assert sent == [asked(0, ["ann"]), asked(0, None, "a"), asked(late, ["bob"], "a")]


def test_nothing_is_kept_of_what_nobody_waits_for(
    changes: SubscriberChanges, sent: list[m.Message]
) -> None:
    for number in range(100):
        changes.forget(changes.ask(Allowance(ANN if number % 2 else None, f"t{number % 3}")))
    changes.forget(changes.ask(Allowance(BOB)))
    sent.clear()
    changes.ask_again()
    assert sent == [asked(101, ["bob"])], "the last word alone"
    changes.answered(done(101))
    answered = changes.ask(Allowance(ANN))
    changes.answered(done(answered))
    changes.forget(answered)
    assert not any((changes._answers, changes._unanswered, changes._forgotten))


def test_what_is_waited_for_is_not_overtaken(
    changes: SubscriberChanges, sent: list[m.Message]
) -> None:
    waited, other = changes.ask(Allowance(ANN)), changes.ask(Allowance(BOB))
    sent.clear()
    changes.ask_again()
    assert sent == [asked(waited, ["ann"]), asked(other, ["bob"])]
