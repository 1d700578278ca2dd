"""A log that goes to standard error, whether or not that takes anything. Of what a pool passes on
see `test_worker_voice`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

import pytest

from app_kit import Call, standard_error
from ringroom.processes.standard_error import Lines


@contextlib.contextmanager
def pipe_as_standard_error() -> Iterator[int]:
    """The reading end."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        with standard_error(writing):
            yield reading
    finally:
        os.close(reading)


def fill(fd: int) -> None:
    os.set_blocking(fd, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(fd, b"x" * 4_096)
    os.set_blocking(fd, True)


def empty(fd: int) -> str:
    heard = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            heard += os.read(fd, 65_536)
    return heard.decode()


@pytest.fixture
def log() -> logging.Logger:
    log = logging.Logger("a log")
    lines = Lines()
    lines.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    log.addHandler(lines)
    return log


def test_a_line_is_there_at_once(log: logging.Logger) -> None:
    with pipe_as_standard_error() as reading:
        log.warning("%d frames \udc80", 3)
        assert empty(reading) == "WARNING 3 frames \\udc80\n"


def test_nobody_waits_for_a_pipe_that_is_full_and_is_told_what_was_left_out(
    log: logging.Logger,
) -> None:
    with pipe_as_standard_error() as reading:
        fill(2)
        for number in range(3):
            Call(log.warning, "line %d", number).result()
        assert set(empty(reading)) == {"x"}
        log.warning("line 3")
        log.warning("line 4")
        told = "3 lines were left out: nobody took them\nWARNING line 3\nWARNING line 4\n"
        assert empty(reading) == told


def test_a_line_that_cannot_be_made_is_told_too(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with pipe_as_standard_error() as reading:
        log.warning("%d frames", "no number")
        text = empty(reading)
    assert text.startswith("a log: a line without its values (TypeError(")
    assert text.endswith("'%d frames'\n")
