"""Segments and counters: what the operating system refuses, and that nothing is left behind."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import resource
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ringroom.errors import ClosedError, StartupError, WireError
from ringroom.lanes import memory
from ringroom.lanes.memory import (
    Counter,
    EventCounter,
    PipeCounter,
    Segment,
    attach_counter,
    open_counter,
)

SIZE = 2 * mmap.PAGESIZE


@pytest.fixture(params=[False, True], ids=["linux", "portable"])
def portable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def refusing(code: int) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> Any:
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that this test makes under a name; other tests make theirs at the same time."""
    made: list[Path] = []
    mkstemp = tempfile.mkstemp

    def noted(*arguments: Any, **options: Any) -> tuple[int, str]:
        fd, name = mkstemp(*arguments, **options)
        made.append(Path(name))
        return fd, name

    monkeypatch.setattr(tempfile, "mkstemp", noted)
    return made


def there(named: list[Path]) -> list[Path]:
    return [path for path in named if path.exists()]


def test_a_segment_is_shared_and_has_its_size(portable: bool) -> None:
    made = Segment.create(SIZE, portable=portable)
    with closing(made), closing(Segment.attach(os.dup(made.fd))) as attached:
        assert attached.size == SIZE
        one, other = made.map_shared(), attached.map_private()
        one[5:9] = b"ring"
        assert other[5:9] == b"ring"
        one[0:1] = b"!"
        assert other[0:1] == b"!", "a private page follows until it is written"
        other[6:7] = b"X"
        one[5:9] = b"gone"
        assert other[5:9] == b"rXng"
        assert one[5:9] == b"gone", "what the reader writes does not reach the file"


def test_a_segment_has_no_name(portable: bool, named: list[Path]) -> None:
    with closing(Segment.create(SIZE, portable=portable)) as segment:
        assert len(named) == portable
        assert not there(named)
        assert os.fstat(segment.fd).st_nlink == 0
        assert not os.get_inheritable(segment.fd)
        target = os.readlink(f"/proc/self/fd/{segment.fd}")
        assert target.endswith("(deleted)")
        assert target.startswith("/memfd:") is not portable


def test_a_memfd_is_sealed() -> None:
    """A peer that could shrink it would make us die of SIGBUS."""
    with closing(Segment.create(SIZE, portable=False)) as segment:
        seals = fcntl.fcntl(segment.fd, fcntl.F_GET_SEALS)
        assert seals == fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        for size in (0, 2 * SIZE):
            with pytest.raises(PermissionError):
                os.ftruncate(segment.fd, size)


def test_a_segment_may_be_made_of_bytes(portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if portable:
        monkeypatch.setattr(memory, "_memfd", memory._unlinked_file)
    data = bytes(range(250)) * 40
    with closing(Segment.holding(data)) as made, made.map_shared() as mapped:
        assert mapped[:] == data
    before = open_descriptors()
    monkeypatch.setattr(mmap, "mmap", refusing(errno.ENOMEM))
    with pytest.raises(StartupError, match="cannot be mapped"):
        Segment.holding(data)
    assert open_descriptors() == before


def test_all_pages_are_there_from_the_start(portable: bool) -> None:
    with closing(Segment.create(SIZE, portable=portable)) as segment:
        assert os.fstat(segment.fd).st_blocks * 512 >= SIZE


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOMEM])
def test_no_memory_is_a_startup_error(
    code: int, portable: bool, named: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_descriptors()
    monkeypatch.setattr(os, "posix_fallocate", refusing(code))
    with pytest.raises(StartupError, match=r"no shared memory of 8192 bytes.*--shm-size") as caught:
        Segment.create(SIZE, portable=portable)
    assert os.strerror(code) in str(caught.value)
    assert open_descriptors() == before
    assert len(named) == portable
    assert not there(named)


def test_systems_without_fallocate_truncate(
    portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    with closing(Segment.create(SIZE, portable=portable)) as segment:
        assert os.fstat(segment.fd).st_size == SIZE


@pytest.mark.parametrize("size", [0, -1])
def test_an_impossible_size_is_a_startup_error(size: int, portable: bool) -> None:
    before = open_descriptors()
    with pytest.raises(StartupError):
        Segment.create(size, portable=portable)
    assert open_descriptors() == before


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EACCES, errno.EINVAL])
def test_a_memfd_that_is_forbidden_gives_way_to_a_file(
    code: int, named: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """seccomp profiles refuse with EPERM, old kernels with ENOSYS."""
    monkeypatch.setattr(os, "memfd_create", refusing(code))
    with closing(Segment.create(SIZE, portable=False)) as segment:
        assert not os.readlink(f"/proc/self/fd/{segment.fd}").startswith("/memfd:")
        assert len(segment.map_shared()) == SIZE
    assert len(named) == 1
    assert not there(named)


def test_a_file_where_there_is_no_dev_shm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with closing(Segment.create(SIZE, portable=True)) as segment:
        assert os.readlink(f"/proc/self/fd/{segment.fd}").startswith(str(tmp_path))
        assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_unlinked_is_closed(
    named: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refusing(errno.EPERM))
        with pytest.raises(StartupError):
            Segment.create(SIZE, portable=True)
    assert open_descriptors() == before
    [path] = named
    path.unlink()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_no_descriptors_left_names_the_cure(
    code: int, portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("memfd_create", "eventfd", "pipe"):
        monkeypatch.setattr(os, name, refusing(code))
    monkeypatch.setattr("tempfile.mkstemp", refusing(code))
    with pytest.raises(StartupError, match=r"ulimit -n"):
        Segment.create(SIZE, portable=portable)
    with pytest.raises(StartupError, match=r"ulimit -n"):
        open_counter(portable=portable)


def test_really_no_descriptors_left(portable: bool) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.listdir("/dev/shm")
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    with closing(Segment.create(SIZE, portable=portable)) as segment:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
            with pytest.raises(StartupError, match=r"ulimit -n"):
                Segment.create(SIZE, portable=portable)
            with pytest.raises(StartupError, match=r"ulimit -n"):
                open_counter(portable=portable)
            with pytest.raises(StartupError, match=r"ulimit -n"):
                segment.map_shared()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert max(int(fd) for fd in os.listdir("/proc/self/fd")) <= highest + 1


def test_an_empty_file_is_no_segment() -> None:
    fd = os.memfd_create("empty")
    with pytest.raises(WireError, match="no bytes"):
        Segment.attach(fd)
    os.close(fd)


def test_a_closed_segment_is_poisoned(portable: bool) -> None:
    segment = Segment.create(SIZE, portable=portable)
    mapped = segment.map_shared()
    segment.close()
    segment.close()
    assert segment.fd == -1
    mapped[0:1] = b"x"  # mappings live on
    for use in (segment.map_shared, segment.map_private):
        with pytest.raises(ClosedError):
            use()


def test_a_closed_holder_does_not_close_its_successor(portable: bool) -> None:
    """A descriptor's number is reused at once."""
    first = Segment.create(SIZE, portable=portable)
    counter = open_counter(portable=portable)
    first.close()
    counter.close()
    second, other = Segment.create(SIZE, portable=portable), open_counter(portable=portable)
    with closing(second), closing(other):
        first.close()
        counter.close()
        assert len(second.map_shared()) == SIZE
        other.add(3)
        assert other.take() == 3


def test_what_is_collected_open_warns_and_closes(portable: bool) -> None:
    before = open_descriptors()
    segment = Segment.create(SIZE, portable=portable)
    with pytest.warns(ResourceWarning, match="segment of 8192 bytes never closed"):
        del segment
    counter = open_counter(portable=portable)
    with pytest.warns(ResourceWarning, match="Counter never closed"):
        del counter
    assert open_descriptors() == before


# Both counters under one contract.


@pytest.fixture(params=[EventCounter, PipeCounter])
def counter(request: pytest.FixtureRequest) -> Any:
    made: Counter = request.param()
    with closing(made):
        yield made


def readable(counter: Counter) -> bool:
    return bool(select.select([counter.fileno()], [], [], 0)[0])


def test_a_counter_adds_up(counter: Counter) -> None:
    assert counter.take() == 0
    assert not readable(counter)
    for amount in (1, 16, 1 << 40):
        counter.add(amount)
        assert readable(counter)
    assert counter.take() == 17 + (1 << 40)
    assert not readable(counter)
    assert counter.take() == 0


def test_a_counter_never_waits_and_never_forgets(counter: Counter) -> None:
    """Far more additions than a pipe has room for: it is compacted."""
    for _ in range(20_000):
        counter.add(3)
    total = 0
    while taken := counter.take():
        total += taken
    assert total == 60_000
    assert not readable(counter)


def test_a_full_pipe_is_compacted() -> None:
    with closing(PipeCounter()) as counter:
        fcntl.fcntl(counter.descriptors()[1], fcntl.F_SETPIPE_SZ, mmap.PAGESIZE)
        entries = mmap.PAGESIZE // 8
        for _ in range(entries + 1):
            counter.add(2)
        assert counter.take() == 2 * (entries + 1)


def test_a_counter_reaches_its_other_holder(counter: Counter) -> None:
    fds = tuple(os.dup(fd) for fd in counter.descriptors())
    with closing(attach_counter(fds)) as other:
        assert type(other) is type(counter)
        counter.add(5)
        assert readable(other)
        assert other.take() == 5
        other.add(7)
        assert counter.take() == 7


def test_a_count_outlives_its_adder(counter: Counter) -> None:
    adder = attach_counter(tuple(os.dup(fd) for fd in counter.descriptors()))
    adder.add(9)
    adder.close()
    assert counter.take() == 9
    assert counter.take() == 0
    assert not readable(counter)


def test_a_counter_is_not_inherited(counter: Counter) -> None:
    assert not any(os.get_inheritable(fd) for fd in counter.descriptors())


def test_a_closed_counter_is_poisoned(counter: Counter) -> None:
    before = open_descriptors()
    count = len(counter.descriptors())
    counter.close()
    counter.close()
    assert open_descriptors() == before - count
    assert counter.fileno() == -1
    with pytest.raises(ClosedError):
        counter.add(1)
    with pytest.raises(ClosedError):
        counter.take()


ADDER = """
import sys
from ringroom.lanes.memory import attach_counter
counter = attach_counter(tuple(map(int, sys.argv[1:])))
for _ in range(12000):
    counter.add(1)
counter.close()
"""


def test_nothing_is_lost_between_processes(counter: Counter) -> None:
    """Taken while it is added, with a pipe that fills up in between."""
    fds = counter.descriptors()
    command = [sys.executable, "-c", ADDER, *map(str, fds)]
    total = 0
    with subprocess.Popen(command, pass_fds=fds) as child:
        while total < 12_000 and select.select([counter.fileno()], [], [], 20)[0]:
            total += counter.take()
        assert child.wait() == 0
    assert total == 12_000


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_where_the_system_has_no_eventfd_a_pipe_does(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "eventfd", refuse)
    with closing(open_counter()) as counter:
        assert len(counter.descriptors()) == 2
        counter.add(3)
        assert counter.take() == 3
