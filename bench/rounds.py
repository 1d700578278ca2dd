"""Every case in every round, one after the other, so that all see the same machine.

What is noisy is measured again, up to a number of times, and is marked if it stays so.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from bench.machine import Conditions, Watch

Figures = dict[str, float]
Case = TypeVar("Case")


@dataclass(frozen=True, kw_only=True)
class Run(Generic[Case]):
    """One case, measured once."""

    case: Case
    round: int
    figures: Figures
    conditions: Conditions


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The medians of a case over its rounds."""

    figures: Figures
    rounds: int
    noisy: bool
    """No round was quiet: the figures are of noisy ones."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often to measure."""

    rounds: int = 3
    again: int = 2
    """How often a noisy run is repeated at most."""


def measure(
    cases: Sequence[Case],
    run: Callable[[Case], Figures],
    plan: Plan,
    *,
    also: Callable[[], Collection[int]] = tuple,
) -> list[Run[Case]]:
    """All rounds of all cases; ``also`` names processes that belong to the runs and are no
    descendants of this one."""
    runs = []
    for number in range(plan.rounds):
        for case in cases:
            best = _quietest(case, number, run, plan, also)
            runs.append(best)
            _tell(best, plan.rounds)
    return runs


def _quietest(
    case: Case,
    number: int,
    run: Callable[[Case], Figures],
    plan: Plan,
    also: Callable[[], Collection[int]],
) -> Run[Case]:
    best: Run[Case] | None = None
    for _ in range(1 + plan.again):
        with Watch(also()) as watch:
            figures = run(case)
        this = Run(case=case, round=number, figures=figures, conditions=watch.conditions)
        if best is None or this.conditions.badness < best.conditions.badness:
            best = this
        if not best.conditions.noisy:
            break
    assert best is not None
    return best


def _tell(run: Run[Case], rounds: int) -> None:
    noise = " noisy" if run.conditions.noisy else ""
    figures = " ".join(f"{name}={value:.4g}" for name, value in run.figures.items())
    sys.stderr.write(f"{run.round + 1}/{rounds} {run.case}: {figures}{noise}\n")


def outcomes(runs: Sequence[Run[Case]]) -> dict[Case, Outcome]:
    """Medians over the quiet rounds of each case, or over all where none was quiet."""
    found = {}
    for case in dict.fromkeys(run.case for run in runs):
        all_of_it = [run for run in runs if run.case == case]
        quiet = [run for run in all_of_it if not run.conditions.noisy]
        counted = quiet or all_of_it
        names = dict.fromkeys(name for run in counted for name in run.figures)
        medians = {
            name: statistics.median(run.figures[name] for run in counted if name in run.figures)
            for name in names
        }
        found[case] = Outcome(figures=medians, rounds=len(counted), noisy=not quiet)
    return found
