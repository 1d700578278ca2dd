"""The benchmarks run: their smallest cases, whose figures nobody looks at."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from bench import charts, machine, report
from bench.environments import Environment, Unavailable
from bench.machine import Conditions
from bench.rounds import Figures, Plan, Run, measure, outcomes

ROOT = Path(__file__).parent.parent.parent
QUIET = Conditions(seconds=1.0, stolen=0.0, others=0.0, load=0.1)
STOLEN = Conditions(seconds=1.0, stolen=0.1, others=0.0, load=0.1)
CROWDED = Conditions(seconds=1.0, stolen=0.0, others=0.5, load=3.0)


@dataclass(frozen=True)
class Case:
    name: str


def run_of(name: str, value: float, conditions: Conditions, number: int = 0) -> Run[Case]:
    return Run(case=Case(name), round=number, figures={"x": value}, conditions=conditions)


@pytest.mark.timeout(240)  # nine processes, one after the other
@pytest.mark.once
def test_the_smallest_case_of_each_benchmark_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--smallest", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(found) == {"rings", "hop", "growth", "isolation"}
    for name, content in found.items():
        assert content["medians"], name
        assert all(run["figures"] for run in content["runs"]), name
        assert all("stolen" in run["conditions"] for run in content["runs"]), name
    ways = {run["way"] for run in found["rings"]["runs"]}
    assert {"ringroom lane", "multiprocessing Queue", "memcpy"} <= ways
    assert found["isolation"]["medians"][0]["figures"]["processed"] > 0
    assert not list(tmp_path.glob("*.svg"))


def test_medians_are_of_the_quiet_rounds() -> None:
    runs = [
        run_of("a", 1.0, QUIET),
        run_of("a", 3.0, QUIET, 1),
        run_of("a", 99.0, STOLEN, 2),
        run_of("b", 5.0, CROWDED),
    ]
    found = outcomes(runs)
    assert (found[Case("a")].figures, found[Case("a")].noisy) == ({"x": 2.0}, False)
    assert found[Case("a")].rounds == 2
    assert (found[Case("b")].figures, found[Case("b")].noisy) == ({"x": 5.0}, True)


def test_rounds_are_interleaved_and_a_noisy_run_is_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conditions = iter([CROWDED, QUIET, QUIET, STOLEN, STOLEN, STOLEN, QUIET])
    asked: list[str] = []

    class Watch:
        def __init__(self, also: object) -> None:
            self.conditions = next(conditions)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *exc_info: object) -> None:
            pass

    def run(case: Case) -> Figures:
        asked.append(case.name)
        return {"x": float(len(asked))}

    monkeypatch.setattr("bench.rounds.Watch", Watch)
    runs = measure([Case("a"), Case("b")], run, Plan(rounds=2, again=2))
    assert asked == ["a", "a", "b", "a", "a", "a", "b"]
    assert [(r.case.name, r.round) for r in runs] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert [r.conditions.noisy for r in runs] == [False, False, True, False]
    assert runs[0].figures == {"x": 2.0}


def test_a_child_that_computes_is_ours_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    living: list[int] = []
    elsewhere = 0.0

    def machine_seconds() -> tuple[float, float]:
        """What we have used, and our child, and somebody else."""
        usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        ours = sum(one.ru_utime + one.ru_stime for one in usages)
        return ours + sum(map(machine.process_seconds, living)) + elsewhere, 0.0

    monkeypatch.setattr(machine, "_machine_seconds", machine_seconds)
    code = "import time\nwhile time.process_time() < 0.3: pass\ninput()"
    with machine.Watch() as to_its_end:
        with machine.Watch() as watch:
            child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
            living.append(child.pid)
            while machine.process_seconds(child.pid) < 0.3:
                pass
            assert machine.tree_seconds([child.pid]) >= 0.25
            elsewhere = 1.0
        living.clear()
        child.communicate(b"\n")
    before_and_after = machine.tree_seconds([child.pid])
    assert before_and_after == 0.0, "it has ended"
    for conditions in (watch.conditions, to_its_end.conditions):
        # To ticks of the clock: for us, and for the child.
        assert conditions.others * conditions.seconds == pytest.approx(1.0, abs=0.1)


def test_what_the_orphans_of_a_run_computed_is_its_own() -> None:
    """In a process of its own: who adopts orphans does so for good."""
    script = """
        import os, subprocess, sys, time
        from bench.machine import adopt_orphans, reap_group, tree_seconds
        adopt_orphans()
        before = tree_seconds([os.getpid()])
        burn = "while time.thread_time() < 0.4: pass"
        run = "import os, time" + chr(10) + "if os.fork() == 0:" + chr(10) + "    " + burn
        with subprocess.Popen([sys.executable, "-c", run], start_new_session=True) as leader:
            leader.wait()
        reap_group(leader.pid)
        print(tree_seconds([os.getpid()]) - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) >= 0.35


def test_what_does_not_install_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.environments.PEERS", tmp_path)
    monkeypatch.setattr("bench.environments.sys.executable", "/nowhere/python")
    with pytest.raises(Unavailable, match="/nowhere/python"):
        Environment("peer", ("peer",)).ensure()


def test_charts_are_pictures(tmp_path: Path) -> None:
    charts.bars(tmp_path / "bars.svg", "a < b", {"g": {"x": 1.0, "y": None}}, unit="/s")
    charts.lines(tmp_path / "lines.svg", "l", {"s": [(1.0, 2.0), (3.0, 1.0)]}, axes=("n", "us"))
    charts.histograms(tmp_path / "histograms.svg", "h", {"s": [1.0, 20.0, 300.0]}, unit="us")
    for path in tmp_path.glob("*.svg"):
        ET.parse(path)
    assert "not measured" in (tmp_path / "bars.svg").read_text()


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.1234, "0.12"), (12.34, "12.3"), (123_456.7, "123,457")]
)
def test_figures_in_cells(value: float | None, text: str) -> None:
    assert report.number(value) == text
    assert report.number(value, noisy=True) == (text and "~" + text)
