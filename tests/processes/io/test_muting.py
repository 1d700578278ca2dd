"""Which of our tracks are muted: whoever asks is answered, the application is told before."""

from __future__ import annotations

from typing import Any

import pytest

from ringroom import messages as m
from ringroom.errors import RoomError
from ringroom.processes.io.muting import Muting


class Desk:
    """Somebody who asks, the application, and the tracks: what happened, in order."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.failure: Exception | None = None
        self.muting = Muting(self.log.append, self._apply)

    def _apply(self, name: str, muted: bool) -> None:
        self.log.append((name, muted))
        if self.failure is not None:
            raise self.failure

    def ask(self, track: str, muted: bool, request: int = 7) -> list[Any]:
        self.log.clear()
        message = m.SetMuted(request=request, track=track, muted=muted)
        self.muting.ask(message, self.log.append)
        return self.log


@pytest.fixture
def desk() -> Desk:
    return Desk()


DONE = m.MutedSet(request=7, error={})


def test_the_application_is_told_before_the_answer(desk: Desk) -> None:
    assert desk.ask("b", True) == [m.MutedKnown(tracks=["b"]), ("b", True), DONE]
    assert desk.ask("a", True) == [m.MutedKnown(tracks=["a", "b"]), ("a", True), DONE]
    assert desk.ask("a", False) == [m.MutedKnown(tracks=["b"]), ("a", False), DONE]
    assert desk.muting.names == {"b"}


def test_what_is_so_already_is_applied_again(desk: Desk) -> None:
    """The server may have muted it, or unmuted it."""
    assert desk.ask("a", False) == [("a", False), DONE]
    desk.ask("a", True)
    assert desk.ask("a", True) == [("a", True), DONE]


def test_what_is_told_after_a_death_is_not_answered(desk: Desk) -> None:
    assert desk.ask("a", True, request=0) == [m.MutedKnown(tracks=["a"]), ("a", True)]


def refusal(log: list[Any]) -> RoomError:
    error = m.error_from_json(log[-1].error)
    assert isinstance(error, RoomError)
    return error


def test_a_provider_that_cannot_refuses(desk: Desk) -> None:
    desk.muting.possible = False
    log = desk.ask("a", True)
    assert len(log) == 1
    assert refusal(log).reason == "not_supported"
    assert "not supported: mute" in str(refusal(log))
    assert not desk.muting.names


def test_what_the_provider_raises_is_told(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.failure = RuntimeError("broken")
    assert "RuntimeError: broken" in str(refusal(desk.ask("a", True)))
    assert "failed to mute or unmute" in caplog.text
    assert desk.muting.names == {"a"}, "the next publication is muted all the same"
