"""The laws of our own muted tracks: whoever has muted one hears nothing of it played from then on,
and the far end knows.

`MuteLedger` is told when a mute or an unmute begins and when it has returned. Times are seconds of
the clock by which sound is stamped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from ringroom.testing.simulation.laws import Broken

__all__ = ["MuteLedger"]

# Stamps are whole nanoseconds.
_ROUNDING = 1e-6
# A chaos run lasts for hours, and looks a few times a second.
_KEPT = 256


@dataclass
class _Track:
    muted: bool | None = False
    """None while it is being changed, or if nobody can tell."""
    silences: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """From the return of a mute to the call of the next unmute, of the newest that are over."""
    since: float | None = None
    """The return of the mute that holds."""


@dataclass
class MuteLedger:
    """All muting of a story, by the names of our tracks."""

    changes: int = 0
    _tracks: dict[str, _Track] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The tracks that were muted or unmuted."""
        return tuple(self._tracks)

    def begin(self, name: str, muted: bool, now: float) -> None:
        """The track is to be muted or unmuted, right after this."""
        track = self._tracks.setdefault(name, _Track())
        track.muted = None
        if not muted and track.since is not None:
            track.silences.append((track.since, now))
            track.since = None

    def done(self, name: str, muted: bool, now: float) -> None:
        """It is done."""
        self.changes += 1
        track = self._tracks[name]
        track.muted = muted
        if muted and track.since is None:
            track.since = now

    def is_muted(self, name: str) -> bool | None:
        """None: nobody can tell."""
        track = self._tracks.get(name)
        return False if track is None else track.muted

    def check_state(self, name: str, muted: bool) -> None:
        """What the far end was told of a track of ours, once all is settled. Raises `Broken`."""
        expected = self.is_muted(name)
        if expected is not None and expected != muted:
            said = "muted" if muted else "not muted"
            raise Broken("muting", f"{name!r} is {said} for the far end, and should not be")

    def check_heard(self, name: str, begins: Iterable[float]) -> None:
        """When the pieces that were heard of a track began to play. Raises `Broken`."""
        track = self._tracks.get(name)
        if track is None:
            return
        silences = [*track.silences]
        if track.since is not None:
            silences.append((track.since, float("inf")))
        for begin in begins:
            _check_unheard(name, begin, silences)


def _check_unheard(name: str, begin: float, silences: Collection[tuple[float, float]]) -> None:
    for since, until in silences:
        if since + _ROUNDING < begin < until - _ROUNDING:
            text = f"{name!r} was heard {begin - since:.3f} s after it was muted"
            raise Broken("muting", f"{text}, {until - begin:.3f} s before it was to be heard again")
