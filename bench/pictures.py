"""What pictures cost on their way through the LiveKit SDK, on a real server, in and out.

One process with nothing but the provider (no lanes, no workers), one track of 1080p at 30 pictures
a second. In: another process shows it, by the SDK's own API; what comes is copied once, as into a
ring. Out: each picture is offered at its time. The picture stands still, which spares the encoder:
what is left is the way, and its copies.

The ways are those of `bench.media`. Beside them, how long one copy of the picture takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench import report
from bench.crowd import APP
from bench.environments import ROOT, Unavailable
from bench.media import WAYS
from bench.rounds import Figures, Outcome, measure, outcomes
from ringroom.colour import i420_size
from ringroom.testing.server import LiveKitRoom, LiveKitServer

CONTENDER = "bench.contenders.pictures"
RUN_SECONDS = 90.0
COPIES = 64


@dataclass(frozen=True)
class Case:
    """A direction, the way through the SDK, and the picture."""

    what: str
    way: str
    width: int = 1920
    height: int = 1080
    rate: int = 30


def run(case: Case, server: LiveKitServer, seconds: float) -> Figures:
    room = server.room("pictures")
    with contextlib.ExitStack() as stack:
        if case.what == "in":
            stack.enter_context(_shown(case, room, seconds))
        process = stack.enter_context(_started(case, room, seconds))
        try:
            printed, errors = process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            return {"failed": 1.0}
        if process.returncode:
            sys.stderr.write(f"{case}: {errors}\n")
            return {"failed": 1.0}
    found: Figures = json.loads(printed.splitlines()[-1])
    return {**found, "load": os.getloadavg()[0]}


@contextlib.contextmanager
def _started(case: Case, room: LiveKitRoom, seconds: float, who: str = APP) -> Iterator[Any]:
    order = {
        "url": room.url,
        "token": room.token(who),
        "room": room.name,
        "tracks": 1,
        "seconds": seconds,
        **asdict(case),
    }
    command = [sys.executable, "-m", CONTENDER, json.dumps(order)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def _shown(case: Case, room: LiveKitRoom, seconds: float) -> Iterator[None]:
    """Somebody else shows the picture; it is under way."""
    shown = Case("show", "native", case.width, case.height, case.rate)
    with _started(shown, room, seconds, "camera") as process:
        if "showing" not in process.stdout.readline():
            raise Unavailable("the picture is not shown")
        yield


def copy_us(nbytes: int) -> float:
    """How long it takes to copy so many bytes, from one of several places to another."""
    source = np.zeros((8, nbytes), np.uint8) + np.arange(8, dtype=np.uint8)[:, None]
    target = np.ones((8, nbytes), np.uint8)
    took = []
    for number in range(COPIES):
        began = time.perf_counter()
        target[number % 8] = source[(number + 3) % 8]
        took.append(time.perf_counter() - began)
    return float(np.median(took)) * 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    parser = report.options(__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each case")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--size", nargs=2, type=int, default=(1920, 1080), metavar=("W", "H"))
    parser.set_defaults(again=0)
    given = parser.parse_args(arguments)
    asked = report.asked(given)
    if asked.smallest:
        raise Unavailable("it needs a server, also for the smallest case")
    cases = [Case(what, way, *given.size) for what in ("in", "out") for way in given.ways]
    try:
        with LiveKitServer() as server:
            runs = measure(cases, lambda case: run(case, server, given.seconds), asked.plan)
    except RuntimeError as error:
        raise Unavailable(f"no LiveKit server: {error}") from error
    report.keep("pictures", runs, asked)
    tell(outcomes(runs), *given.size)


def tell(found: dict[Case, Outcome], width: int, height: int) -> None:
    columns = ["", "CPU us a picture", "above native", "loop", "events", "pictures/s"]
    for what in ("in", "out"):
        ways = {case.way: outcome for case, outcome in found.items() if case.what == what}
        floor = ways["native"].figures.get("cpu_us") if "native" in ways else None
        rows = []
        for way, outcome in ways.items():
            figures = outcome.figures
            cpu = figures.get("cpu_us")
            above = None if cpu is None or floor is None else cpu - floor
            others = (figures.get(name) for name in ("loop_us", "events_us", "frames"))
            values = (cpu, above, *others)
            rows.append([way, *(report.number(value, outcome.noisy) for value in values)])
        report.show(f"{width}x{height} {what}, 30 pictures/s", columns, rows)
    nbytes = i420_size(width, height)
    sys.stdout.write(f"One copy of {nbytes / 1e6:.1f} MB takes {copy_us(nbytes):.0f} us.\n")


if __name__ == "__main__":
    main()
