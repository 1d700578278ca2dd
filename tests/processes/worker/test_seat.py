"""What a worker has in its place."""

from __future__ import annotations

import errno
import os
import selectors

import pytest

from app_kit import descriptors
from ringroom import messages as m
from ringroom.errors import StartupError
from ringroom.lanes.statistics import StatisticsTable
from ringroom.link import open_links
from ringroom.options import SessionOptions
from ringroom.processes.machine import MACHINE
from ringroom.processes.worker.problems import Problems
from ringroom.processes.worker.seat import Seat


def test_a_seat_that_cannot_be_had_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    ours, theirs = open_links()
    table = StatisticsTable.create()
    before = descriptors()
    given = (os.dup(theirs.fileno()), os.dup(table.fd))
    start = m.Start(place=0, rows_first=0, rows_count=20)
    monkeypatch.setattr(selectors, "DefaultSelector", none_left)
    with pytest.raises(StartupError, match="nothing to receive with"):
        Seat(start, given, SessionOptions(), MACHINE, Problems(ours, lambda: 0))
    assert descriptors() == before
    for end in (ours, theirs, table):
        end.close()
