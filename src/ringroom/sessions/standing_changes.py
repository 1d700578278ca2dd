"""What is asked of our tracks and stands from then on, until it is done: who is muted, for whom.

When the I/O process dies, all of it is asked again over the next link, before any track is opened
there: at the application's end after what stood before, by whomever it was asked. So nobody hears
for a moment what is muted, or not for them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from ringroom import messages as m
from ringroom.sessions.requests import Outcomes

__all__ = ["StandingChanges"]

_Change = TypeVar("_Change", m.SetMuted, m.AllowSubscribers)


class StandingChanges(ABC, Generic[_Change]):
    """Those of one end of a session. ``send`` sends over its link, if there is one. Not
    thread-safe."""

    def __init__(self, send: Callable[[m.Message], None]) -> None:
        self._send = send
        self._number = 0
        self._unanswered: dict[int, _Change] = {}
        self._forgotten: set[int] = set()
        """Those of them whose answers nobody waits for."""
        self._answers: Outcomes[bool] = Outcomes()
        """Those that have not been taken yet."""

    @abstractmethod
    def _standing(self) -> Iterable[_Change]:
        """What stands already, as the application was told, as requests without a number."""

    def _ask(self, change: _Change) -> int:
        """A request, by its number, to be taken or forgotten."""
        for number in tuple(self._forgotten):
            if change.track in ("", self._unanswered[number].track):  # it is overtaken
                self._drop(number)
        self._number += 1
        asked = self._unanswered[self._number] = change.replace(request=self._number)
        self._send(asked)
        return self._number

    def ask_again(self) -> None:
        """There is another link."""
        for message in (*self._standing(), *self._unanswered.values()):
            self._send(message)

    def answered(self, message: m.MutedSet | m.SubscribersAllowed) -> None:
        """It is done, or refused."""
        number = message.request
        if number in self._unanswered and number not in self._forgotten:
            done = not message.error
            self._answers[number] = done or m.error_from_json(message.error)
        self._drop(number)

    def _drop(self, number: int) -> None:
        self._unanswered.pop(number, None)
        self._forgotten.discard(number)

    def take(self, number: int) -> bool | None:
        """Whether it is done; None until it is answered. Raises what it was refused with."""
        return self._answers.take(number)

    def forget(self, number: int) -> None:
        """No caller waits for the answer any more, whether it has come or not."""
        self._answers.pop(number, None)
        if number in self._unanswered:
            self._forgotten.add(number)
