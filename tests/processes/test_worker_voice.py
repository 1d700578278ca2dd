"""What a child says beside its link, with both ends in one process or a child of `subprocess`."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from app_kit import Call, descriptors, standard_error
from ringroom.errors import StartupError
from ringroom.processes.spawned import REAPED_ELSEWHERE
from ringroom.processes.worker_voice import TAIL_BYTES, Voice, describe_exit, is_stopped
from ringroom.testing import faults

CHILD = """
import os, sys, time
from ringroom.processes.spawned import REAPED_ELSEWHERE
from ringroom.processes.worker_voice import speak

speak(int(sys.argv[1]), int(sys.argv[2]))
sys.stderr.write("begun\\n")
sys.stderr.flush()

def napping():
    time.sleep(60)

{rest}
"""


def child(voice: Voice, rest: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD.format(rest=rest), *map(str, voice.theirs)]
    process = subprocess.Popen(command, pass_fds=voice.theirs)
    voice.handed_over()
    return process


def test_standard_error_is_passed_on_and_its_end_kept(capfd: Any) -> None:
    voice = Voice()
    os.write(voice.theirs[0], b"x" * 2 * TAIL_BYTES + b"\nlast words\n")
    voice.hear()
    assert len(voice.tail) < TAIL_BYTES
    assert voice.tail.endswith("x\nlast words")
    assert capfd.readouterr().err.endswith("last words\n")
    voice.handed_over()
    voice.hear()
    assert voice.ours == [-1, -1]
    voice.close()
    voice.close()


def test_who_never_stops_talking_is_not_heard_for_ever(
    monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    voice = Voice()
    reads: list[int] = []

    def read(fd: int, count: int) -> bytes:
        reads.append(fd)
        assert len(reads) < 1_000, "it reads for ever"
        return b"x" * count

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", read)
        voice.hear()
    assert voice.tail == "x" * TAIL_BYTES
    voice.close()


@pytest.fixture(params=["opened", "known by no name"])
def named(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(fd: int) -> str:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    if request.param != "opened":
        monkeypatch.setattr(os, "ttyname", nameless)


@contextlib.contextmanager
def terminal() -> Iterator[int]:
    """The end at which the user sits; the other is our standard error."""
    ours, theirs = os.openpty()
    try:
        with standard_error(theirs):
            yield ours
    finally:
        os.close(ours)


@pytest.mark.usefixtures("named")
def test_a_terminal_gets_what_is_said() -> None:
    with terminal() as screen, closing(Voice()) as voice:
        opened = descriptors()
        os.write(voice.theirs[0], b"last words\n")
        voice.hear()
        shown = b""
        while not shown.endswith(b"\n"):  # it comes in pieces
            shown += os.read(screen, 100)
        assert shown == b"last words\r\n"
        assert descriptors() == opened


@pytest.mark.usefixtures("named")
def test_nobody_waits_for_a_terminal_that_stands_still() -> None:
    """Ctrl-S, say, or a connection that hangs."""
    with terminal() as screen, closing(Voice()) as voice:
        for _ in range(5):  # each is more than a terminal keeps
            os.write(voice.theirs[0], b"a warning\n" * 6_000)
            Call(voice.hear).result()
        assert voice.tail.endswith("a warning")
        assert os.read(screen, 10)


def test_the_stack_of_a_child() -> None:
    voice = Voice()
    process = child(voice, "napping()")
    try:
        while "begun" not in voice.tail:
            voice.hear()
        stack = ""
        while "in napping" not in stack:
            stack = voice.stack(process.pid)
        assert not is_stopped(process.pid)
        with faults.frozen(process.pid):
            assert is_stopped(process.pid)
            assert voice.stack(process.pid) == ""
    finally:
        process.kill()
        process.wait()
    assert voice.stack(process.pid) == ""
    voice.close()


def test_who_has_just_died_has_no_stack() -> None:
    voice = Voice()
    process = child(voice, "napping()")
    try:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped
        assert voice.stack(process.pid) == ""
    finally:
        process.kill()
        process.wait()
        voice.close()


def test_a_crash_leaves_its_stack() -> None:
    voice = Voice()
    process = child(voice, "import ctypes; ctypes.string_at(0)")
    assert process.wait() == -signal.SIGSEGV
    voice.hear()
    assert "Fatal Python error: Segmentation fault" in voice.tail
    voice.close()


def test_without_descriptors_it_says_so() -> None:
    with faults.descriptors_exhausted(), pytest.raises(StartupError, match="no descriptors left"):
        Voice()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (None, "closed its link and did not end"),
        (0, "exited with code 0"),
        (REAPED_ELSEWHERE, "was reaped by the application, which alone was told how it ended"),
        (-11, "was killed by signal 11 (SIGSEGV)"),
        (-40, "was killed by signal 40 (real-time)"),
    ],
)
def test_an_exit_in_words(code: int | None, says: str) -> None:
    assert describe_exit(code) == says


def test_no_such_process_is_not_stopped() -> None:
    assert not is_stopped(2**22 + 1)
