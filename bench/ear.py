"""From a mouth to an ear, through a real LiveKit server, with an application between that echoes.

Somebody clicks now and then and hears the clicks come back: from the moment a click is handed to
the SDK until its first loud sample comes out of it. Two encoders, two decoders, two jitter buffers
and the server are in it. The application is the plain SDK in one process that does nothing else,
or ringroom with one worker; and there is the call without an application, one way.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench import report
from bench.charts import histograms
from bench.crowd import APP, Crowd
from bench.environments import ROOT, Unavailable
from bench.rounds import Figures, measure, outcomes

ROLE = "bench.contenders.ear"
MOUTH, EAR = "mouth", "ear"
DIRECT = "no application, one way"
WAYS = {DIRECT: "", "plain SDK": "sdk", "ringroom": "ringroom"}
GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class Case:
    """Who echoes."""

    way: str


@dataclass(kw_only=True)
class Samples:
    """All that was measured of a case, in milliseconds, and how many clicks never came."""

    late: list[float] = field(default_factory=list)


def run(case: Case, crowd: Crowd, clicks: int, kept: Samples) -> Figures:
    """One call."""
    room = crowd.server.room("ear")
    order = {
        "url": room.url,
        "tokens": {name: room.token(name) for name in (APP, MOUTH, EAR)},
        "clicks": clicks,
        "follow": APP if WAYS[case.way] else MOUTH,
    }
    person = _started("person", order)
    echo = _started(WAYS[case.way], order) if WAYS[case.way] else None
    try:
        said, _ = person.communicate(timeout=clicks + GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return {"failed": 1.0}
    finally:
        for process in filter(None, (person, echo)):
            process.terminate()
            process.communicate()
    if person.returncode:
        return {"failed": 1.0}
    late = json.loads(said)
    kept.late.extend(late)
    return report.spread("ms", late) | {"heard": len(late) / clicks}


def _started(role: str, order: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", ROLE, role, json.dumps(order)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = report.options(__doc__)
    parser.add_argument("--clicks", type=int, default=25, help="of each call")
    given = parser.parse_args(arguments)
    asked = report.asked(given)
    if asked.smallest:
        raise Unavailable("it needs a server, also for the smallest case")
    cases = [Case(way) for way in WAYS]
    kept = {case: Samples() for case in cases}
    with Crowd() as crowd:
        runs = measure(
            cases,
            lambda case: run(case, crowd, given.clicks, kept[case]),
            asked.plan,
            also=crowd.server_pids,
        )
    report.keep("ear", runs, asked)
    rows = []
    for case, outcome in outcomes(runs).items():
        parts = [outcome.figures.get(f"ms_{part}") for part in ("p50", "p99", "max")]
        heard = outcome.figures.get("heard")
        values = [*parts, None if heard is None else heard * 100]
        rows.append([case.way, *(report.number(value, outcome.noisy) for value in values)])
    report.show("Milliseconds from mouth to ear", ["", "p50", "p99", "max", "heard %"], rows)
    found = {case.way: samples.late for case, samples in kept.items() if samples.late}
    histograms(asked.figures / "ear.svg", "From mouth to ear", found, unit="ms")


if __name__ == "__main__":
    main()
