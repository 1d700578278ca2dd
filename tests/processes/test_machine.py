"""The real machine: what waits, and who starts what."""

from __future__ import annotations

import contextlib
import gc
import selectors
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import ringroom
from app_kit import PATIENCE, microphone, say
from ringroom.errors import StartupError
from ringroom.frames import DataFrame
from ringroom.lanes.memory import open_counter
from ringroom.processes.machine import MACHINE
from ringroom.processor import Processor
from ringroom.testing import FakeRoom


def test_its_time_is_the_one_that_all_processes_share() -> None:
    before = time.monotonic_ns()
    between = MACHINE.now_ns()
    assert before <= between <= time.monotonic_ns()
    assert before / 1e9 <= MACHINE.now() <= time.monotonic()


def test_a_wait_tells_what_is_readable() -> None:
    with contextlib.closing(open_counter()) as one, contextlib.closing(open_counter()) as other:
        other.add(1)
        assert MACHINE.wait((one.fileno(), -1, other.fileno()), None) == [other.fileno()]
        other.take()
        assert MACHINE.wait((one.fileno(), other.fileno()), 0.001) == []
        assert MACHINE.wait((one.fileno(),), -1.0) == []


def test_a_selector_is_waited_on_in_the_same_way() -> None:
    with (
        selectors.DefaultSelector() as selector,
        contextlib.closing(open_counter()) as one,
        contextlib.closing(open_counter()) as other,
    ):
        for counter in (one, other):
            selector.register(counter.fileno(), selectors.EVENT_READ)
        other.add(1)
        assert [key.fd for key, _ in MACHINE.select(selector, None)] == [other.fileno()]
        other.take()
        assert MACHINE.select(selector, 0.001) == []
        assert MACHINE.select(selector, -1.0) == []


def test_a_thread_wakes_who_waits_on_a_condition() -> None:
    changed, names = MACHINE.condition(), []

    def run() -> None:
        with changed:
            names.append(threading.current_thread().name)
            changed.notify_all()

    thread = MACHINE.start_thread("other", run)
    with changed:
        assert changed.wait_for(lambda: names, 30) == ["other"]
    thread.join()


def test_no_thread_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(StartupError, match=r"no thread for other: can't start .* `ulimit -u`"):
        MACHINE.start_thread("other", list)


def test_a_coroutine_has_a_loop_of_its_own() -> None:
    async def answer() -> int:
        return 42

    assert MACHINE.run(answer()) == 42


A_ROLE = """
import gc
from ringroom.link import open_links
from ringroom.processes.io import serving

async def serve(control, machine, max_memory):
    print(gc.get_freeze_count() > 1_000, flush=True)
    control.close()

serving._serve_within = serve
_, theirs = open_links()
serving.run_process(theirs.fileno(), "json", 0)
"""


def test_what_an_io_process_has_made_is_out_of_the_collectors_way() -> None:
    command = [sys.executable, "-W", "ignore", "-c", A_ROLE]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"True\n"


class Frozen(Processor):
    """Says how much is out of the collector's way while it starts, and once it has."""

    def start(self, context: Any) -> None:
        self.before = gc.get_freeze_count()

    def process(self, frame: Any) -> DataFrame:
        return DataFrame(f"{self.before} {gc.get_freeze_count()}".encode())


def test_what_a_worker_has_made_is_too_and_nothing_of_the_application(fake_room: FakeRoom) -> None:
    before = gc.get_freeze_count()  # Python 3.12 begins with a few hundred
    mic = microphone(fake_room)
    options: dict[str, Any] = {"workers": 1, "io": "thread", "max_age": 20.0}
    with ringroom.Pool(Frozen, "fake", room=fake_room, **options):
        mic.wait_for_subscriber()
        say(mic, 0.02)
        (told,) = fake_room.wait_for_data(timeout=PATIENCE)
    first, then = map(int, told.payload.split())
    assert first < 1_000 < then
    assert gc.get_freeze_count() <= before


SETTLES_TWICE = """
import gc
from ringroom.processes.machine import ProcessMachine

machine = ProcessMachine()
machine.freeze_garbage()
before = gc.get_freeze_count()
later = [[] for _ in range(100)]
machine.freeze_garbage()
print(gc.get_freeze_count() - before)
"""


def test_what_comes_later_stays_in_the_collectors_sight() -> None:
    command = [sys.executable, "-c", SETTLES_TWICE]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"0\n"
