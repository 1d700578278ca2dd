"""The end of a child, which nothing but the process itself tells of reliably."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import multiprocess
import pytest
from spawned_kit import answers, at_once, survived_by_a_fork, with_nothing_open

from app_kit import PATIENCE, Call, children, descriptors
from ringroom.processes.spawned import REAPED_ELSEWHERE, Spawned
from ringroom.processes.spawning import Inherited, reap, spawn

LONG = 600.0


@pytest.fixture(params=["pidfd", "steps"], autouse=True)
def has_pidfds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "steps":
        monkeypatch.delattr(os, "pidfd_open")
    return bool(request.param == "pidfd")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Its reading end, and the writing one, which whoever uses it closes."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def test_who_has_closed_everything_and_lives_is_not_waited_for_without_limit(
    pipe: tuple[int, int], has_pidfds: bool
) -> None:
    opened = descriptors()
    reading, writing = pipe
    process = spawn("child", with_nothing_open, Inherited(writing))
    pid = process.pid
    assert (process.pidfd is not None) is has_pidfds
    os.close(writing)
    try:
        assert os.read(reading, 1) == b"", "it has closed them"
        Call(process.join, 0.05).result()
        assert process.exitcode is None
        Call(reap, process, 0.05).result()
    finally:
        if reaped := pid not in children():
            assert descriptors() == opened - 1
        else:
            os.kill(pid, signal.SIGKILL)
    assert reaped


def test_who_is_dead_is_not_waited_for_though_a_fork_of_it_lives(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    process = spawn("child", survived_by_a_fork, Inherited(writing))
    os.close(writing)
    fork = int.from_bytes(os.read(reading, 4), "big")
    try:
        Call(process.join, LONG).result()
        assert process.exitcode == 3
    finally:
        os.kill(fork, signal.SIGKILL)
        reap(process, PATIENCE)


def test_whom_the_application_has_reaped_is_over(pipe: tuple[int, int]) -> None:
    _, writing = pipe
    process = spawn("child", at_once, Inherited(writing))
    os.close(writing)
    assert os.waitpid(process.pid, 0)[1]
    Call(process.join, LONG).result()
    assert process.exitcode == REAPED_ELSEWHERE
    process.kill()
    assert process not in multiprocess.active_children()
    process.close()


def test_a_number_that_the_application_has_freed_is_not_killed(
    pipe: tuple[int, int], has_pidfds: bool
) -> None:
    """It may be that of another process: here it is given to one of ours."""
    reading, writing = pipe
    asked, asks = os.pipe()
    stranger = spawn("child", answers, Inherited(asked), Inherited(writing))
    process = spawn("child", at_once, Inherited(writing))
    for fd in (asked, writing):
        os.close(fd)
    assert os.read(reading, 1) == b"!"
    assert os.waitpid(process.pid, 0)[1]
    if has_pidfds:  # else it is found not to be a child
        process._popen.pid = stranger.pid
    process.kill()
    os.write(asks, b"?")
    os.close(asks)
    assert os.read(reading, 1) == b"?", "it lives"
    process._popen.returncode = REAPED_ELSEWHERE
    process.close()
    reap(stranger, PATIENCE)


def test_the_code_that_another_thread_is_about_to_note_is_not_lost(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = pipe
    process = spawn("child", at_once, Inherited(writing))
    os.close(writing)
    assert os.read(reading, 1) == b""
    wait, heard = os.waitpid, list[int | None]()

    def interrupted(pid: int, flags: int) -> tuple[int, int]:
        monkeypatch.setattr(os, "waitpid", wait)
        reaped = wait(pid, 0)
        heard.append(Call(lambda: process.exitcode).result())
        return reaped

    monkeypatch.setattr(os, "waitpid", interrupted)
    assert process.exitcode == 4
    assert heard == [None]
    process.close()


def test_it_is_closed_twice_and_then_has_no_descriptor(pipe: tuple[int, int]) -> None:
    _, writing = pipe
    process = spawn("child", at_once, Inherited(writing))
    os.close(writing)
    process.join()
    for _ in range(2):
        process.close()
        assert process.pidfd is None


def test_one_that_dies_before_it_has_read_is_not_told_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = descriptors()
    monkeypatch.setattr(sys, "argv", ["x" * 2_000_000])  # more than a pipe takes
    monkeypatch.setattr(multiprocess.spawn, "get_executable", lambda: b"/bin/false")
    process = Call(spawn, "child", at_once).result()
    process.join()
    assert process.exitcode == 1
    process.close()
    assert descriptors() == opened


def test_before_it_is_started_it_has_none() -> None:
    assert Spawned(target=at_once).pidfd is None
