"""A short run of the kit that kills at random; `python tests/chaos_kit.py` is the long one."""

from __future__ import annotations

import chaos_kit


def test_workers_that_are_killed_at_random() -> None:
    report = chaos_kit.kill_workers(3, seed=1)
    assert len(report.recoveries) == 3


def test_io_processes_that_are_killed_at_random() -> None:
    report = chaos_kit.kill_io(2, seed=1)
    assert len(report.recoveries) == 2
