"""What is asked about who may subscribe to our tracks; see `standing_changes`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ringroom import messages as m
from ringroom.sessions.standing_changes import StandingChanges
from ringroom.subscribers import Allowance, Subscribers

__all__ = ["SubscriberChanges"]


class SubscriberChanges(StandingChanges[m.AllowSubscribers]):
    """Those of one end of a session."""

    def __init__(self, send: Callable[[m.Message], None]) -> None:
        super().__init__(send)
        self._known = Subscribers()
        """As the application was told."""

    def ask(self, change: Allowance) -> int:
        """A request, by its number, to be taken or forgotten."""
        return self._ask(_request(change))

    def _standing(self) -> Iterable[m.AllowSubscribers]:
        return map(_request, self._known.changes())

    def known(self, message: m.SubscribersKnown) -> None:
        """Who may, by whomever it was said."""
        self._known = Subscribers.from_json(message.subscribers)


def _request(change: Allowance) -> m.AllowSubscribers:
    """Without a number."""
    everybody, who = change.who is None, sorted(change.who or ())
    return m.AllowSubscribers(request=0, everybody=everybody, who=who, track=change.track)
