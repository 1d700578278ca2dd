"""What Python work on every frame does to a call, on a real LiveKit server.

So many people speak (Go clients), the application works for some milliseconds on each 20 ms frame
of each of them, and plays a tone meanwhile. Somebody listens to the tone: how much of it is heard,
and the longest gap. The application tells when it began with each frame: how late that is, beside
the earliest that it ever was on that track, is the frame's age.

The contenders: the plain SDK with its work inline, on a thread pool and in a process pool; Pipecat
and LiveKit Agents as their documentation has it, in environments of their own; and ringroom.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import report
from bench.charts import bars
from bench.contenders.stage import FRAME_SECONDS, VARIABLE, Orders
from bench.crowd import APP, ClientError, Crowd, judged
from bench.environments import ROOT, Environment, Unavailable
from bench.machine import adopt_orphans, reap_group
from bench.report import Asked
from bench.rounds import Figures, Outcome, measure, outcomes

TRACKS = (4, 8, 16)
WORK_MS = (2.0, 4.0, 6.0, 8.0)
READY_SECONDS = 90.0
ANSWER_SECONDS = 60.0
# At the end of the tone some of it is still on its way when the application ends.
TAIL_SECONDS = 0.5


@dataclass(frozen=True)
class Contender:
    """How to start one; None: in this environment."""

    module: tuple[str, ...]
    environment: Environment | None = None

    @property
    def python(self) -> str:
        return sys.executable if self.environment is None else str(self.environment.python)


CONTENDERS = {
    "ringroom": Contender(("bench.contenders.ours",)),
    "plain SDK, inline": Contender(("bench.contenders.plain", "inline")),
    "plain SDK, thread pool": Contender(("bench.contenders.plain", "threads")),
    "plain SDK, process pool": Contender(("bench.contenders.plain", "processes")),
    "Pipecat": Contender(
        ("bench.contenders.pipecat_app",), Environment("pipecat", ("pipecat-ai[livekit]>=1.10",))
    ),
    "LiveKit Agents": Contender(
        ("bench.contenders.agent",), Environment("agents", ("livekit-agents>=1.8",))
    ),
}


@dataclass(frozen=True)
class Case:
    """One contender under one load."""

    contender: str
    tracks: int
    work_ms: float


class Failed(Exception):
    """A contender did not come up, or gave no answer; with its last words."""


def run(case: Case, crowd: Crowd, seconds: float) -> Figures:
    """One call."""
    room = crowd.server.room("isolation")
    with tempfile.TemporaryDirectory() as folder:
        told = Orders(
            url=room.url,
            token=room.token(APP),
            room=room.name,
            key=crowd.server.api_key,
            secret=crowd.server.api_secret,
            identity=APP,
            tracks=case.tracks,
            work_ms=case.work_ms,
            seconds=seconds,
            answer=str(Path(folder) / "answer"),
        )
        with (
            _started(CONTENDERS[case.contender], told) as wait,
            crowd.listener(room) as ear,
            crowd.speakers(room, case.tracks),
        ):
            wait("answer", seconds + ANSWER_SECONDS)
            heard = judged(ear, seconds - TAIL_SECONDS)
        answer = json.loads(Path(told.answer).read_text())
    return _judged(answer, case.tracks) | {
        "played": heard.seconds / (seconds - TAIL_SECONDS),
        "longest_gap_ms": heard.longest_gap * 1e3,
    }


def _or_failed(case: Case, crowd: Crowd, seconds: float) -> Figures:
    """A contender that breaks down under a load must not take the others' figures along."""
    try:
        return run(case, crowd, seconds)
    except (Failed, ClientError) as error:
        sys.stderr.write(f"{case}: {error}\n")
        return {"failed": 1.0}


def run_alone(case: Case, seconds: float) -> Figures:
    """ringroom with nothing behind its provider, and nobody who listens: no server is needed."""
    with tempfile.TemporaryDirectory() as folder:
        told = Orders(
            url="",
            token="",
            room="",
            key="",
            secret="",
            identity=APP,
            tracks=case.tracks,
            work_ms=case.work_ms,
            seconds=seconds,
            answer=str(Path(folder) / "answer"),
        )
        with _started(CONTENDERS[case.contender], told) as wait:
            wait("answer", seconds + ANSWER_SECONDS)
        return _judged(json.loads(Path(told.answer).read_text()), case.tracks)


@contextlib.contextmanager
def _started(contender: Contender, told: Orders) -> Iterator[Any]:
    """The contender, ready, in a process group of its own that ends with the block."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [contender.python, "-m", *contender.module],
            cwd=ROOT,
            env=os.environ | {VARIABLE: json.dumps(asdict(told))},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

        def wait(what: str, seconds: float) -> None:
            path = Path(told.answer + (".ready" if what == "ready" else ""))
            deadline = time.monotonic() + seconds
            while not path.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    words = log.read().decode(errors="replace")[-2000:]
                    raise Failed(f"{contender.module}: not {what} within {seconds:g} s\n{words}")
                time.sleep(0.02)

        try:
            wait("ready", READY_SECONDS)
            yield wait
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            reap_group(process.pid)


def _judged(answer: dict[str, Any], tracks: int) -> Figures:
    """Ages of the frames that were begun within the time, and how many those were."""
    began, ended = answer["began"], answer["ended"]
    names = {name for name, _, _ in answer["notes"]}
    late: list[float] = []
    for name in names:
        notes = np.array([note[1:] for note in answer["notes"] if note[0] == name])
        delays = notes[:, 1] - notes[:, 0]
        within = (notes[:, 1] >= began) & (notes[:, 1] <= ended)
        # Shorter frames are the same work in smaller portions.
        portion = _median_step(notes[:, 0]) / FRAME_SECONDS
        late.extend((delays - delays.min())[within])
        answer.setdefault("processed", 0.0)
        answer["processed"] += float(within.sum()) * portion
    offered = (ended - began) / FRAME_SECONDS * tracks
    figures = {
        "processed": answer.get("processed", 0.0) / offered,
        "dropped": answer["dropped"] / offered,
        **report.spread("age_ms", late, 1e3),
    }
    return figures | report.spread("own_age_ms", answer.get("ages", []), 1e3)


def _median_step(positions: Any) -> float:
    steps = np.diff(np.sort(positions))
    return float(np.median(steps)) if len(steps) else FRAME_SECONDS


def main(arguments: Sequence[str] | None = None) -> None:
    parser = report.options(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each call")
    parser.add_argument("--tracks", type=int, nargs="+", default=TRACKS)
    parser.add_argument("--work-ms", type=float, nargs="+", default=WORK_MS)
    parser.add_argument("--only", nargs="+", default=[""], help="parts of contenders' names")
    given = parser.parse_args(arguments)
    asked = report.asked(given)
    if asked.smallest:
        case = Case("ringroom", 1, 1.0)
        runs = measure([case], lambda case: run_alone(case, 0.3), asked.plan)
        report.keep("isolation", runs, asked)
        tell(outcomes(runs), {})
        return
    wanted = [name for name in CONTENDERS if any(part in name for part in given.only)]
    missing = _install(wanted, asked)
    cases = [
        Case(name, tracks, work)
        for tracks in given.tracks
        for work in given.work_ms
        for name in wanted
        if name not in missing
    ]
    # A contender ends at once, and leaves the processes of its pool.
    adopt_orphans()
    with Crowd() as crowd:
        runs = measure(
            cases,
            lambda case: _or_failed(case, crowd, given.seconds),
            asked.plan,
            also=crowd.server_pids,
        )
    report.keep("isolation", runs, asked, missing=missing)
    found = outcomes(runs)
    tell(found, missing)
    draw(found, asked)


def _install(wanted: Sequence[str], asked: Asked) -> dict[str, str]:
    """Why contenders are not to be had here."""
    missing: dict[str, str] = {}
    for name in wanted:
        environment = CONTENDERS[name].environment
        if environment is None:
            continue
        try:
            if not asked.peers:
                raise Unavailable("--no-peers")
            environment.ensure()
        except Unavailable as error:
            missing[name] = str(error)
    return missing


def tell(found: dict[Case, Outcome], missing: dict[str, str]) -> None:
    """A table for each load."""
    columns = ["", "played %", "longest gap ms", "age p50 ms", "p99", "max", "processed %"]
    columns.append("dropped %")
    for tracks, work in dict.fromkeys((case.tracks, case.work_ms) for case in found):
        rows = []
        for case, outcome in found.items():
            if (case.tracks, case.work_ms) != (tracks, work):
                continue
            figures = outcome.figures
            values = [
                _percent(figures.get("played")),
                figures.get("longest_gap_ms"),
                *(figures.get(f"age_ms_{part}") for part in ("p50", "p99", "max")),
                _percent(figures.get("processed")),
                _percent(figures.get("dropped")),
            ]
            cells = [report.number(value, outcome.noisy) for value in values]
            rows.append([case.contender, *cells])
        cores = tracks * work / 20
        title = f"{tracks} tracks, {work:g} ms of Python for each frame: {cores:.1f} cores of work"
        report.show(title, columns, rows, missing=missing)


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def draw(found: dict[Case, Outcome], asked: Asked) -> None:
    """How much of the tone was played: a chart for each number of tracks. The README shows one."""
    for tracks in dict.fromkeys(case.tracks for case in found):
        groups: dict[str, dict[str, float | None]] = {}
        for case, outcome in found.items():
            if case.tracks == tracks:
                load = f"{case.work_ms:g} ms of Python for each 20 ms frame"
                played = _percent(outcome.figures.get("played"))
                groups.setdefault(load, {})[case.contender] = played
        title = f"{tracks} people speak: how much of its own sound the application got out"
        bars(asked.figures / f"isolation-{tracks}.svg", title, groups, unit="%", top=100)


if __name__ == "__main__":
    main()
