"""How long a frame takes from the I/O process to a worker, and to a worker and back.

A real I/O process and a real worker, and a provider with nothing behind it (`pulse`): from the call
of the provider that hands a frame over to the processor's `process`, and to the provider's `play`
of the reply. One track, one frame every 10 ms, so everybody sleeps before each; then 4 tracks
whose frames come at the same moment.
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
from bench.pulse import Echo, Pulse
from bench.rounds import Figures, measure, outcomes

FRAME_MS = 10
WARM = 50  # frames of each track that are not counted
DEADLINE_SECONDS = 120.0


@dataclass(frozen=True)
class Case:
    """How many tracks send at the same moment."""

    tracks: int


@dataclass(kw_only=True)
class Samples:
    """All that was measured of one case, in microseconds."""

    hop: list[float] = field(default_factory=list)
    echo: list[float] = field(default_factory=list)


def run(case: Case, frames: int, warm: int, kept: Samples) -> Figures:
    """One pool from beginning to end."""
    with tempfile.TemporaryDirectory() as folder:
        heard = Path(folder) / "heard.npy"
        spec = Pulse(tracks=case.tracks, frames=frames + warm, spread=False, heard=str(heard))
        with ringroom.Pool(Echo, spec, workers=1, frame_ms=FRAME_MS) as pool:
            pool.wait(DEADLINE_SECONDS)
        found: NDArray[np.int64] = np.load(heard)
    micro = found[warm * case.tracks :] / 1e3
    kept.echo.extend(micro[:, 0].tolist())
    kept.hop.extend(micro[:, 1].tolist())
    return report.spread("hop_us", micro[:, 1]) | report.spread("echo_us", micro[:, 0])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = report.options(__doc__)
    parser.add_argument("--frames", type=int, default=2000, help="of each track, in a round")
    given = parser.parse_args(arguments)
    asked = report.asked(given)
    cases = [Case(1)] if asked.smallest else [Case(1), Case(4)]
    frames, warm = (10, 2) if asked.smallest else (given.frames, WARM)
    kept = {case: Samples() for case in cases}
    runs = measure(cases, lambda case: run(case, frames, warm, kept[case]), asked.plan)
    report.keep("hop", runs, asked)
    rows = []
    for case, outcome in outcomes(runs).items():
        for what in ("hop", "echo"):
            cells = [
                report.number(outcome.figures.get(f"{what}_us_{part}"), outcome.noisy)
                for part in ("p50", "p99", "max")
            ]
            rows.append([_label(what, case), *cells])
    report.show("Microseconds through ringroom alone", ["", "p50", "p99", "max"], rows)
    if not asked.smallest:
        alone = kept[Case(1)]
        histograms(
            asked.figures / "hop.svg",
            "How long a frame is on its way",
            {"I/O -> worker": alone.hop, "I/O -> worker -> I/O": alone.echo},
            unit="us",
        )


def _label(what: str, case: Case) -> str:
    way = "I/O -> worker" if what == "hop" else "I/O -> worker -> I/O"
    return way if case.tracks == 1 else f"{way}, {case.tracks} tracks at once"


if __name__ == "__main__":
    main()
