"""Results: a table to read, JSON to keep, and the options that all benchmarks share."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rich.console import Console
from rich.table import Table

from bench.environments import ROOT
from bench.machine import description
from bench.rounds import Figures, Plan, Run, outcomes

RESULTS = Path(__file__).parent / "results"
FIGURES = ROOT / "docs" / "figures"
NOISY = "~"
WIDE = 150  # of a table that goes to a file


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks of every benchmark."""

    smallest: bool = False
    """Only that all of it works: one tiny case of each kind, nothing installed or drawn."""
    plan: Plan = field(default_factory=Plan)
    peers: bool = True
    results: Path = RESULTS
    figures: Path = FIGURES


def options(what: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=what.split("\n", 1)[0])
    parser.add_argument("--smallest", action="store_true", help="only see that it works")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are taken")
    parser.add_argument("--again", type=int, default=2, help="repetitions of a noisy run")
    parser.add_argument("--no-peers", action="store_true", help="nothing is installed for it")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--figures", type=Path, default=FIGURES)
    return parser


def asked(given: argparse.Namespace) -> Asked:
    smallest = bool(given.smallest)
    return Asked(
        smallest=smallest,
        plan=Plan(rounds=1, again=0) if smallest else Plan(rounds=given.rounds, again=given.again),
        peers=not (given.no_peers or smallest),
        results=given.results,
        figures=given.figures,
    )


def keep(
    name: str, runs: Sequence[Run[Any]], asked: Asked, *, missing: Mapping[str, str] | None = None
) -> Path:
    """Write all runs, their conditions and medians to ``results/<name>.json``."""
    content = {
        "benchmark": name,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": description(),
        "versions": {package: _version(package) for package in ("ringroom", "livekit", "numpy")},
        "missing": dict(missing or {}),
        "medians": [
            {**_plain(case), "figures": o.figures, "rounds": o.rounds, "noisy": o.noisy}
            for case, o in outcomes(runs).items()
        ],
        "runs": [
            {
                **_plain(run.case),
                "round": run.round,
                "figures": run.figures,
                "conditions": {**asdict(run.conditions), "noisy": run.conditions.noisy},
            }
            for run in runs
        ],
    }
    asked.results.mkdir(parents=True, exist_ok=True)
    path = asked.results / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def _plain(case: object) -> dict[str, Any]:
    assert is_dataclass(case)
    assert not isinstance(case, type)
    return asdict(case)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def show(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    missing: Mapping[str, str] | None = None,
) -> None:
    """A table; the first column is text, the others are numbers."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(table)
    for name, reason in (missing or {}).items():
        console.print(f"{name}: not to be had here ({reason})", markup=False)
    if any(cell.startswith(NOISY) for row in rows for cell in row):
        console.print(f"{NOISY} measured while others used the machine")


def number(value: float | None, noisy: bool = False, digits: int = 3) -> str:
    """A figure in a cell, to so many digits; marked when it is of noisy rounds."""
    if value is None:
        return ""
    whole = len(str(int(abs(value))))
    text = f"{value:,.{max(0, digits - whole)}f}"
    return NOISY + text if noisy else text


def spread(name: str, values: ArrayLike, factor: float = 1.0) -> Figures:
    """Median, 99th percentile and maximum as ``<name>_p50`` and so on; empty for no values."""
    sample = np.asarray(values, np.float64) * factor
    if not sample.size:
        return {}
    p50, p99 = np.percentile(sample, (50, 99))
    return {
        f"{name}_p50": float(p50),
        f"{name}_p99": float(p99),
        f"{name}_max": float(sample.max()),
    }
