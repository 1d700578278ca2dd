"""The laws that hold in every simulated call, at every moment, whatever happens to it.

`Ledger` is told by the simulated application and its workers what they see, and raises `Broken`
for what may not be. What is expected after a death stands in `RECOVERIES`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ringroom.events import Event, EventKind, Kind, TrackInfo
from ringroom.frames import AudioFrame, DataFrame
from ringroom.sessions.accounts import LaneStatistics

__all__ = [
    "END_SECONDS",
    "MAX_AGE",
    "RECOVERY_SECONDS",
    "is_recovery",
    "Broken",
    "Ledger",
    "check_counts",
    "check_heard",
    "check_lanes",
    "check_people",
]

MAX_AGE = 0.2
# Within these the application knows of a death, and has ended once the room has; no wait of its
# own takes longer either.
RECOVERY_SECONDS = 2.0
END_SECONDS = 30.0
# What is expected after a death stands here and nowhere else: the pool lives on, and tells that
# another process has taken the place.
RECOVERIES = (EventKind.WORKER_REPLACED, EventKind.CONNECTION_BACK)
RECOVERED_BY_US = "another"


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
    broken: list[Broken] = field(default_factory=list)
    """Broken laws, noted by roles that cannot raise them to the test."""
    _frames: dict[str, tuple[int, int]] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def frame(self, frame: AudioFrame) -> None:
        """A worker has taken a frame. Its number begins anew in a lane that is made anew, but not
        the time at which it came."""
        self.frames += 1
        assert isinstance(frame.track, TrackInfo)
        this = (frame.received_ns, frame.sequence)
        last = self._frames.get(frame.track.sid, (-1, -1))
        if this[0] < last[0] or (this[1] <= last[1] and this[0] <= last[0]):
            name = frame.track.reply_name
            self.broken.append(Broken("order", f"frame {this} of {name} after {last}"))
        self._frames[frame.track.sid] = this

    def message(self, message: DataFrame) -> None:
        """A worker has taken a message; they are numbered."""
        self.messages += 1
        who, number = message.participant, int(message.payload)
        last = self._numbers.get(who, -1)
        if number <= last:
            self.broken.append(Broken("order", f"message {number} of {who} after {last}"))
        self._numbers[who] = number


def is_recovery(event: Event) -> bool:
    """Whether the event tells that another process has taken the place of one that died, and not
    that the room itself came back."""
    worker, connection = RECOVERIES
    return event.kind is worker or (
        event.kind is connection and event.reason.startswith(RECOVERED_BY_US)
    )


def check_counts(lanes: Iterable[LaneStatistics], *, over: bool = False, expired: int = 0) -> None:
    """Conservation, at every moment; when all is over, nothing is under way any more. ``expired``:
    of so many calls to us the caller's time was over before they were read.

    What is under way is computed as the rest, so a right sum says nothing. What can be wrong
    is that a frame counts twice, that one is done which nobody took, or one taken which was not
    sent or did not fit. The reader's counts are read before the writer's, and each only grows: a
    look in the middle may find more sent than done, never the other way round.
    """
    for lane in lanes:
        counts = lane.counts
        fitted = counts.sent - counts.dropped_full
        if counts.in_flight < 0 or not 0 <= counts.done <= counts.taken <= fitted:
            raise Broken("conservation", f"{lane}")
        if lane.kind is Kind.DATA:
            expired -= counts.dropped_stale
            if expired < 0:
                raise Broken("conservation", f"a message does not grow too old: {lane}")
        if over and counts.in_flight:
            raise Broken("conservation", f"{counts.in_flight} are in flight at the end of {lane}")


def check_lanes(lanes: Collection[LaneStatistics], *, over: bool = False, expired: int = 0) -> None:
    """Conservation and the bound of age."""
    check_counts(lanes, over=over, expired=expired)
    for lane in lanes:
        counts = lane.counts
        if lane.kind is Kind.AUDIO and counts.oldest_ns > MAX_AGE * 1e9:
            raise Broken("age", f"taken when {counts.oldest_ns / 1e9:.3f} s old, of {lane}")


def check_people(listed: Sequence[str], came: Collection[str]) -> None:
    """Whoever is said to be there has come, is listed once, and is none of us."""
    if [*listed] != sorted({*listed} & {*came}):
        raise Broken("people", f"listed are {[*listed]}, and came have {sorted(came)}")


def check_heard(heard: Iterable[tuple[int, int]], each: int) -> None:
    """Of sound on a track, in samples of one number: heard in order, and of each number no more
    than the ``each`` samples that were sent of it."""
    last = total = 0
    for number, samples in heard:
        if number < last:
            raise Broken("order", f"sound {number} is heard after {last}")
        total = samples + (total if number == last else 0)
        if total > each:
            raise Broken("order", f"of sound {number} more is heard than the {each} samples sent")
        last = number
