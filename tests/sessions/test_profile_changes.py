"""What is asked of a room about ourselves: answered once, and asked again over another link."""

from __future__ import annotations

import pytest

from ringroom import messages as m
from ringroom.errors import ConfigurationError, RoomError
from ringroom.profile import Profile
from ringroom.sessions.profile_changes import ProfileChanges

ONE, TWO = Profile(name="one"), Profile(attributes={"two": "2"})


@pytest.fixture
def sent() -> list[m.Message]:
    return []


@pytest.fixture
def changes(sent: list[m.Message]) -> ProfileChanges:
    return ProfileChanges(sent.append)


def done(number: int) -> m.ProfileSet:
    return m.ProfileSet(request=number, error={})


def refused(number: int) -> m.ProfileSet:
    error = m.error_to_json(RoomError("no", reason="profile_refused"))
    return m.ProfileSet(request=number, error=error)


def test_each_is_answered_once(changes: ProfileChanges, sent: list[m.Message]) -> None:
    first, second = changes.ask(ONE, awaited=True), changes.ask(TWO, awaited=True)
    assert sent == [
        m.SetProfile(request=first, awaited=True, profile=ONE.to_json()),
        m.SetProfile(request=second, awaited=True, profile=TWO.to_json()),
    ]
    assert changes.take(first) is None
    changes.answered(done(first))
    changes.answered(refused(second))
    assert changes.take(first) is True
    with pytest.raises(RoomError, match="no") as caught:
        changes.take(second)
    assert caught.value.reason == "profile_refused"
    assert changes.take(first) is changes.take(second) is None


def test_nothing_is_kept_of_what_nobody_waits_for(changes: ProfileChanges) -> None:
    told = changes.ask(ONE, awaited=False)
    late = changes.ask(ONE, awaited=True)
    changes.forget(late)
    for number in (told, late, 99):
        changes.answered(refused(number))
        assert changes.take(number) is None
    answered = changes.ask(ONE, awaited=True)
    changes.answered(done(answered))
    changes.forget(answered)
    assert not changes._answers
    assert not changes._unanswered


def test_what_nobody_awaits_is_kept_as_one(changes: ProfileChanges, sent: list[m.Message]) -> None:
    for number in range(1, 101):
        change = Profile(name=str(number), attributes={f"k{number % 3}": str(number)})
        assert changes.ask(change, awaited=False) == number
        assert sent[-1] == m.SetProfile(request=number, awaited=False, profile=change.to_json()), (
            "each is sent, and outlives its worker"
        )
    changes.answered(done(99))
    sent.clear()
    changes.ask_again()
    all_of_it = Profile(name="100", attributes={"k0": "99", "k1": "100", "k2": "98"})
    assert sent == [m.SetProfile(request=100, awaited=False, profile=all_of_it.to_json())]
    with pytest.raises(ConfigurationError, match="attributes have"):
        changes.ask(Profile(attributes={"k": "v" * 65_530}), awaited=False)
    changes.answered(done(100))
    sent.clear()
    changes.ask_again()
    assert sent == []


def test_over_another_link_it_is_asked_again(
    changes: ProfileChanges, sent: list[m.Message]
) -> None:
    """What the room knew comes first, whoever had set it; then what was not answered, in order."""
    first, second, third = (changes.ask(ONE, awaited=True) for _ in range(3))
    changes.known(m.ProfileKnown(profile=TWO.to_json()))
    changes.answered(done(first))
    changes.forget(third)
    sent.clear()
    changes.ask_again()
    assert sent == [
        m.SetProfile(request=0, awaited=False, profile=TWO.to_json()),
        m.SetProfile(request=second, awaited=True, profile=ONE.to_json()),
        m.SetProfile(request=third, awaited=False, profile=ONE.to_json()),
    ]
    changes.answered(done(0))
    changes.answered(done(second))
    assert changes.take(second) is True


def test_over_another_link_nothing_is_asked_where_nothing_was(
    changes: ProfileChanges, sent: list[m.Message]
) -> None:
    changes.answered(done(changes.ask(ONE, awaited=False)))
    sent.clear()
    changes.ask_again()
    assert not sent
