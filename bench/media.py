"""What sound costs on its way through the LiveKit SDK, on a real server, in and out.

One process with nothing but the provider (no lanes, no workers), 20 ms frames at 16 kHz, Go clients
on the other side. In: subscribed tracks, given to a sink that copies them. Beat: tracks that are
fed a frame every 20 ms. Out: tracks that are fed as fast as their sources take it.

It ends within twelve minutes: no noisy round is repeated unless that is asked for, and who does not
get anywhere is given up.

The ways: `native` is what the library does without Python; `sdk` is its public API as the
documentation has it; `public` and `direct` are ringroom's provider over that API and beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench import report
from bench.crowd import APP, Crowd
from bench.environments import ROOT, Unavailable
from bench.rounds import Figures, Outcome, measure, outcomes

WAYS = ("native", "sdk", "public", "direct")
CASES = (("in", 30), ("beat", 20), ("out", 20), ("out", 60))
RUN_SECONDS = 60.0


@dataclass(frozen=True)
class Case:
    """A direction, how many tracks, and the way through the SDK."""

    what: str
    tracks: int
    way: str


def run(case: Case, crowd: Crowd, seconds: float) -> Figures:
    room = crowd.server.room("media")
    order = {
        "url": room.url,
        "token": room.token(APP),
        "room": room.name,
        "seconds": seconds,
        **asdict(case),
    }
    command = [sys.executable, "-m", "bench.contenders.media", json.dumps(order)]
    with crowd.choir(room, case.tracks if case.what == "in" else 0):
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS, check=True
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            sys.stderr.write(f"{case}: {error.stderr!r}\n")
            return {"failed": 1.0}
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return {**found, "load": os.getloadavg()[0]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = report.options(__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each case")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--only", nargs="+", default=("in", "beat", "out"), help="directions")
    parser.add_argument("--tracks", type=int, nargs="+", help="instead of 30 in, 20 and 60 out")
    parser.set_defaults(again=0)
    given = parser.parse_args(arguments)
    asked = report.asked(given)
    if asked.smallest:
        raise Unavailable("it needs a server, also for the smallest case")
    wanted = (
        CASES if not given.tracks else [(w, n) for w in ("in", "beat", "out") for n in given.tracks]
    )
    cases = [Case(w, n, way) for w, n in wanted if w in given.only for way in given.ways]
    with Crowd() as crowd:
        runs = measure(
            cases,
            lambda case: run(case, crowd, given.seconds),
            asked.plan,
            also=crowd.server_pids,
        )
    report.keep("media", runs, asked)
    tell(outcomes(runs))


def tell(found: dict[Case, Outcome]) -> None:
    columns = ["", "CPU us a frame", "above native", "loop", "events"]
    columns += ["frames/s", "of real time %", "cores", "load"]
    for what, tracks in dict.fromkeys((case.what, case.tracks) for case in found):
        rows = []
        native = found.get(Case(what, tracks, "native"))
        for case, outcome in found.items():
            if (case.what, case.tracks) != (what, tracks):
                continue
            figures = outcome.figures
            cpu = figures.get("cpu_us")
            floor = None if native is None else native.figures.get("cpu_us")
            share = figures.get("share")
            values = [
                cpu,
                None if cpu is None or floor is None else cpu - floor,
                figures.get("loop_us"),
                figures.get("events_us"),
                figures.get("frames"),
                None if share is None else share * 100,
                figures.get("cores"),
                figures.get("load"),
            ]
            rows.append([case.way, *(report.number(v, outcome.noisy) for v in values)])
        report.show(f"{tracks} tracks {what}, 20 ms frames", columns, rows)


if __name__ == "__main__":
    main()
