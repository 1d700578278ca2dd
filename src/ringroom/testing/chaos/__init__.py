"""Chaos: a pool with real processes under random faults, laws that hold all the time, a report.

``python -m ringroom.testing.chaos`` is the command, `docs/chaos.md` the page about it.
"""

from ringroom.testing.chaos.deaths import Recovery
from ringroom.testing.chaos.gauges import Gauge, Holdings
from ringroom.testing.chaos.plan import Plan, happenings
from ringroom.testing.chaos.report import Report
from ringroom.testing.chaos.run import run

__all__ = ["Gauge", "Holdings", "Plan", "Recovery", "Report", "happenings", "run"]
