"""What is asked about our tracks' muting: answered once, and asked again over another link."""

from __future__ import annotations

import pytest

from ringroom import messages as m
from ringroom.errors import RoomError
from ringroom.sessions.mute_changes import MuteChanges


@pytest.fixture
def sent() -> list[m.Message]:
    return []


@pytest.fixture
def changes(sent: list[m.Message]) -> MuteChanges:
    return MuteChanges(sent.append)


def done(number: int) -> m.MutedSet:
    return m.MutedSet(request=number, error={})


def asked(number: int, track: str, muted: bool) -> m.SetMuted:
    return m.SetMuted(request=number, track=track, muted=muted)


def test_each_is_answered_once(changes: MuteChanges, sent: list[m.Message]) -> None:
    first, second = changes.ask("a", True), changes.ask("b", False)
    assert sent == [asked(first, "a", True), asked(second, "b", False)]
    assert changes.take(first) is None
    changes.answered(done(first))
    refusal = m.error_to_json(RoomError("no", reason="not_supported"))
    changes.answered(m.MutedSet(request=second, error=refusal))
    assert changes.take(first) is True
    with pytest.raises(RoomError, match="no") as caught:
        changes.take(second)
    assert caught.value.reason == "not_supported"
    assert changes.take(first) is changes.take(second) is None


def test_over_another_link_all_is_asked_again_what_is_known_first(
    changes: MuteChanges, sent: list[m.Message]
) -> None:
    changes.known(["b", "a"])
    answered = changes.ask("a", True)
    changes.answered(done(answered))
    late = changes.ask("b", False)
    changes.forget(late)
    sent.clear()
    changes.ask_again()
    assert sent == [asked(0, "a", True), asked(0, "b", True), asked(late, "b", False)]
    changes.answered(done(late))
    sent.clear()
    changes.known([])
    changes.ask_again()
    assert sent == []


def test_nothing_is_kept_of_what_nobody_waits_for(
    changes: MuteChanges, sent: list[m.Message]
) -> None:
    """A processor may ask as often as it likes, also while the I/O process is away."""
    for number in range(100):
        changes.forget(changes.ask("a", number % 2 == 0))
    sent.clear()
    changes.ask_again()
    assert sent == [asked(100, "a", False)], "the last word alone"
    changes.answered(done(100))
    changes.answered(done(99))
    assert changes.take(100) is None
    answered = changes.ask("a", True)
    changes.answered(done(answered))
    changes.forget(answered)
    assert not any((changes._answers, changes._unanswered, changes._forgotten))


def test_what_is_waited_for_is_not_overtaken(changes: MuteChanges, sent: list[m.Message]) -> None:
    waited, other = changes.ask("a", True), changes.ask("a", False)
    sent.clear()
    changes.ask_again()
    assert sent == [asked(waited, "a", True), asked(other, "a", False)]


def test_which_names_it_concerns(changes: MuteChanges) -> None:
    assert not changes.concerns("a")
    number = changes.ask("a", True)
    assert changes.concerns("a")
    changes.answered(done(number))
    assert not changes.concerns("a")
    changes.known(["a"])
    assert changes.concerns("a")
    assert not changes.concerns("b")
