"""What a chaos run is asked for, and what happens in it: both data, the second made from a seed.

The seed fixes what happens, in which order, and about when. What else goes on between is up to the
machine: two runs of one seed are alike, not the same (for that there is the simulation).
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass, fields

from ringroom.errors import ConfigurationError

__all__ = [
    "Burst",
    "Flood",
    "Freeze",
    "Happening",
    "Kill",
    "Late",
    "Leave",
    "Lose",
    "Mute",
    "NotReading",
    "Plan",
    "Reform",
    "Refuse",
    "Stick",
    "happenings",
]

FAKE, LIVEKIT = "fake", "livekit"
# Plain numbers: a happening's repr is code.
_KILL, _SEGV = int(signal.SIGKILL), int(signal.SIGSEGV)
# People whose sound and pictures come back; the others are only heard. A fake room takes as much of
# a processor for a track as the I/O process does.
MOST_ANSWERED = 8


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A chaos run. Raises `ConfigurationError`."""

    seed: int = 1
    seconds: float = 60.0
    """How long things go wrong; no end while kills are counted."""
    tracks: int = 8
    """How many people speak."""
    places: int = 2
    """Worker processes."""
    spares: int = 1
    standby: bool = True
    every: float = 1.0
    """Seconds between two happenings, on average; 0: nothing goes wrong, a soak."""
    worker_kills: int = 0
    """With `io_kills`: so many kills and nothing else, each once the one before is overcome and
    who replaces the dead is ready."""
    io_kills: int = 0
    patience: float = 60.0
    """Seconds within which everything recovers."""

    def __post_init__(self) -> None:
        least = {"tracks": 1, "places": 1, "seconds": 0.1, "patience": 1.0}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("seed", "standby") and not value >= least.get(field.name, 0):
                raise ConfigurationError(
                    f"{field.name} is {value}, expected {least.get(field.name, 0)} or more"
                )

    @property
    def people(self) -> tuple[str, ...]:
        """Their identities."""
        return tuple(f"p{number}" for number in range(self.tracks))

    @property
    def answered(self) -> tuple[str, ...]:
        """Those whose sound comes back."""
        return self.people[:MOST_ANSWERED]

    @property
    def counted(self) -> bool:
        """Whether the run is about a number of kills."""
        return self.worker_kills + self.io_kills > 0


@dataclass(frozen=True, kw_only=True)
class Happening:
    """Something that goes wrong, so many seconds after the one before."""

    after: float


@dataclass(frozen=True, kw_only=True)
class Kill(Happening):
    """Processes die of a signal at the same moment: ``worker 0``, ``io``, ``spare``, ``standby``.
    ``ready``: whether that waits until a spare and a standby can take over."""

    targets: tuple[str, ...]
    number: int = _KILL
    ready: bool = True


@dataclass(frozen=True, kw_only=True)
class Freeze(Happening):
    """A process stands still (SIGSTOP)."""

    target: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Stick(Happening):
    """A worker never comes back from a frame; in C code that holds the GIL, if so."""

    place: int
    gil: bool


@dataclass(frozen=True, kw_only=True)
class Leave(Happening):
    """Somebody leaves, or vanishes without a word, and is back after a while."""

    person: int
    seconds: float
    vanish: bool


@dataclass(frozen=True, kw_only=True)
class Mute(Happening):
    """Somebody mutes the microphone for a while."""

    person: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Reform(Happening):
    """Somebody's sound and pictures change their form in mid-stream."""

    person: int
    sample_rate: int
    channels: int
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Flood(Happening):
    """Somebody sends so many messages at once."""

    person: int
    count: int


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
class Burst(Happening):
    """Media comes in bursts for a while."""

    seconds: float
    of: float


@dataclass(frozen=True, kw_only=True)
class NotReading(Happening):
    """The application that listens does not read for a while."""

    seconds: float


@dataclass(frozen=True, kw_only=True)
class Refuse(Happening):
    """Tracks are refused for a while, in which somebody's answer has to be published anew."""

    person: int
    seconds: float


def happenings(plan: Plan, stage: str = FAKE) -> Iterator[Happening]:
    """All that goes wrong, as the seed says. For ``seconds`` it does not end: who plays it does."""
    draw = random.Random(plan.seed)  # noqa: S311 (it must be repeatable)
    if plan.counted:
        yield from _kills(plan, draw)
    elif plan.every:
        kinds = _ON_FAKE if stage == FAKE else _ON_LIVEKIT
        names = [name for name, weight in kinds.items() for _ in range(weight)]
        while True:
            yield _drawn(draw.choice(names), plan, draw)


def _kills(plan: Plan, draw: random.Random) -> Iterator[Happening]:
    kinds = ["worker"] * plan.worker_kills + ["io"] * plan.io_kills
    draw.shuffle(kinds)
    for kind in kinds:
        target = f"worker {draw.randrange(plan.places)}" if kind == "worker" else "io"
        yield Kill(after=draw.random() * 0.1, targets=(target,))


_ON_LIVEKIT = {"kill": 5, "freeze": 2, "stick": 1, "leave": 4, "flood": 1}
_ON_FAKE = _ON_LIVEKIT | {
    "mute": 2,
    "reform": 2,
    "lose": 2,
    "late": 1,
    "burst": 1,
    "not reading": 1,
    "refuse": 1,
}
_TARGETS = (
    ("worker 0",),
    ("worker 0",),
    ("worker 0",),
    ("io",),
    ("io",),
    ("worker 0", "io"),
    ("worker 0", "worker 1"),
    ("spare",),
    ("standby",),
    ("standby", "io"),
    ("spare", "worker 0"),
)


def _drawn(kind: str, plan: Plan, draw: random.Random) -> Happening:
    after = draw.expovariate(1 / plan.every)
    person = draw.randrange(plan.tracks)
    seconds = round(draw.uniform(0.05, 2.0), 3)
    place = draw.randrange(plan.places)
    match kind:
        case "kill":
            return Kill(
                after=after,
                targets=_places(draw.choice(_TARGETS), place, plan.places),
                number=draw.choice((_KILL, _SEGV)),
                ready=draw.random() < 0.7,
            )
        case "freeze":
            return Freeze(
                after=after, target=draw.choice((f"worker {place}", "io")), seconds=seconds
            )
        case "stick":
            return Stick(after=after, place=place, gil=draw.random() < 0.5)
        case "leave":
            vanish = draw.random() < 0.3
            return Leave(after=after, person=person, seconds=seconds, vanish=vanish)
        case "mute":
            return Mute(after=after, person=person, seconds=seconds)
        case "flood":
            return Flood(after=after, person=person, count=draw.choice((100, 1_000, 10_000)))
        case _:
            return _drawn_on_fake(kind, after, person, seconds, draw)


def _drawn_on_fake(
    kind: str, after: float, person: int, seconds: float, draw: random.Random
) -> Happening:
    match kind:
        case "reform":
            return Reform(
                after=after,
                person=person,
                sample_rate=draw.choice((8_000, 16_000, 24_000, 48_000)),
                channels=draw.choice((1, 2)),
                size=draw.choice(((160, 120), (320, 240), (640, 480))),
            )
        case "lose":
            return Lose(after=after, seconds=seconds, resume=draw.random() < 0.5)
        case "late":
            return Late(after=after, seconds=seconds, by=round(draw.uniform(0.01, 0.4), 3))
        case "burst":
            return Burst(after=after, seconds=seconds, of=round(draw.uniform(0.05, 0.5), 3))
        case "refuse":
            return Refuse(after=after, person=person, seconds=seconds)
        case _:
            return NotReading(after=after, seconds=seconds)


def _places(targets: tuple[str, ...], place: int, places: int) -> tuple[str, ...]:
    """The targets, shifted by ``place`` in a pool of that many places."""
    found = []
    for target in targets:
        kind, _, number = target.partition(" ")
        found.append(f"{kind} {(int(number) + place) % places}" if number else kind)
    return tuple(dict.fromkeys(found))
