"""What the room hears of the application in a chaos run: each thing in order, and none twice.

People speak in numbered pieces, and send numbered messages. Both come back, from whichever worker
took them, so what two workers have both taken is heard here. Of a track that is muted nothing is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ringroom.checks import Samples
from ringroom.frames import DataFrame
from ringroom.testing.application import Recording, Taken
from ringroom.testing.chaos.actor import ANSWER
from ringroom.testing.simulation.laws import Broken
from ringroom.testing.simulation.mute_laws import MuteLedger

__all__ = ["OWN_TRACK", "PIECE_SECONDS", "Ears", "numbered"]

OWN_TRACK = "speaker"
PIECE_SECONDS = 0.02
# A piece is of one level, and the level is its number. Numbers begin anew after some minutes; which
# is why what is further behind than nothing in ringroom can hold it counts as far ahead.
_STEP, _NUMBERS, _BEHIND = 4, 8_000, 1_000
# Sound is heard in steps of 10 ms, of which a piece of 20 ms may touch three.
_TOUCHED = 3


def numbered(first: int, count: int, sample_rate: int, channels: int) -> Samples:
    """Pieces of sound; int16 of shape (samples per channel, channels)."""
    levels = (np.arange(first, first + count) % _NUMBERS + 1) * _STEP
    mono = np.repeat(levels.astype(np.int16), round(sample_rate * PIECE_SECONDS))
    return np.repeat(mono[:, None], channels, axis=1)


@dataclass
class _Track:
    last: int = -1
    times: int = 0


@dataclass
class Ears:
    """Told what was heard; raises `Broken`."""

    answers: dict[str, int] = field(default_factory=dict)
    """The number of the last message that was answered, by its sender."""
    answered: int = 0
    tracks: dict[str, _Track] = field(default_factory=dict)
    muting: MuteLedger = field(default_factory=MuteLedger)

    def hear(self, taken: Taken) -> None:
        """All that came since the last time."""
        for recording in taken.sounds:
            self._hear_sound(recording)
        self.hear_messages(taken.messages)

    def _hear_sound(self, recording: Recording) -> None:
        begins = (frame.received_ns / 1e9 for frame in recording.frames)
        self.muting.check_heard(recording.track, begins)
        track = self.tracks.setdefault(recording.track, _Track())
        for frame in recording.frames:
            number = _number(frame.samples)
            if number < 0:
                continue
            behind = (track.last - number) % _NUMBERS if track.last >= 0 else _BEHIND
            if 0 < behind < _BEHIND:
                text = f"sound {number} of {recording.track!r} is heard after {track.last}"
                raise Broken("order", text)
            track.times = 1 if behind else track.times + 1
            track.last = number
            if track.times > _TOUCHED:
                raise Broken("nothing twice", f"sound {number} of {recording.track!r}")

    def hear_messages(self, messages: Iterable[DataFrame]) -> None:
        """Answers among them; all in the order in which they came."""
        for message in messages:
            if message.topic != ANSWER:
                continue
            who, _, text = message.payload.decode().rpartition(" ")
            last, number = self.answers.get(who, -1), int(text)
            if number <= last:
                law = "nothing twice" if number == last else "order"
                raise Broken(law, f"the answer to message {number} of {who} comes after {last}")
            self.answers[who] = number
            self.answered += 1


def _number(samples: Samples) -> int:
    """Of a piece; -1 for silence, and where two pieces meet or one rings: its middle is level."""
    quarter = len(samples) // 4
    middle = samples[quarter : len(samples) - quarter, 0]
    if not len(middle):
        return -1
    lowest, highest = (round(int(level) / _STEP) - 1 for level in (middle.min(), middle.max()))
    return lowest if lowest == highest else -1
