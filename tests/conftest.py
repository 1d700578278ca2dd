"""Every test must leave the process as it found it: no child, descriptor or thread more.

What goes away by itself within a short grace (a thread that is just ending, a child that is being
reaped) is not a leak. A test that cannot help it says ``@pytest.mark.leaks("why")``.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]

# Seconds; a loaded machine takes its time to end a process.
GRACE = float(os.environ.get("RINGROOM_LEAK_GRACE", "2"))

# How fast an example is drawn or run says something about the machine, and not about ringroom.
settings.register_profile(
    "ringroom", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ringroom"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "leaks(reason): leaves something behind on purpose")


@pytest.fixture(autouse=True)
def leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    # It is set up before a test's other fixtures, so it looks after they are torn down.
    before = _belongings()
    yield
    if request.node.get_closest_marker("leaks"):
        return
    deadline = time.monotonic() + GRACE
    while leaked := _belongings() - before:
        if time.monotonic() > deadline:
            pytest.fail("left behind: " + ", ".join(sorted(leaked)), pytrace=False)
        gc.collect()
        time.sleep(0.01)


def _belongings() -> set[str]:
    """Children, descriptors and threads of this process, in words that tell them apart."""
    return _children() | _descriptors() | _threads()


def _children() -> set[str]:
    # Asked of the kernel by parent: a look at every process of the machine costs more than a test.
    pids = set(_started_by(threading.main_thread().native_id))
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            pids |= set(_started_by(thread))
    found = set()
    for pid in pids - _tracker("_pid"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.add(f"child {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})")
    return found


def _started_by(thread: object) -> Iterator[int]:
    return map(int, Path(f"/proc/self/task/{thread}/children").read_text().split())


def _descriptors() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        if int(number) in _tracker("_fd"):
            continue
        try:
            found.add(f"descriptor {number} ({os.readlink(f'/proc/self/fd/{number}')})")
        except OSError:
            continue  # the one that listed the folder
    return found


def _threads() -> set[str]:
    return {f"thread {thread.name} ({thread.ident})" for thread in threading.enumerate()}


def _tracker(field: str) -> set[int]:
    """The resource tracker's pid or descriptor: started once, and kept, by each of the packages."""
    names = ("multiprocess.resource_tracker", "multiprocessing.resource_tracker")
    trackers = (getattr(sys.modules.get(name), "_resource_tracker", None) for name in names)
    return {value for t in trackers if (value := getattr(t, field, None)) is not None}
