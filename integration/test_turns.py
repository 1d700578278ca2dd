"""`integration/turns.py`: who wants the machine alone has it alone, and gets it."""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path

import pytest

from integration.turns import turn

PATIENCE = 10.0


class Guest:
    """Takes a turn on a thread of its own, until it is sent home."""

    def __init__(self, folder: Path, *, alone: bool) -> None:
        self.inside, self._home = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._visit, args=(folder, alone))
        self._thread.start()

    def _visit(self, folder: Path, alone: bool) -> None:
        with turn(alone=alone, folder=folder):
            self.inside.set()
            assert self._home.wait(PATIENCE)

    def comes_in(self) -> bool:
        return self.inside.wait(PATIENCE)

    def waits(self) -> bool:
        return not self.inside.wait(0.05)

    def goes(self) -> None:
        self._home.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def shut_gate(folder: Path) -> None:
    """Waits until who wants to be alone has come to it."""
    (path,) = folder.glob("*.gate")
    ends = time.monotonic() + PATIENCE
    with path.open("ab") as gate:
        while time.monotonic() < ends:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            fcntl.flock(gate, fcntl.LOCK_UN)
            time.sleep(0.01)
    pytest.fail("nobody has shut it")


def test_many_go_beside_each_other(tmp_path: Path) -> None:
    guests = [Guest(tmp_path, alone=False) for _ in range(3)]
    assert all(guest.comes_in() for guest in guests)
    for guest in guests:
        guest.goes()


@pytest.mark.parametrize("second", [True, False], ids=["alone", "not alone"])
def test_who_is_alone_is_alone(tmp_path: Path, second: bool) -> None:
    first, other = Guest(tmp_path, alone=True), None
    assert first.comes_in()
    other = Guest(tmp_path, alone=second)
    assert other.waits()
    first.goes()
    assert other.comes_in()
    other.goes()


def test_who_wants_to_be_alone_is_not_overtaken(tmp_path: Path) -> None:
    first = Guest(tmp_path, alone=False)
    assert first.comes_in()
    alone = Guest(tmp_path, alone=True)
    assert alone.waits()
    shut_gate(tmp_path)
    late = Guest(tmp_path, alone=False)
    assert late.waits()
    first.goes()
    assert alone.comes_in()
    assert late.waits()
    alone.goes()
    assert late.comes_in()
    late.goes()
