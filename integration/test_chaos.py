"""A short chaos run on the real server; the command with `--livekit` is the long one."""

from __future__ import annotations

from ringroom.testing.chaos import Plan, plan, run
from ringroom.testing.server import LiveKitServer


def test_processes_that_die_and_somebody_who_vanishes(livekit_server: LiveKitServer) -> None:
    story = (
        plan.Kill(after=0.1, targets=("worker 0",)),
        plan.Leave(after=0.1, person=0, seconds=0.5, vanish=True),
        plan.Leave(after=0.1, person=1, seconds=0.5, vanish=False),
        plan.Flood(after=0.1, person=1, count=200),
        plan.Kill(after=0.1, targets=("io",)),
    )
    report = run(Plan(tracks=2, standby=False), story, livekit=livekit_server)
    assert report.ok, report
    assert sorted(report.kills.values()) == [1, 1]
    assert report.answers >= 2
