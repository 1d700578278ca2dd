"""What is asked of a room about our own profile, until it has answered.

When the I/O process dies, all of it is asked again over the next link; at the application's end
after what the room had been told before, by whomever, for a token has none of that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ringroom import messages as m
from ringroom.profile import Profile
from ringroom.sessions.requests import Outcomes

__all__ = ["ProfileChanges"]


class ProfileChanges:
    """Those of one end of a session. ``send`` sends over its link, if there is one. Not
    thread-safe."""

    def __init__(self, send: Callable[[m.Message], None]) -> None:
        self._send = send
        self._number = 0
        self._known: dict[str, Any] | None = None
        """What the room has been told."""
        self._unanswered: dict[int, m.SetProfile] = {}
        self._unawaited: m.SetProfile | None = None
        """All that no caller awaited and the room has not answered, as one, with the number of the
        last: there may be as many as the caller likes, until the room is back."""
        self._answers: Outcomes[bool] = Outcomes()
        """Those that have not been taken yet."""

    def ask(self, change: Profile, *, awaited: bool) -> int:
        """A request, by its number; what is ``awaited`` is to be taken or forgotten. Raises
        `ConfigurationError` for more attributes than may be set, with those that are under way."""
        if awaited or self._unawaited is None:
            kept = change
        else:
            kept = Profile.from_json(self._unawaited.profile).followed_by(change)
        self._number += 1
        message = m.SetProfile(request=self._number, awaited=awaited, profile=change.to_json())
        if awaited:
            self._unanswered[self._number] = message
        else:
            self._unawaited = message.replace(profile=kept.to_json())
        self._send(message)
        return self._number

    def ask_again(self) -> None:
        """There is another link."""
        if self._known is not None:
            self._send(m.SetProfile(request=0, awaited=False, profile=self._known))
        for message in self._unanswered.values():
            self._send(message)
        if self._unawaited is not None:
            self._send(self._unawaited)

    def known(self, message: m.ProfileKnown) -> None:
        """The room has been told."""
        self._known = message.profile

    def answered(self, message: m.ProfileSet) -> None:
        """The room has answered."""
        if self._unawaited is not None and message.request == self._unawaited.request:
            self._unawaited = None
        asked = self._unanswered.pop(message.request, None)
        if asked is not None and asked.awaited:
            done = not message.error
            self._answers[message.request] = done or m.error_from_json(message.error)

    def take(self, number: int) -> bool | None:
        """Whether the room has done it; None until it has answered. Raises what it was refused
        with."""
        return self._answers.take(number)

    def forget(self, number: int) -> None:
        """No caller waits for the answer any more, whether it has come or not."""
        self._answers.pop(number, None)
        if number in self._unanswered:
            self._unanswered[number] = self._unanswered[number].replace(awaited=False)
