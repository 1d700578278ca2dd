"""Who may subscribe to our tracks: whoever asks is answered, the application is told before."""

from __future__ import annotations

from typing import Any

import pytest

from ringroom import messages as m
from ringroom.errors import RoomError
from ringroom.processes.io.own_subscribers import OwnSubscribers
from ringroom.subscribers import Subscribers

DONE = m.SubscribersAllowed(request=7, error={})
ANN = Subscribers(frozenset({"ann"}))


class Desk:
    """Somebody who asks, the application, and the provider: what happened, in order."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.failure: Exception | None = None
        self.subscribers = OwnSubscribers(self.log.append)

    def allow_subscribers(self, allowed: Subscribers) -> None:
        self.log.append(allowed)
        if self.failure is not None:
            raise self.failure

    def join(self) -> None:
        self.subscribers.joined(self)  # type: ignore[arg-type]

    def ask(self, *who: str, track: str = "", request: int = 7) -> list[Any]:
        self.log.clear()
        message = m.AllowSubscribers(request=request, everybody=False, who=list(who), track=track)
        self.subscribers.ask(message, self.log.append)
        return self.log


@pytest.fixture
def desk() -> Desk:
    return Desk()


def known(allowed: Subscribers) -> m.SubscribersKnown:
    return m.SubscribersKnown(subscribers=allowed.to_json())


def test_the_application_is_told_before_the_answer(desk: Desk) -> None:
    desk.join()
    assert desk.log == [], "everybody may, as without us"
    assert desk.ask("ann") == [known(ANN), ANN, DONE]
    assert desk.ask("ann") == [ANN, DONE], "it is said again"


def test_what_is_said_before_and_during_an_outage_is_told_in_the_room(desk: Desk) -> None:
    assert desk.ask("ann") == [known(ANN), DONE]
    desk.log.clear()
    desk.join()
    assert desk.log == [ANN]
    desk.subscribers.parted()
    both = Subscribers(ANN.everywhere, {"b": frozenset({"bob"})})
    assert desk.ask("bob", track="b") == [known(both), DONE]
    desk.join()
    assert desk.log[-1] == both


def test_what_is_told_after_a_death_is_not_answered(desk: Desk) -> None:
    assert desk.ask("ann", request=0) == [known(ANN)]


def refusal(log: list[Any]) -> Exception:
    return m.error_from_json(log[-1].error)


def test_a_provider_that_cannot_refuses(desk: Desk) -> None:
    desk.subscribers.possible = False
    log = desk.ask("ann")
    assert len(log) == 1
    error = refusal(log)
    assert isinstance(error, RoomError)
    assert error.reason == "not_supported"
    assert desk.subscribers.allowed == Subscribers()


def test_what_the_provider_raises_is_told(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.join()
    desk.failure = RuntimeError("broken")
    assert "RuntimeError: broken" in str(refusal(desk.ask("ann")))
    assert "failed to say who may subscribe" in caplog.text
    assert desk.subscribers.allowed == ANN, "the next room is told all the same"


def test_too_many_tracks_are_refused(desk: Desk) -> None:
    for number in range(256):
        desk.ask(track=f"t{number}")
    assert "257 tracks would have" in str(refusal(desk.ask(track="t256")))
