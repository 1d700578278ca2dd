"""Every test must leave the process as it found it: the plugin's own ``no_leaks``, for all of them.

It is set up before a test's other fixtures, so it looks after they are torn down.
"""

from __future__ import annotations

import signal

import hypothesis
import pytest

# How long an example takes is the machine's business.
hypothesis.settings.register_profile("ringroom", deadline=None)
hypothesis.settings.load_profile("ringroom")

pytest_plugins = ["pytester"]


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what runs in the background deaf to Ctrl-C, and children would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def leaves_nothing_behind(no_leaks: None) -> None:
    pass
