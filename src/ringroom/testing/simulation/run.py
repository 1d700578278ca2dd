"""Plays stories, and makes those that fail shorter."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ringroom.testing.simulation.laws import Broken
from ringroom.testing.simulation.scheduler import SeededClock
from ringroom.testing.simulation.story import Story, make_story
from ringroom.testing.simulation.world import World
from ringroom.testing.virtual.roles import Stuck

__all__ = ["Outcome", "run", "shrink", "simulate"]

_SHRINKING_SECONDS = 20.0


@dataclass(frozen=True)
class Outcome:
    """How a story went."""

    story: Story
    fingerprint: str
    """A hash of which role went on when, and why."""
    frames: int
    messages: int
    deaths: int
    calls: int = 0
    """Calls that have ended, of both sides."""
    mutes: int = 0
    """How often a track of ours was muted or unmuted."""
    law: str = ""
    """Which law was broken; empty when all hold."""
    text: str = ""
    at: float = 0.0
    """When, in seconds of the story."""
    trace: tuple[str, ...] = ()


def run(story: Story, *, keep_trace: bool = False) -> Outcome:
    """Play the story."""
    law = text = ""
    with _undisturbed(), _on_one_core():
        clock = SeededClock(story.schedule, keep_trace=keep_trace)
        world = World(story, clock)
        begin = clock.now()
        try:
            with clock:
                try:
                    world.play()
                finally:
                    at, fingerprint = clock.now() - begin, clock.fingerprint
        except Broken as broken:
            law, text = broken.law, str(broken)
        except Stuck as stuck:
            law, text = "no deadlock", str(stuck)
        except RuntimeError as error:
            law, text = "end", str(error)
    ledger = world.ledger
    return Outcome(
        story,
        fingerprint,
        ledger.frames,
        ledger.messages,
        ledger.deaths,
        world.deeds.calls.ended,
        world.deeds.muting.changes,
        law,
        text,
        at,
        tuple(clock.trace),
    )


def simulate(seed: int, seconds: float = 60.0) -> Outcome:
    """Play the story of a seed. Raises `AssertionError` with the seed, the command that repeats it
    and the shrunk story when a law is broken."""
    outcome = run(make_story(seed, seconds))
    if outcome.law:
        shrunk = shrink(outcome)
        raise AssertionError(
            f"seed {seed} breaks a law after {outcome.at:.3f} s\n{outcome.text}\n\n"
            f"again:  python -m ringroom.testing.simulation --seed {seed} --seconds {seconds:g}\n\n"
            f"the shortest story found that breaks the same law:\n\n"
            f"from ringroom.testing.simulation import *\n\nprint(run({shrunk.story}).text)\n\n"
            f"{shrunk.text}"
        )
    return outcome


def shrink(failed: Outcome, seconds: float = _SHRINKING_SECONDS) -> Outcome:
    """The shortest story that breaks the same law, as far as it is found in so many real seconds:
    one that ends sooner, has fewer happenings, and is interfered with less."""
    best = failed
    end = time.monotonic() + seconds
    improved = True
    while improved:
        improved = False
        for story in _shorter(best):
            if time.monotonic() > end:
                return best
            outcome = run(story)
            if outcome.law == failed.law:
                best, improved = outcome, True
                break
    return best


def _shorter(outcome: Outcome) -> Iterator[Story]:
    story = outcome.story
    end = round(outcome.at + 0.5, 3)
    if end < story.seconds - 1:
        left = tuple(one for one in story.happenings if one.at < end)
        yield dataclasses.replace(story, seconds=end, happenings=left)
    count = len(story.happenings)
    if count > 3:
        yield dataclasses.replace(story, happenings=story.happenings[count // 2 :])
        yield dataclasses.replace(story, happenings=story.happenings[: count // 2])
    for place in range(count):
        left = story.happenings[:place] + story.happenings[place + 1 :]
        yield dataclasses.replace(story, happenings=left)
    schedule = story.schedule
    for calmer in (
        dataclasses.replace(schedule, touches=0.0),
        dataclasses.replace(schedule, delays=0.0),
    ):
        if calmer != schedule:
            yield dataclasses.replace(story, schedule=calmer)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keeps off the garbage collector, which would run at other moments each time, and silences the
    log of what goes wrong on purpose."""
    logger = logging.getLogger("ringroom")
    before, collecting = logger.level, gc.isenabled()
    logger.setLevel(logging.CRITICAL + 1)
    gc.disable()
    try:
        yield
    finally:
        logger.setLevel(before)
        if collecting:
            gc.enable()


@contextlib.contextmanager
def _on_one_core() -> Iterator[None]:
    """Roles take turns: a second core would only make each hand-over wait for it to wake up."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    # After the command's name: the 37th field is the core that this thread runs on (proc(5)).
    core = int(Path("/proc/thread-self/stat").read_text().rpartition(")")[2].split()[36])
    os.sched_setaffinity(0, {core} & before or {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
