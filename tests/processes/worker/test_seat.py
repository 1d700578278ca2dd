"""What a worker has in its place."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import selectors
from collections.abc import Callable, Iterator
from typing import Any

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

START = m.Start(place=0, rows_first=0, rows_count=20)


def none_left(*_: object, **__: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@contextlib.contextmanager
def given() -> Iterator[Callable[[], tuple[Problems, tuple[int, int]]]]:
    """What a worker is given for a place, each time anew."""
    with contextlib.ExitStack() as ends:
        ours, theirs = (ends.enter_context(end) for end in open_links())
        table = ends.enter_context(contextlib.closing(StatisticsTable.create()))
        yield lambda: (
            Problems(ours, lambda: 0),
            (os.dup(theirs.fileno()), os.dup(table.fd)),
        )


@pytest.mark.parametrize(
    ("owner", "name", "what"),
    [(selectors, "DefaultSelector", "nothing to receive with"), (mmap, "mmap", "cannot be mapped")],
)
def test_a_seat_that_cannot_be_had_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, what: str
) -> None:
    with given() as give:
        before = descriptors()
        problems, fds = give()
        monkeypatch.setattr(owner, name, none_left)
        with pytest.raises(StartupError, match=what):
            Seat(START, fds, SessionOptions(), MACHINE, problems)
        assert descriptors() == before


def test_a_seat_that_cannot_be_had_anew_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with given() as give:
        problems, fds = give()
        with contextlib.closing(Seat(START, fds, SessionOptions(), MACHINE, problems)) as seat:
            before = descriptors()
            _, fds = give()
            with monkeypatch.context() as patch:
                patch.setattr(mmap, "mmap", none_left)
                with pytest.raises(StartupError, match="cannot be mapped"):
                    seat.restart(START, fds)
            assert descriptors() == before
