"""Who speaks, by the level of the sound that is received.

A LiveKit server works it out likewise, but what its Python SDK passes on (livekit 1.1.21 to 1.2.1)
is of use to nobody: the server tells what has changed, and the SDK leaves out who has fallen silent
of that, so that the others seem to have done so too. Here it is the same with every provider.

All is on the loop but `Meter.hear`.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np

__all__ = ["Meter", "Speakers"]

# How often it is looked at, in seconds, and how much of that time somebody is loud who speaks.
# These, and the level, are much what a LiveKit server has unless it is configured otherwise.
EVERY = 0.4
SHARE = 0.4
# RMS of a frame that is loud: 35 dB below full scale.
LOUD = 32_768 * 10 ** (-35 / 20)
# For so many looks somebody who speaks may be quiet: people pause between words.
PATIENCE = 2
# Levels that differ by less are one: else two who speak would change places with each syllable.
STEP_DB = 6.0
# So many are told, for an event has its bounds.
MAX_SPEAKERS = 32

_LOUD_POWER = LOUD**2


class Meter:
    """How much loud sound a track had since it began. One caller of `hear` at a time."""

    __slots__ = ("energy", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.energy = 0.0
        """Power (of int16) times seconds."""

    def hear(self, sound: memoryview, rate: int) -> None:
        """A frame, int16; ``rate`` is that of all channels together."""
        samples = np.frombuffer(sound, np.int16).astype(np.float32)
        power = float(samples @ samples) / len(samples)
        if power >= _LOUD_POWER:
            seconds = len(samples) / rate
            self.seconds += seconds
            self.energy += power * seconds


class _Heard:
    """One track, as far as it was looked at."""

    __slots__ = ("_energy", "_seconds", "meter", "who")

    def __init__(self, who: str) -> None:
        self.who = who
        self.meter = Meter()
        self._seconds = self._energy = 0.0

    def power(self) -> float:
        """That of what was loud since the last look; 0 if it was too little."""
        seconds, energy = self.meter.seconds, self.meter.energy
        loud, power = seconds - self._seconds, energy - self._energy
        self._seconds, self._energy = seconds, energy
        return power / loud if loud >= SHARE * EVERY else 0.0


class Speakers:
    """``tell`` is called with the identities of those who speak, the loudest first, whenever that
    is another list."""

    def __init__(self, tell: Callable[[tuple[str, ...]], None]) -> None:
        self._tell = tell
        self._heard: dict[object, _Heard] = {}
        self.told: tuple[str, ...] = ()
        """The list as it was told last."""
        self._powers: dict[str, float] = {}
        """Of those who speak, when they were loud last."""
        self._quiet: dict[str, int] = defaultdict(int)
        """For how many looks those have been quiet."""
        self._timer: asyncio.TimerHandle | None = None

    def meter(self, track: object, who: str) -> Meter:
        """A track of sound begins; what measures it."""
        self._heard[track] = heard = _Heard(who)
        self._expect()
        return heard.meter

    def forget(self, track: object) -> None:
        """It is over, if it was measured."""
        self._heard.pop(track, None)

    def end(self) -> None:
        """All tracks are over: nobody speaks any more."""
        self.close()
        self._powers.clear()
        self._quiet.clear()
        self._say()

    def close(self) -> None:
        """Look no more. Idempotent."""
        self._heard.clear()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _expect(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY, self._look)

    def _look(self) -> None:
        self._timer = None
        loud: dict[str, float] = defaultdict(float)
        for heard in self._heard.values():
            loud[heard.who] = max(loud[heard.who], heard.power())
        self._note(loud)
        self._say()
        if self._heard or self._powers:
            self._expect()

    def _note(self, loud: Mapping[str, float]) -> None:
        for who in {*loud, *self._powers}:
            if power := loud.get(who, 0.0):
                self._powers[who] = power
                self._quiet.pop(who, None)
            elif who in self._powers:
                self._quiet[who] += 1
                if self._quiet[who] >= PATIENCE or who not in loud:
                    del self._powers[who], self._quiet[who]

    def _say(self) -> None:
        places = {who: place for place, who in enumerate(self.told)}

        def order(who: str) -> tuple[float, int, str]:
            step = round(10 * math.log10(self._powers[who]) / STEP_DB)
            return -step, places.get(who, len(places)), who

        now = tuple(sorted(self._powers, key=order)[:MAX_SPEAKERS])
        if now != self.told:
            self.told = now
            self._tell(now)
