"""What ringroom costs before the first frame, and what each further track and room costs.

- start: the import beside numpy's, a worker until its processor's `start`, the first frame in it
- memory of each process, from 1 to 100 tracks
- CPU per frame in the I/O process and in the worker, from 1 to 100 tracks, and from 1 to 32 rooms
  in one shared I/O process

The provider has nothing behind it (`pulse`), so it is ringroom alone: the SDK's import and memory
are listed on their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ringroom
from bench import report
from bench.charts import lines
from bench.machine import memory, process_seconds
from bench.pulse import Pulse
from bench.report import Asked
from bench.rounds import Figures, Outcome, measure, outcomes
from ringroom.frames import Frame

TRACKS = (1, 3, 10, 30, 100)
ROOMS = (1, 4, 16, 32)
DEADLINE_SECONDS = 30.0
# In a fresh interpreter: what is imported already is not counted twice.
IMPORTS = """
import json, time
import numpy
before = time.perf_counter(), time.process_time()
{code}
print(json.dumps([time.perf_counter() - before[0], time.process_time() - before[1]]))
"""
IMPORTED = {
    "import": "import ringroom",
    "first_use": "import ringroom; ringroom.transport, ringroom.Pool",
    "sdk": "from livekit import rtc",
}


@dataclass(frozen=True)
class Case:
    """What is looked at, and at how many tracks or rooms."""

    what: str
    count: int = 1


class First(ringroom.Processor):
    """Notes when it was started and when the first frame came, in a file each, and processes."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._told = False

    def start(self, context: ringroom.Context) -> None:
        self._note("started")

    def process(self, frame: Frame) -> None:
        if not self._told:
            self._told = True
            self._note("first")

    def _note(self, what: str) -> None:
        path = Path(self._folder) / what
        path.with_suffix(".new").write_text(str(time.monotonic()))
        path.with_suffix(".new").rename(path)


def started(imported: Mapping[str, str] = IMPORTED) -> Figures:
    """Milliseconds: starting Python with numpy, and what comes on top."""
    figures = {"python_numpy_ms": _python("import numpy") * 1e3}
    for name, code in imported.items():
        answer = subprocess.run(
            [sys.executable, "-c", IMPORTS.format(code=code)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        figures[f"{name}_ms"], figures[f"{name}_cpu_ms"] = (s * 1e3 for s in json.loads(answer))
    return figures


def _python(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def first_frame() -> Figures:
    """Milliseconds until a pool is up and until it works, with an I/O process that runs already
    and with one that does not."""
    figures: Figures = {}
    for name in ("warm", "cold"):
        with tempfile.TemporaryDirectory() as folder, ringroom.IOProcess() as warm:
            io: ringroom.IOProcess | str = warm if name == "warm" else "process"
            _until_listening(warm)
            began = time.monotonic()
            with ringroom.Pool(First(folder), Pulse(), io=io, workers=1):  # type: ignore[arg-type]
                joined = time.monotonic()
                first = _note(folder, "first")
            figures |= {
                f"{name}_worker_ms": (_note(folder, "started") - began) * 1e3,
                f"{name}_joined_ms": (joined - began) * 1e3,
                f"{name}_first_frame_ms": (first - began) * 1e3,
                f"{name}_after_joining_ms": (first - joined) * 1e3,
            }
    return figures


def _until_listening(io: ringroom.IOProcess) -> None:
    with ringroom.transport(Pulse(), io=io):
        pass


def _note(folder: str, what: str) -> float:
    path, deadline = Path(folder) / what, time.monotonic() + DEADLINE_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what!r} within {DEADLINE_SECONDS:g} s")
        time.sleep(0.001)
    return float(path.read_text())


def tracks(count: int, seconds: float) -> Figures:
    """A pool of one worker with that many tracks of 50 frames a second."""
    with ringroom.IOProcess() as io, tempfile.TemporaryDirectory() as folder:
        spec = Pulse(tracks=count)
        with ringroom.Pool(First(folder), spec, io=io, workers=1) as pool:
            _note(folder, "first")
            assert io.pid is not None
            (worker,) = pool.pids
            frames, io_seconds, worker_seconds = _busy(pool, (io.pid, worker), seconds)
            used = {"application": os.getpid(), "io": io.pid, "worker": worker}
            memories = {
                f"{name}_{kind}_mb": value
                for name, pid in used.items()
                for kind, value in memory(pid).items()
            }
            counts = pool.stats().received
    return {
        "io_cpu_us": io_seconds / frames * 1e6,
        "worker_cpu_us": worker_seconds / frames * 1e6,
        "dropped": float(counts.dropped),
        **memories,
    }


def _busy(pool: ringroom.Pool, pids: tuple[int, int], seconds: float) -> tuple[int, float, float]:
    """Frames, and core seconds of the two processes, over a while."""

    def now() -> tuple[int, float, float]:
        return pool.stats().received.done, process_seconds(pids[0]), process_seconds(pids[1])

    time.sleep(min(0.5, seconds))  # the first frames find cold caches
    before = now()
    time.sleep(seconds)
    frames, io, worker = (after - then for after, then in zip(now(), before, strict=True))
    return int(frames), io, worker


def rooms(count: int, seconds: float) -> Figures:
    """That many rooms of two tracks each in one I/O process, received in this process."""
    with contextlib.ExitStack() as stack:
        io = stack.enter_context(ringroom.IOProcess())
        for _ in range(count):
            room = stack.enter_context(ringroom.transport(Pulse(tracks=2), io=io))
            reader = threading.Thread(target=_read, args=(room,))
            reader.start()
            stack.callback(reader.join)
            stack.callback(room.close)
        assert io.pid is not None
        time.sleep(min(0.5, seconds))
        before = process_seconds(io.pid)
        time.sleep(seconds)
        spent = process_seconds(io.pid) - before
        share = memory(io.pid)["private"]
    return {"io_cpu_us": spent / (seconds * 100 * count) * 1e6, "io_private_mb": share}


def _read(room: ringroom.Transport) -> None:
    with contextlib.suppress(ringroom.ClosedError):
        for _ in room.recv():
            pass


def main(arguments: Sequence[str] | None = None) -> None:
    parser = report.options(__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of frames, for each case")
    given = parser.parse_args(arguments)
    asked = report.asked(given)
    seconds: float = given.seconds
    if asked.smallest:
        cases, seconds = [Case("start"), Case("tracks", 2)], 0.1
    else:
        cases = [Case("start"), Case("first frame")]
        cases += [Case("tracks", count) for count in TRACKS]
        cases += [Case("rooms", count) for count in ROOMS]

    def run(case: Case) -> Figures:
        if case.what == "start":
            return started({"import": "import ringroom"} if asked.smallest else IMPORTED)
        if case.what == "first frame":
            return first_frame()
        return (tracks if case.what == "tracks" else rooms)(case.count, seconds)

    runs = measure(cases, run, asked.plan)
    report.keep("growth", runs, asked)
    found = outcomes(runs)
    tell(found)
    if not asked.smallest:
        draw(found, asked)


def tell(found: dict[Case, Outcome]) -> None:
    """What happens once as one table, what grows as one for tracks and one for rooms."""
    once = [
        [name.removesuffix("_ms").replace("_", " "), report.number(value, outcome.noisy)]
        for case, outcome in found.items()
        if case.what in ("start", "first frame")
        for name, value in outcome.figures.items()
    ]
    report.show("Before the first frame", ["", "ms"], once)
    for what in ("tracks", "rooms"):
        grown = {case: outcome for case, outcome in found.items() if case.what == what}
        names = dict.fromkeys(n for outcome in grown.values() for n in outcome.figures)
        rows = [
            [
                name.replace("_", " "),
                *(report.number(o.figures.get(name), o.noisy) for o in grown.values()),
            ]
            for name in names
        ]
        if rows:
            columns = ["", *(f"{case.count} {what}" for case in grown)]
            report.show("For each frame, and by process", columns, rows)


def draw(found: dict[Case, Outcome], asked: Asked) -> None:
    series = {
        name: [
            (float(case.count), outcome.figures[figure])
            for case, outcome in found.items()
            if case.what == "tracks"
        ]
        for name, figure in (("I/O process", "io_cpu_us"), ("worker", "worker_cpu_us"))
    }
    lines(
        asked.figures / "growth.svg",
        "CPU for each frame of 20 ms",
        series,
        axes=("tracks", "us of a core"),
    )


if __name__ == "__main__":
    main()
