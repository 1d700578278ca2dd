"""The command line's live view, and the CPU that it tells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

import cli_kit
from cli_kit import lane
from ringroom.cli.view import Processes, View, _cells
from ringroom.faces.connection import Statistics
from ringroom.lanes.statistics import LaneCounts

no_environment = cli_kit.no_environment


def test_the_view_of_a_terminal_and_of_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = LaneCounts(sent=12, taken=11, done=10, waited_ns=22_000_000, oldest_ns=5_000_000)
    statistics = Statistics(lanes=(lane("in", counts), lane("out", counts, participant="")))
    now = [100.0]
    monkeypatch.setattr("ringroom.cli.view.time", SimpleNamespace(monotonic=lambda: now[0]))
    processes = Processes(dict)

    def show(console: Console) -> None:
        with View("title", lambda: statistics, processes, console) as view:
            view.tick()
            now[0] += 3.0
            view.tick()

    show(Console(force_terminal=False))
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert "in 12  processed 10  dropped 0  lost 0  oldest 5 ms  out 12  cpu app" in line
    show(Console(force_terminal=True, width=120))
    table = capsys.readouterr().out
    for part in ("title", "ann/mic", "worker 0", "2.0", "5.0", "CPU"):
        assert part in table


@pytest.mark.parametrize(("place", "words"), [(-1, "app"), (1, "worker 1")])
def test_the_table_names_a_reader_where_there_is_one(place: int, words: str) -> None:
    shown = replace(lane("in", LaneCounts(sent=7)), place=place)
    assert _cells(shown)[3] == words


def test_the_cpu_of_children_is_told_by_name() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        processes = Processes(lambda: {child.pid: "burner"})
        processes.usage()
        wait_until(lambda: dict(processes.usage()).get("burner", 0.0) > 0.05)
        unnamed = Processes(dict)
        unnamed.usage()
        assert set(dict(unnamed.usage())) == {"app"}, "a spare, say, is nobody's business"
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()


def test_a_number_that_is_a_strangers_by_now_is_not_shown() -> None:
    processes = Processes(lambda: {1: "worker 0"})
    processes.usage()
    assert set(dict(processes.usage())) == {"app"}


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(200):
        if condition():
            return
        pause.wait(0.1)
    raise AssertionError("it did not happen")
