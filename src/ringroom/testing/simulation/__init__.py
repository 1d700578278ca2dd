"""Simulation: the whole system in one process, under a scheduler that a seed leads.

`simulate` plays the story of a seed and raises when a law is broken; `run` plays a story. By hand:
``python -m ringroom.testing.simulation --seed 1``.
"""

from ringroom.testing.simulation.laws import Broken
from ringroom.testing.simulation.run import Outcome, run, shrink, simulate
from ringroom.testing.simulation.scheduler import Schedule, SeededClock
from ringroom.testing.simulation.story import (
    Bursts,
    Freeze,
    Kill,
    Late,
    Lose,
    Say,
    Story,
    Turn,
    make_story,
)

__all__ = [
    "Broken",
    "Bursts",
    "Freeze",
    "Kill",
    "Late",
    "Lose",
    "Outcome",
    "Say",
    "Schedule",
    "SeededClock",
    "Story",
    "Turn",
    "make_story",
    "run",
    "shrink",
    "simulate",
]
