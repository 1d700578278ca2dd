"""Random SIGKILLs under load, on a fake room with a real I/O process, and the law all the time.

By hand, for as long as one likes, with a report of how long recovery took:

    python tests/chaos_kit.py --workers 200 --seed 7
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable
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


def until(condition: Callable[[], Any], what: str, pause: float = 0.0005) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(pause)


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


def kill_workers(kills: int, seed: int, workers: int = 2, tracks: int = 4) -> Report:
    """Kills workers at random moments, each once a spare is warm and the last kill is overcome."""
    choice = random.Random(seed)
    report = Report()
    before = children(), descriptors(), threading.active_count()
    steal = _steal()
    options = {"workers": workers, "spares": 1, "restarts": kills + 1}
    with FakeRoom() as room, Pool(kit.Echo, "fake", room=room, **options) as pool:
        speakers = Speakers(room, tracks)
        for _ in range(kills):
            speakers.go_on()
            until(lambda: pool.spares, "a warm spare", 0.005)
            place = choice.randrange(workers)
            until(lambda place=place: pool._progress(place).count, "work", 0.005)
            time.sleep(choice.random() * 0.1)
            _kill(pool, place, report)
            check_law(pool)
        room.close_room()
        pool.wait(PATIENCE)
    check_law(pool)
    received = pool.stats().received
    assert received.in_flight == pool.stats().sent.in_flight == 0
    assert received.lost <= kills * (tracks + 1) + tracks * 110
    # One more: the resource tracker of `multiprocess`, started once and kept.
    until(lambda: len(children()) <= len(before[0]) + 1, "children to be gone", 0.01)
    until(lambda: threading.active_count() <= before[2], "threads to end", 0.01)
    until(lambda: descriptors() <= before[1] + 1, "descriptors to be closed", 0.01)
    report.lost, report.sent = received.lost, received.sent
    report.steal = _steal() - steal
    return report


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
    parser.add_argument("--workers", type=int, default=200, help="how many are killed")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable()
    print(kill_workers(arguments.workers, arguments.seed))
