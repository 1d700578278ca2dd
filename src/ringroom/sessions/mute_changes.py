"""What is asked about the muting of our tracks; see `standing_changes`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ringroom import messages as m
from ringroom.sessions.standing_changes import StandingChanges

__all__ = ["MuteChanges"]


class MuteChanges(StandingChanges[m.SetMuted]):
    """Those of one end of a session."""

    def __init__(self, send: Callable[[m.Message], None]) -> None:
        super().__init__(send)
        self._known: frozenset[str] = frozenset()
        """The names that are muted, as the application was told."""

    def ask(self, track: str, muted: bool) -> int:
        """A request, by its number, to be taken or forgotten."""
        return self._ask(m.SetMuted(request=0, track=track, muted=muted))

    def _standing(self) -> Iterable[m.SetMuted]:
        return [m.SetMuted(request=0, track=track, muted=True) for track in sorted(self._known)]

    def known(self, tracks: Iterable[str]) -> None:
        """All names that are muted."""
        self._known = frozenset(tracks)

    def concerns(self, track: str) -> bool:
        """Whether the name is muted, or may be in a moment."""
        asked = (message.track for message in self._unanswered.values())
        return track in self._known or track in asked
