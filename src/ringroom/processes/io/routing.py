"""Which worker a track belongs to: sticky, and spread evenly; the application, where there are no
workers. Free of I/O.

A key (a participant's identity, or a track's sid) keeps its place for as long as the session
remembers it. A new key goes where a session before this one had its name (a track has that of the
one that answers it); else to the place with the fewest open tracks, then with the fewest keys, so
that four speakers never share one worker while another idles, as a hash would have it one time in
eight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ringroom.messages import APPLICATION, MAX_PLACES


class Routing:
    """The places of one session's keys."""

    def __init__(self, workers: int = 0, known: Mapping[str, int] | None = None) -> None:
        self._places = range(workers) if workers else (APPLICATION,)
        self._place_of: dict[str, int] = {}
        self._open: Counter[str] = Counter()
        self._open_at: Counter[int] = Counter()
        self._keys_at: Counter[int] = Counter()
        self._known = {key: p for key, p in (known or {}).items() if p in self._places}

    def place(self, key: str, name: str = "") -> int:
        """The key's place, chosen now if it is new; where there is but one, none is chosen."""
        if len(self._places) == 1:
            return self._places[0]
        place = self._place_of.pop(key, None)
        if place is None:
            place = self._known.get(name or key, self._least_busy())
            self._keys_at[place] += 1
            self._forget()
        self._place_of[key] = place  # last in order: the most lately used
        return place

    def of_sender(self, identity: str) -> int:
        """The place of that participant's messages; the first, for those that name no sender."""
        return self.place(identity) if identity else self._places[0]

    def _least_busy(self) -> int:
        return min(self._places, key=lambda p: (self._open_at[p], self._keys_at[p], p))

    def opened(self, key: str, name: str = "") -> int:
        """A track of the key begins to flow; its place."""
        place = self.place(key, name)
        self._open[key] += 1
        self._open_at[place] += 1
        return place

    def closed(self, key: str) -> None:
        """A track of the key has ended."""
        if self._open[key] <= 1:
            del self._open[key]
        else:
            self._open[key] -= 1
        self._open_at[self._place_of.get(key, self._places[0])] -= 1

    def _forget(self) -> None:
        if len(self._place_of) < MAX_PLACES:
            return
        for key in self._place_of:
            if not self._open[key]:
                self._keys_at[self._place_of.pop(key)] -= 1
                return
