"""The laws that hold in every simulated call, at every moment, whatever happens to it.

`Ledger` is told by the simulated application and its workers what they see, and raises `Broken`
for what may not be. What is expected after a death stands in `ENDS_THE_POOL`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ringroom.accounts import LaneStatistics
from ringroom.errors import LostProcessError
from ringroom.frames import AudioFrame, DataFrame, Kind, TrackInfo

__all__ = [
    "ENDS_THE_POOL",
    "END_SECONDS",
    "EXPECTED_AFTER_DEATH",
    "MAX_AGE",
    "RECOVERY_SECONDS",
    "Broken",
    "Ledger",
    "check_heard",
    "check_lanes",
]

MAX_AGE = 0.2
# Within these the application knows of a death, and has ended once the room has; no wait of its
# own takes longer either.
RECOVERY_SECONDS = 2.0
END_SECONDS = 30.0
# Whose death ends the pool, and with what; the application opens it anew. Of any other role that
# dies another of its name takes the place. This is the one place that says so.
ENDS_THE_POOL = ("ringroom-io", "ringroom-worker")
EXPECTED_AFTER_DEATH = LostProcessError


class Broken(AssertionError):
    """A law does not hold. ``law`` names it."""

    def __init__(self, law: str, text: str) -> None:
        super().__init__(f"{law}: {text}")
        self.law = law


@dataclass
class Ledger:
    """What was seen so far."""

    frames: int = 0
    messages: int = 0
    deaths: int = 0
    _sequences: dict[tuple[int, str], int] = field(default_factory=dict)
    _numbers: dict[tuple[int, str], int] = field(default_factory=dict)

    def frame(self, pool: int, frame: AudioFrame) -> None:
        """A worker has taken a frame of a pool."""
        self.frames += 1
        assert isinstance(frame.track, TrackInfo)
        key = (pool, frame.track.sid)
        last = self._sequences.get(key, -1)
        if frame.sequence <= last:
            raise Broken(
                "order", f"frame {frame.sequence} of {frame.track.reply_name} after {last}"
            )
        self._sequences[key] = frame.sequence

    def message(self, pool: int, message: DataFrame) -> None:
        """A worker has taken a message; they are numbered."""
        self.messages += 1
        key, number = (pool, message.participant), int(message.payload)
        last = self._numbers.get(key, -1)
        if number <= last:
            raise Broken("order", f"message {number} of {message.participant} after {last}")
        self._numbers[key] = number


def check_lanes(lanes: Iterable[LaneStatistics], *, over: bool = False) -> None:
    """Conservation and the bound of age; when all is over, nothing is under way any more."""
    for lane in lanes:
        counts = lane.counts
        if counts.in_flight < 0 or not counts.done <= counts.taken <= counts.sent:
            raise Broken("conservation", f"{lane}")
        if over and counts.in_flight:
            raise Broken("conservation", f"{counts.in_flight} are in flight at the end of {lane}")
        if lane.kind is Kind.AUDIO and counts.oldest_ns > MAX_AGE * 1e9:
            raise Broken("age", f"taken when {counts.oldest_ns / 1e9:.3f} s old, of {lane}")


def check_heard(values: Iterable[int]) -> None:
    """Of numbered sound on a track: heard in order, each number once."""
    last = 0
    for value in values:
        if value < last:
            raise Broken("order", f"sound {value} is heard after {last}")
        last = value
