"""What is asked about who may subscribe to our tracks, until it is done.

When the I/O process dies, all of it is asked again over the next link, before any track is opened
there: at the application's end after what was said before, by whomever. So nobody hears for a
moment what is not for them.
"""

from __future__ import annotations

from collections.abc import Callable

from ringroom import messages as m
from ringroom.sessions.requests import Outcomes
from ringroom.subscribers import Allowance, Subscribers

__all__ = ["SubscriberChanges"]


class SubscriberChanges:
    """Those of one end of a session. ``send`` sends over its link, if there is one. Not
    thread-safe."""

    def __init__(self, send: Callable[[m.Message], None]) -> None:
        self._send = send
        self._number = 0
        self._known = Subscribers()
        """As the application was told."""
        self._unanswered: dict[int, Allowance] = {}
        self._forgotten: set[int] = set()
        """Those of them whose answers nobody waits for."""
        self._answers: Outcomes[bool] = Outcomes()
        """Those that have not been taken yet."""

    def ask(self, change: Allowance) -> int:
        """A request, by its number, to be taken or forgotten."""
        for number in tuple(self._forgotten):
            if change.track in ("", self._unanswered[number].track):  # it is overtaken
                self._drop(number)
        self._number += 1
        self._unanswered[self._number] = change
        self._tell(self._number, change)
        return self._number

    def ask_again(self) -> None:
        """There is another link."""
        for change in self._known.changes():
            self._tell(0, change)
        for number, change in self._unanswered.items():
            self._tell(number, change)

    def _tell(self, number: int, change: Allowance) -> None:
        everybody, who = change.who is None, sorted(change.who or ())
        message = m.AllowSubscribers(
            request=number, everybody=everybody, who=who, track=change.track
        )
        self._send(message)

    def known(self, message: m.SubscribersKnown) -> None:
        """Who may, by whomever it was said."""
        self._known = Subscribers.from_json(message.subscribers)

    def answered(self, message: m.SubscribersAllowed) -> None:
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
