"""Sound in numbered pieces, so that every one can be accounted for.

A piece is 20 ms of one level, and the level is its number: `Microphone.count` speaks them,
`Recording.numbers` and `numbers` read them back. They survive resampling, cutting into frames of
any length, another number of channels, and a change of volume that is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from ringroom.checks import Samples
from ringroom.errors import FrameError
from ringroom.frames import AudioFrame

__all__ = ["PIECE_SECONDS", "account_for", "numbered", "numbers"]

PIECE_SECONDS = 0.02
HIGHEST = 500
_STEP = 60
_MOST_NAMED = 12


def numbered(first: int, count: int, sample_rate: int = 16_000, channels: int = 1) -> Samples:
    """Pieces ``first``, ``first + 1``, ...; int16 of shape (samples per channel, channels).

    Raises `FrameError` for numbers below 1 or above 500.
    """
    if first < 1 or count < 0 or first + count - 1 > HIGHEST:
        raise FrameError(f"pieces {first} to {first + count - 1}, expected 1 to {HIGHEST}")
    levels = np.arange(first, first + count, dtype=np.int16) * np.int16(_STEP)
    mono = np.repeat(levels, round(sample_rate * PIECE_SECONDS))
    return np.repeat(mono[:, None], channels, axis=1)


def numbers(
    sound: AudioFrame | Samples, sample_rate: int = 16_000, *, gain: float = 1.0
) -> list[int]:
    """The numbers of the pieces in that sound, in their order; silence has none.

    ``sample_rate`` is that of samples (a frame knows its own); ``gain`` the change of volume on
    the way. A piece of which less than half is there is not counted.
    """
    samples = sound.samples if isinstance(sound, AudioFrame) else sound
    rate = sound.sample_rate if isinstance(sound, AudioFrame) else sample_rate
    mono = samples[:, 0] if samples.ndim == 2 else samples
    levels = np.rint(mono / (_STEP * gain)).astype(int)
    length = rate * PIECE_SECONDS
    edges = np.flatnonzero(np.diff(levels)) + 1
    found: list[int] = []
    for run in np.split(levels, edges):
        # Shorter runs are the ringing of a resampler between two pieces.
        if run.size and len(run) >= length / 2 and run[0] > 0:
            found += [int(run[0])] * max(1, round(len(run) / length))
    return found


def account_for(heard: Sequence[int], spoken: Iterable[int]) -> None:
    """Holds what was heard against what was spoken: each once, in order, and nothing else.

    Raises `AssertionError`, which says which were lost, came twice, came late, or were never
    spoken.
    """
    expected = [*spoken]
    if [*heard] == expected:
        return
    ordered = [number for number in heard if number in expected]
    faults = {
        "never heard": [number for number in expected if number not in heard],
        "heard more than once": sorted({n for n in heard if [*heard].count(n) > expected.count(n)}),
        "heard after a later one": [b for a, b in itertools.pairwise(ordered) if b < a],
        "never spoken": [number for number in heard if number not in expected],
    }
    lines = [f"{fault}: {_listed(which)}" for fault, which in faults.items() if which]
    raise AssertionError(
        f"{len(expected)} pieces were spoken and {len(heard)} heard\n  "
        + "\n  ".join(lines or [f"heard in another order: {_listed([*heard])}"])
    )


def _listed(which: list[int]) -> str:
    """``3, 7 to 12``."""
    spans: list[list[int]] = []
    for number in which:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    parts = [str(s[0]) if len(s) == 1 else f"{s[0]} to {s[-1]}" for s in spans]
    more = len(parts) - _MOST_NAMED
    return ", ".join(parts[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
