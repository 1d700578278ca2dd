"""What is asked about the muting of our tracks, until it is done.

When the I/O process dies, all of it is asked again over the next link, before any track is opened
there: at the application's end after what was muted before, by whomever. So nothing that is muted
is heard for a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ringroom import messages as m
from ringroom.sessions.requests import Outcomes

__all__ = ["MuteChanges"]


class MuteChanges:
    """Those of one end of a session. ``send`` sends over its link, if there is one. Not
    thread-safe."""

    def __init__(self, send: Callable[[m.Message], None]) -> None:
        self._send = send
        self._number = 0
        self._known: frozenset[str] = frozenset()
        """The names that are muted, as the application was told."""
        self._unanswered: dict[int, m.SetMuted] = {}
        self._forgotten: set[int] = set()
        """Those of them whose answers nobody waits for."""
        self._answers: Outcomes[bool] = Outcomes()
        """Those that have not been taken yet."""

    def ask(self, track: str, muted: bool) -> int:
        """A request, by its number, to be taken or forgotten."""
        for number in tuple(self._forgotten):
            if self._unanswered[number].track == track:  # it is overtaken
                self._drop(number)
        self._number += 1
        message = m.SetMuted(request=self._number, track=track, muted=muted)
        self._unanswered[self._number] = message
        self._send(message)
        return self._number

    def ask_again(self) -> None:
        """There is another link."""
        for track in sorted(self._known):
            self._send(m.SetMuted(request=0, track=track, muted=True))
        for message in self._unanswered.values():
            self._send(message)

    def known(self, tracks: Iterable[str]) -> None:
        """All names that are muted."""
        self._known = frozenset(tracks)

    def concerns(self, track: str) -> bool:
        """Whether the name is muted, or may be in a moment."""
        asked = (message.track for message in self._unanswered.values())
        return track in self._known or track in asked

    def answered(self, message: m.MutedSet) -> None:
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
