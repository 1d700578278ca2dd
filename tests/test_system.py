"""What is asked of the operating system, and its refusals in words."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys

import pytest

from ringroom import system
from ringroom.errors import StartupError


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_a_refusal_for_want_of_descriptors_names_the_cure(code: int) -> None:
    assert "ulimit -n" in system.why(OSError(code, os.strerror(code)))


def test_any_other_refusal_is_in_the_systems_words() -> None:
    assert system.why(OSError(errno.ENOMEM, "?")) == os.strerror(errno.ENOMEM)
    assert system.why(OSError("no number")) == "no number"


def test_a_watch_that_is_refused_names_the_limit_and_not_the_disk() -> None:
    error = system.unwatched(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert "fs.epoll.max_user_watches" in str(error)
    assert "disk" not in str(error)
    assert os.strerror(errno.ENOMEM) in str(system.unwatched(OSError(errno.ENOMEM, "")))


def test_where_nothing_of_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    system.require_platform()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(StartupError, match="Linux or macOS"):
        system.require_platform()


def test_the_limit_on_descriptors_is_lifted() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        system.raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 65_536)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("soft", [system.ENOUGH_DESCRIPTORS + 1, resource.RLIM_INFINITY])
def test_a_higher_limit_on_descriptors_stays(soft: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: list[object] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: lowered.append(limits))
    system.raise_descriptor_limit()
    assert lowered == []


def test_without_a_hard_limit_enough_descriptors_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    system.raise_descriptor_limit()
    assert asked == [(system.ENOUGH_DESCRIPTORS, resource.RLIM_INFINITY)]


def test_closed_standard_descriptors_are_held() -> None:
    code = """
import os
from ringroom.system import hold_standard_descriptors
for fd in (0, 2):
    os.close(fd)
hold_standard_descriptors()
hold_standard_descriptors()
assert all(os.get_inheritable(fd) for fd in range(3))
assert os.open(os.devnull, os.O_RDONLY) == 3, "no other is left open"
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0


class Told(Exception):
    """What the signal raises."""


def test_a_second_sigterm_changes_nothing() -> None:
    """What stops a program may send one to it, and another to its group."""
    before = signal.getsignal(signal.SIGTERM)
    with system.sigterm_raises(Told):
        with pytest.raises(Told):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_status_of_a_process_whatever_its_name() -> None:
    with open("/proc/self/comm") as file:
        name = file.read()
    try:
        with open("/proc/self/comm", "w") as file:
            file.write("a) Z (b")
        state, parent, *_ = system.process_status(os.getpid())
    finally:
        with open("/proc/self/comm", "w") as file:
            file.write(name)
    assert (state, int(parent)) == ("R", os.getppid())
    assert system.process_status(2**22 + 1) == []
