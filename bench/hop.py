"""How long a frame takes from the I/O process to a worker, and to a worker and back.

A real I/O process and a real worker, and a provider with nothing behind it (`pulse`): from the call
of the provider that hands a frame over to the processor's `process`, and to the provider's `play`
of the reply. One track, one frame every 10 ms, so everybody sleeps before each; then 4 tracks
whose frames come at the same moment. Beside it the same beat through what else two processes have
(`hops`), without a room, tracks or a pool, and through the least that Python can do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ringroom
from bench import report
from bench.charts import histograms
from bench.hops import WAYS, there_and_back
from bench.pulse import Echo, Pulse
from bench.rounds import Figures, Run, measure, outcomes

FRAME_MS = 10
WARM = 50  # frames of each track that are not counted
DEADLINE_SECONDS = 120.0
MAX_AGE = 2.0  # seconds: the latest frames count most, and none is left out


OURS = "ringroom"
BY_NAME = {way.name: way for way in WAYS}


@dataclass(frozen=True)
class Case:
    """By which way, and how many tracks send at the same moment."""

    way: str = OURS
    tracks: int = 1


@dataclass(kw_only=True)
class Samples:
    """All that was measured of one case, in microseconds."""

    hop: list[float] = field(default_factory=list)
    echo: list[float] = field(default_factory=list)


def run(case: Case, frames: int, warm: int, kept: Samples) -> Figures:
    """From beginning to end: one pool, or another process."""
    if case.way == OURS:
        found = _through_a_pool(case.tracks, frames + warm)
    else:
        found = there_and_back(BY_NAME[case.way], frames + warm, FRAME_MS / 1000)
    micro = found[warm * case.tracks :] / 1e3
    kept.echo.extend(micro[:, 0].tolist())
    kept.hop.extend(micro[:, 1].tolist())
    return report.spread("hop_us", micro[:, 1]) | report.spread("echo_us", micro[:, 0])


def _through_a_pool(tracks: int, frames: int) -> NDArray[np.int64]:
    """Pairs of echo and hop, in nanoseconds."""
    with tempfile.TemporaryDirectory() as folder:
        heard = Path(folder) / "heard.npy"
        spec = Pulse(tracks=tracks, frames=frames, spread=False, heard=str(heard))
        with ringroom.Pool(Echo, spec, workers=1, frame_ms=FRAME_MS, max_age=MAX_AGE) as pool:
            pool.wait(DEADLINE_SECONDS)
        found: NDArray[np.int64] = np.load(heard)
        return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = report.options(__doc__)
    parser.add_argument("--frames", type=int, default=2000, help="of each track, in a round")
    given = parser.parse_args(arguments)
    asked = report.asked(given)
    cases = [Case(), *(Case(way=name) for name in BY_NAME)]
    if not asked.smallest:
        cases.append(Case(tracks=4))
    frames, warm = (10, 2) if asked.smallest else (given.frames, WARM)
    kept = {case: Samples() for case in cases}
    runs = measure(cases, lambda case: run(case, frames, warm, kept[case]), asked.plan)
    report.keep("hop", runs, asked)
    _show(runs)
    if not asked.smallest:
        alone = kept[Case()]
        histograms(
            asked.figures / "hop.svg",
            "How long a frame is on its way",
            {"I/O -> worker": alone.hop, "I/O -> worker -> I/O": alone.echo},
            unit="us",
        )


def _show(runs: Sequence[Run[Case]]) -> None:
    found = outcomes(runs)
    for what, way in (("hop", "There"), ("echo", "There and back")):
        ours = found[Case()].figures[f"{what}_us_p50"]
        rows = []
        for case, outcome in found.items():
            figures = [outcome.figures.get(f"{what}_us_{part}") for part in ("p50", "p99", "max")]
            cells = [report.number(value, outcome.noisy) for value in figures]
            ratio = "" if not figures[0] else report.number(ours / figures[0])
            rows.append([_label(case), *cells, ratio])
        report.show(f"{way}, microseconds", ["", "p50", "p99", "max", "ringroom / it, p50"], rows)


def _label(case: Case) -> str:
    return case.way if case.tracks == 1 else f"{case.way}, {case.tracks} tracks at once"


if __name__ == "__main__":
    main()
