"""Random SIGKILLs under load, on a fake room with a real I/O process, and the law all the time.

By hand, for as long as one likes, with a report of how long recovery took:

    python tests/chaos_kit.py --workers 200 --io 50 --seed 7
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import processors_kit as kit
from app_kit import check_law, children, descriptors
from ringroom.pool import Pool
from ringroom.testing import FakeRoom

PATIENCE = 60.0


@dataclass
class Report:
    """Seconds from each kill to the next frame that is taken in its place."""

    recoveries: list[float] = field(default_factory=list)
    lost: int = 0
    sent: int = 0
    steal: float = 0.0

    def __str__(self) -> str:
        times = sorted(self.recoveries)
        share = [times[min(len(times) - 1, int(len(times) * part))] for part in (0.5, 0.99)]
        return (
            f"{len(times)} kills: recovery p50 {share[0]:.3f} s, p99 {share[1]:.3f} s, longest "
            f"{times[-1]:.3f} s; {self.lost} of {self.sent} frames lost; steal {self.steal:.1%}"
        )


def until(condition: Callable[[], Any], what: str, pause: float = 0.0005) -> Any:
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(pause)
    return value


class Speakers:
    """People who never stop talking, as long as somebody calls `go_on` now and then."""

    def __init__(self, room: FakeRoom, count: int) -> None:
        self.mics = [room.join(f"p{number}").publish_audio("mic") for number in range(count)]
        self.until = 0.0
        for mic in self.mics:
            mic.wait_for_subscriber(timeout=PATIENCE)

    def go_on(self) -> None:
        if time.monotonic() > self.until - 10.0:
            self.until = max(self.until, time.monotonic()) + 20.0
            for mic in self.mics:
                mic.tone(300, seconds=20.0)


@contextlib.contextmanager
def _under_load(
    report: Report, kills: int, workers: int, tracks: int
) -> Iterator[tuple[Pool, Any]]:
    """A pool with people who talk, and at its end: the law, and nothing left behind."""
    before = children(), descriptors(), threading.active_count()
    steal = _steal()
    options = {"workers": workers, "spares": 1, "restarts": kills + 1}
    with FakeRoom() as room, Pool(kit.Echo, "fake", room=room, **options) as pool:
        speakers = Speakers(room, tracks)
        yield pool, speakers
        room.close_room()
        pool.wait(PATIENCE)
    check_law(pool)
    received = pool.stats().received
    assert received.in_flight == pool.stats().sent.in_flight == 0
    # One more: the resource tracker of `multiprocess`, started once and kept.
    until(lambda: len(children()) <= len(before[0]) + 1, "children to be gone", 0.01)
    until(lambda: threading.active_count() <= before[2], "threads to end", 0.01)
    until(lambda: descriptors() <= before[1] + 1, "descriptors to be closed", 0.01)
    report.lost, report.sent = received.lost, received.sent
    report.steal = _steal() - steal


def kill_workers(kills: int, seed: int, workers: int = 2, tracks: int = 4) -> Report:
    """Kills workers at random moments, each once a spare is warm and the last kill is overcome."""
    choice = random.Random(seed)
    report = Report()
    with _under_load(report, kills, workers, tracks) as (pool, speakers):
        for _ in range(kills):
            speakers.go_on()
            until(lambda: pool.spares, "a warm spare", 0.005)
            place = choice.randrange(workers)
            until(lambda place=place: pool._progress(place).count, "work", 0.005)
            time.sleep(choice.random() * 0.1)
            _kill(pool, place, report)
            check_law(pool)
    return report


def kill_io(kills: int, seed: int, workers: int = 2, tracks: int = 4) -> Report:
    """The same with the I/O process, each time once the standby had time to get ready."""
    choice = random.Random(seed)
    report = Report()
    with _under_load(report, kills, workers, tracks) as (pool, speakers):
        host = pool._connection.host
        for _ in range(kills):
            speakers.go_on()
            standby = until(lambda: getattr(host, "standby_pid", None), "a standby", 0.005)
            until(lambda pid=standby: _sleeps(pid), "a standby that is ready", 0.02)
            for place in range(workers):
                until(lambda place=place: pool._progress(place).count, "work", 0.005)
            time.sleep(choice.random() * 0.1)
            began, generation, io = time.monotonic(), pool._generation, pool.io_pid
            os.kill(io, signal.SIGKILL)
            until(lambda was=generation: pool._generation > was, "another I/O process")
            until(lambda: all(pool._progress(p).count for p in range(workers)), "frames")
            report.recoveries.append(time.monotonic() - began)
            check_law(pool)
    return report


def _sleeps(pid: int) -> bool:
    """Whether it waits for something, and has done so for a while: it has started."""
    looks = []
    for _ in range(5):
        text = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        looks.append((text[0], text[11]))
        time.sleep(0.02)
    return len(set(looks)) == 1 and looks[0][0] == "S"


def _kill(pool: Pool, place: int, report: Report) -> None:
    pid = pool.pids[place]
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    until(lambda: pool.pids[place] != pid, "a replacement")
    was = pool._progress(place).count
    until(lambda: pool._progress(place).count != was, "its first frame")
    report.recoveries.append(time.monotonic() - began)


def _steal() -> float:
    """What the hypervisor has taken, as a share of all time (of no use as a difference only when
    the machine has just started)."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return numbers[7] / max(1, sum(numbers))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=200, help="kills of workers")
    parser.add_argument("--io", type=int, default=50, help="kills of the I/O process")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable()
    for name, run in (("workers", kill_workers), ("io", kill_io)):
        if count := getattr(arguments, name):
            print(f"{name}: {run(count, arguments.seed)}", flush=True)
