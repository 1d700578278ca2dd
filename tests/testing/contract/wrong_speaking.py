"""Wrong about the sound by which it is told who speaks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from wrong_kit import Twist, WrongCore, breaks

from ringroom.events import Participant, TrackInfo
from ringroom.providers.provider import TrackSink

TOLD, FIRST = "who_speaks_is_told", "the_loudest_speaker_is_told_first"


@breaks({TOLD: r"those who speak are \('ann',\); told were \[\]"})
class Whispers(Twist):
    def audio(self, track: TrackSink, samples: np.ndarray, rate: int) -> None:
        super().audio(track, samples // 256, rate)


@breaks({TOLD: r"those who speak are \('ann',\); told were \[\('bob',\)"})
class TakesAnnForBob(Twist):
    def open_track(self, sink: Any, track: TrackInfo, who: Participant) -> TrackSink:
        return super().open_track(sink, track, replace(who, identity="bob"))


@breaks({FIRST: r"those who speak are \('bob', 'ann'\); told were .*\('ann', 'bob'\)"})
class HasEverybodyEquallyLoud(Twist):
    def audio(self, track: TrackSink, samples: np.ndarray, rate: int) -> None:
        super().audio(track, np.sign(samples) * np.int16(8_000), rate)


@breaks({TOLD: r"those who speak are \('ann',\); told were \[\]"})
class DoesNotListen(WrongCore):
    @classmethod
    def options(cls, options: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in options.items() if key != "active_speakers"}
