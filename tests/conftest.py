"""Every test must leave the process as it found it: the plugin's own ``no_leaks``, for all of them.

It is set up before a test's other fixtures, so it looks after they are torn down.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator

# Before numpy: its threads for linear algebra would cost every process of the tests a tenth of a
# second, to begin.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]

# How fast an example is drawn or run says something about the machine, and not about ringroom.
settings.register_profile(
    "ringroom", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ringroom"))


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what runs in the background deaf to Ctrl-C, and children would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected lasts, and is most of the heap. The full garbage collections that many
    tests ask for would walk through all of it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def leaves_nothing_behind(no_leaks: None) -> None:
    pass


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores: many tests wait for something to be played."""
    return (os.cpu_count() or 1) + 2
