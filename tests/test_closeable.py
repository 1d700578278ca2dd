"""What is collected open closes itself, and says so."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import warnings

import pytest

from ringroom.closeable import Closeable, join_unless_within


class Thing(Closeable):
    closed = 0

    def __init__(self, *, broken: bool = False) -> None:
        if broken:
            raise ValueError("broken")
        self.open = True

    def close(self) -> None:
        type(self).closed += self.open
        self.open = False

    def _left_open(self) -> str:
        return "thing" if getattr(self, "open", False) else ""


@pytest.fixture(autouse=True)
def nothing_closed() -> None:
    Thing.closed = 0


def test_what_is_collected_open_is_closed_and_told_of() -> None:
    with pytest.warns(ResourceWarning, match="^thing never closed$") as told:
        Thing()
    assert Thing.closed == 1
    assert told[0].filename == __file__, "it points to where it was forgotten"


def test_the_end_of_a_block_closes_it() -> None:
    with Thing() as thing:
        assert thing.open
    assert not thing.open


def test_what_is_closed_or_was_never_made_goes_silently() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Thing().close()
        with pytest.raises(ValueError, match="broken"):
            Thing(broken=True)
        gc.collect()
    assert Thing.closed == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_where_warnings_are_errors_it_is_closed_all_the_same() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        Thing()
    assert Thing.closed == 1


def test_at_the_interpreters_end_it_touches_nothing() -> None:
    code = """
import sys
from ringroom.closeable import Closeable, join_unless_within
class Late(Closeable):
    def close(self): print("closed")
    def _left_open(self): print("asked"); return "late"
sys.late = Late()
sys.late.itself = sys.late
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_nobody_waits_for_the_end_of_the_thread_that_it_is_on() -> None:
    join_unless_within(threading.current_thread(), 60.0)
    go_on = threading.Event()
    other = threading.Thread(target=go_on.wait)
    other.start()
    join_unless_within(other, 0.0)
    assert other.is_alive()
    go_on.set()
    join_unless_within(other, 60.0)
    assert not other.is_alive()
