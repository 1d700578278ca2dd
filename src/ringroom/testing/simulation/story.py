"""What happens in a simulated call, as data: made from a seed before the call, and printed as code.

Somebody always speaks: two people at a time, who come and go. Between that lie faults, at any time,
and beside them calls in both directions and the muting of a track of ours.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ringroom.testing.simulation.call_laws import OF_GUESTS, OF_US
from ringroom.testing.simulation.scheduler import Schedule

__all__ = [
    "Bursts",
    "CallThem",
    "CallUs",
    "Deed",
    "Freeze",
    "Happening",
    "Kill",
    "Late",
    "Lose",
    "Mute",
    "Say",
    "Settle",
    "Story",
    "Turn",
    "make_story",
]

# People speak in step, which costs the least and is the worst for the processes that serve them.
FRAME = 0.02
WORKERS = ("ringroom-worker-0", "ringroom-worker-1")
PROCESSES = (*WORKERS, "ringroom-io")
_ANYWHERE = 0.3


@dataclass(frozen=True, kw_only=True)
class Happening:
    """Something at a moment of the call, in seconds."""

    at: float


@dataclass(frozen=True, kw_only=True)
class Turn(Happening):
    """The speaker in that seat leaves, and another comes and speaks."""

    seat: int


@dataclass(frozen=True, kw_only=True)
class Say(Happening):
    """The speaker in that seat sends a message."""

    seat: int


@dataclass(frozen=True, kw_only=True)
class Lose(Happening):
    """The connection is lost for a while; then it resumes, or all is published anew."""

    seconds: float
    resume: bool


@dataclass(frozen=True, kw_only=True)
class Late(Happening):
    """Media is late for a while."""

    seconds: float
    by: float


@dataclass(frozen=True, kw_only=True)
class Bursts(Happening):
    """Media comes in bursts for a while."""

    seconds: float
    of: float


@dataclass(frozen=True, kw_only=True)
class Freeze(Happening):
    """A process stands still."""

    role: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Kill(Happening):
    """A process dies, after ``points`` more points at which it can be interrupted."""

    role: str
    points: int


@dataclass(frozen=True, kw_only=True)
class Settle(Happening):
    """Faults that go on come to their ends first, and calls too; then all is looked at."""


@dataclass(frozen=True, kw_only=True)
class Deed(Happening):
    """What is done by a role of its own, in the middle of whatever goes wrong."""


@dataclass(frozen=True, kw_only=True)
class CallThem(Deed):
    """The application calls whoever is in that seat, for so many seconds. What is ``wanted`` of
    them stands in `call_laws`."""

    seat: int
    wanted: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class CallUs(Deed):
    """Whoever is in that seat calls the application."""

    seat: int
    wanted: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Mute(Deed):
    """The application mutes its own track, or unmutes it."""

    muted: bool


@dataclass(frozen=True)
class Story:
    """A call of that many seconds."""

    schedule: Schedule
    seconds: float = 60.0
    happenings: tuple[Happening, ...] = field(default=())

    SEATS: ClassVar[int] = 2

    def __str__(self) -> str:
        """As code."""
        lines = [f"    {happening}," for happening in self.happenings]
        inner = "".join(f"\n    {line}" for line in lines)
        return f"Story(\n    {self.schedule},\n    {self.seconds},\n    ({inner}\n    ),\n)"


def make_story(seed: int, seconds: float = 60.0) -> Story:
    """The story of a seed. A longer one does not begin as a shorter one does."""
    draw = random.Random(seed)  # noqa: S311 (it must be repeatable)
    happenings: list[Happening] = []
    for _ in range(max(1, round(seconds / 12))):
        happenings.append(Turn(at=_moment(draw, seconds), seat=draw.randrange(Story.SEATS)))
    for _ in range(max(1, round(seconds / 2))):
        happenings.append(Say(at=_moment(draw, seconds), seat=draw.randrange(Story.SEATS)))
    for _ in range(max(1, round(seconds / 10))):
        happenings.append(_fault(draw, seconds))
    schedule = Schedule(
        seed=seed,
        touches=draw.choice((0.0, 0.002, 0.01)),
        delays=draw.choice((0.0, 0.001, 0.005)),
    )
    faults = [one.at for one in happenings if not isinstance(one, Say)]
    for _ in range(max(1, round(seconds / 1.5))):
        happenings.append(_call(draw, _beside(draw, faults, seconds)))
    for _ in range(max(1, round(seconds / 4))):
        at = _beside(draw, faults, seconds)
        happenings.append(Mute(at=at, muted=draw.random() < 0.6))
    for _ in range(max(1, round(seconds / 30))):
        happenings.append(Settle(at=_moment(draw, seconds)))
    happenings.sort(key=lambda happening: happening.at)
    return Story(schedule, seconds, tuple(happenings))


def _moment(draw: random.Random, seconds: float) -> float:
    return round(round(draw.uniform(0.5, seconds) / FRAME) * FRAME, 2)


def _beside(draw: random.Random, faults: Sequence[float], seconds: float) -> float:
    """A moment, as a rule one at which something goes wrong."""
    if draw.random() < _ANYWHERE:
        return _moment(draw, seconds)
    return round(min(max(0.5, draw.choice(faults) + draw.uniform(-0.3, 1.5)), seconds), 3)


def _call(draw: random.Random, at: float) -> Happening:
    kind, wanted = draw.choice(((CallThem, OF_GUESTS), (CallUs, OF_US)))
    return kind(
        at=at,
        seat=draw.randrange(Story.SEATS),
        wanted=draw.choice(wanted),
        seconds=draw.choice((0.2, 0.5, 1.0, 3.0, 8.0)),
    )


def _fault(draw: random.Random, seconds: float) -> Happening:
    at, length = _moment(draw, seconds), round(draw.uniform(0.05, 2.0), 3)
    kind = draw.choice((Lose, Late, Bursts, Freeze, Kill))
    if kind is Lose:
        return Lose(at=at, seconds=length, resume=draw.random() < 0.5)
    if kind is Late:
        return Late(at=at, seconds=length, by=round(draw.uniform(0.01, 0.4), 3))
    if kind is Bursts:
        return Bursts(at=at, seconds=length, of=round(draw.uniform(0.05, 0.5), 3))
    if kind is Freeze:
        return Freeze(at=at, role=draw.choice(PROCESSES), seconds=length)
    return Kill(at=at, role=draw.choice(PROCESSES), points=draw.randrange(20))
