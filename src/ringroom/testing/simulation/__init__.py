"""Simulation: the whole system in one process, under a scheduler that a seed leads.

`simulate` plays the story of a seed and raises when a law is broken; `run` plays a story. By hand:
``python -m ringroom.testing.simulation --seed 1``.
"""

from ringroom.testing.simulation.laws import Broken
from ringroom.testing.simulation.run import Outcome, run, shrink, simulate
from ringroom.testing.simulation.scheduler import Schedule, SeededClock
from ringroom.testing.simulation.story import (
    Bursts,
    CallThem,
    CallUs,
    Freeze,
    Kill,
    Late,
    Lose,
    Mute,
    Say,
    Settle,
    Story,
    Turn,
    make_story,
)

__all__ = [
    "Broken",
    "Bursts",
    "CallThem",
    "CallUs",
    "Freeze",
    "Kill",
    "Late",
    "Lose",
    "Mute",
    "Outcome",
    "Say",
    "Schedule",
    "SeededClock",
    "Settle",
    "Story",
    "Turn",
    "make_story",
    "run",
    "shrink",
    "simulate",
]
