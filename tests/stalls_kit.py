"""A pytest plugin that stalls threads of the test's process at random places, as a loaded machine
does: what a test takes for granted about time shows. `tox -e stalled`; Python 3.12 or newer.

A test that fails here and passes else either has such a defect, or has found one. ``--stall-seed``
repeats a run as far as threads can be repeated.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Generator
from types import CodeType

import pytest

SECONDS = (0.003, 0.01, 0.03)
# Of one test: what polls in a loop would take minutes.
MOST = 150
# At the beginning of a function, or at a line of a test.
PROBABILITY = 0.1
# Where else than in tests: what schedules for them.
PLACES = ("/ringroom/", "/asyncio/", "/threading.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("stalls")
    group.addoption("--stall", choices=("main", "others"), default="main", help="which threads")
    group.addoption("--stall-seed", type=int, default=random.randrange(1 << 32))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(sys, "monitoring"):
        raise pytest.UsageError("stalls_kit needs Python 3.12 or newer, for sys.monitoring")
    config.pluginmanager.register(Stalls(config.option.stall, config.option.stall_seed))


def pytest_report_header(config: pytest.Config) -> str:
    return f"--stall={config.option.stall} --stall-seed={config.option.stall_seed}"


class Stalls:
    def __init__(self, which: str, seed: int) -> None:
        self._main = which == "main"
        self._seed = seed
        self._random = random.Random()
        self._left = 0
        monitoring = sys.monitoring
        tool, events = monitoring.DEBUGGER_ID, monitoring.events
        monitoring.use_tool_id(tool, "stalls")
        monitoring.register_callback(tool, events.LINE, lambda code, line: self._perhaps())
        monitoring.register_callback(tool, events.PY_START, self._begins)
        monitoring.set_events(tool, events.PY_START)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        self._random.seed(f"{self._seed} {item.nodeid}")
        self._left = MOST
        try:
            return (yield)
        finally:
            self._left = 0

    def _begins(self, code: CodeType, offset: int) -> object:
        if not self._left:
            return None
        file = code.co_filename
        if "/tests/" in file and "/site-packages/" not in file:
            sys.monitoring.set_local_events(
                sys.monitoring.DEBUGGER_ID, code, sys.monitoring.events.LINE
            )
        elif not any(place in file for place in PLACES):
            return sys.monitoring.DISABLE
        self._perhaps()
        return None

    def _perhaps(self) -> None:
        # Not by `current_thread`: that would make threads of native ones.
        in_main = threading.get_ident() == threading.main_thread().ident
        if self._left and in_main == self._main and self._random.random() < PROBABILITY:
            self._left -= 1
            time.sleep(self._random.choice(SECONDS))
