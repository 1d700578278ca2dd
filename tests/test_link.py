"""Links: framing, descriptors that never leak, and the peer's death."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroom import link as link_module
from ringroom import messages as m
from ringroom.errors import ClosedError, StartupError, WireError
from ringroom.link import MAX_DESCRIPTORS, Link, Received, open_links
from ringroom.message_codec import encode
from ringroom.messages import MAX_MESSAGE_BYTES

HEADER = struct.Struct("!II")


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def links() -> Iterator[tuple[Link, Link]]:
    ours, theirs = open_links()
    with closing(ours), closing(theirs):
        yield ours, theirs


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, Link]]:
    """A peer that speaks bytes, and a link."""
    ours, theirs = socket.socketpair()
    with ours, closing(Link(theirs)) as link:
        yield ours, link


def frame(message: m.Message, descriptors: int = 0) -> bytes:
    body = encode(message)
    return HEADER.pack(len(body), descriptors) + body


def pass_descriptors(sock: socket.socket, data: bytes, fds: list[int]) -> None:
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def some_files(count: int) -> list[int]:
    return [os.memfd_create(f"f{number}") for number in range(count)]


def close_all(fds: Any) -> None:
    for fd in fds:
        os.close(fd)


def identity(fd: int) -> tuple[int, int]:
    stat = os.fstat(fd)
    return stat.st_dev, stat.st_ino


def test_messages_in_order_both_ways(links: tuple[Link, Link]) -> None:
    ours, theirs = links
    for number in range(50):
        ours.send(m.LaneDone(lane=number))
        theirs.send(m.LaneEnding(lane=number))
    for number in range(50):
        assert theirs.receive_nowait() == (m.LaneDone(lane=number), ())
        assert ours.receive_nowait() == (m.LaneEnding(lane=number), ())
    assert ours.receive_nowait() is None
    assert theirs.receive_nowait() is None


def test_what_has_come_is_known_before_it_is_received(links: tuple[Link, Link]) -> None:
    ours, theirs = links
    assert not ours.has_come()
    with open(os.devnull, "rb") as file:
        theirs.send(m.RowFree(row=1), (file.fileno(),))
    held = open_descriptors()
    assert ours.has_come()
    assert open_descriptors() == held, "nothing was taken"
    received = ours.receive_nowait()
    assert received is not None
    os.close(received[1][0])
    assert not ours.has_come()
    theirs.close()
    assert ours.has_come(), "its end"
    ours.close()
    with pytest.raises(ClosedError):
        ours.has_come()


def test_descriptors_go_with_their_message(links: tuple[Link, Link]) -> None:
    ours, theirs = links
    files = some_files(MAX_DESCRIPTORS)
    before = open_descriptors()
    groups = [files[:1], [], files[1:4], files, []]
    for number, group in enumerate(groups):
        ours.send(m.LaneDone(lane=number), tuple(group))
    got: list[Received] = []
    while (received := theirs.receive_nowait()) is not None:
        got.append(received)
    assert [message for message, _ in got] == [m.LaneDone(lane=n) for n in range(5)]
    for (_, fds), group in zip(got, groups, strict=True):
        assert [identity(fd) for fd in fds] == [identity(fd) for fd in group]
        assert not any(os.get_inheritable(fd) for fd in fds)
        close_all(fds)
    assert open_descriptors() == before, "the sender keeps its own, and only these"
    close_all(files)


class Interrupted(Link):
    """Ctrl-C comes each time as the socket has taken something."""

    def _push(self, data: memoryview, descriptors: tuple[int, ...]) -> int:
        sent = super()._push(data, descriptors)
        if sent:
            signal.raise_signal(signal.SIGINT)
        return sent


def test_what_was_kept_is_sent_once_though_who_sends_it_is_interrupted() -> None:
    first, second = socket.socketpair()
    with closing(Link(first)) as ours, closing(Link(second)) as theirs:
        (file,) = some_files(1)
        count = 0
        while ours.backlog < 3:
            ours.send(m.LaneDone(lane=count), (file,) if ours.backlog else ())
            count += 1
        before = open_descriptors()
        ours.__class__ = Interrupted
        got: list[Received] = []
        while len(got) < count:
            with contextlib.suppress(KeyboardInterrupt):
                ours.flush()
            while (received := theirs.receive_nowait()) is not None:
                got.append(received)
                close_all(received[1])
        assert [message for message, _ in got] == [m.LaneDone(lane=n) for n in range(count)]
        assert (ours.backlog, theirs.receive_nowait()) == (0, None)
        assert open_descriptors() == before - 2, "those that were kept are closed"
        os.close(file)


def test_closing_drops_what_was_received_and_not_taken(links: tuple[Link, Link]) -> None:
    ours, theirs = links
    (file,) = some_files(1)
    ours.send(m.LaneDone(lane=1))
    ours.send(m.LaneDone(lane=2), (file,))
    assert theirs.receive_nowait() == (m.LaneDone(lane=1), ())
    theirs.close()
    with pytest.raises(ClosedError):
        theirs.receive_nowait()
    os.close(file)


def test_a_byte_at_a_time(raw: tuple[socket.socket, Link]) -> None:
    sock, link = raw
    data = frame(m.Leave()) + frame(m.WorkerReady())
    got = []
    for place in range(len(data)):
        sock.send(data[place : place + 1])
        received = link.receive_nowait()
        if received is not None:
            got.append((place, received[0]))
    assert got == [(len(frame(m.Leave())) - 1, m.Leave()), (len(data) - 1, m.WorkerReady())]


@given(cuts=st.lists(st.integers(1, 60), max_size=12), counts=st.lists(st.integers(0, 3)))
@settings(deadline=None, max_examples=60)
def test_any_pieces(cuts: list[int], counts: list[int]) -> None:
    """However the kernel cuts the stream, messages and their descriptors stay together."""
    before = open_descriptors()
    ours, theirs = socket.socketpair()
    files = some_files(3)
    with ours, closing(Link(theirs)) as link:
        got: list[int] = []

        def drain() -> None:
            while (received := link.receive_nowait()) is not None:
                got.append(len(received[1]))
                close_all(received[1])

        for number, count in enumerate(counts):
            data = frame(m.LaneDone(lane=number), count)
            first = cuts[number % len(cuts)] if cuts else len(data)
            if count:
                pass_descriptors(ours, data[:first], files[:count])
            else:
                ours.send(data[:first])
            if number % 2:
                drain()
            ours.send(data[first:])
        drain()
        assert got == counts
    close_all(files)
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("length", "count"),
    [(MAX_MESSAGE_BYTES + 1, 0), ((1 << 32) - 1, 0), (2, MAX_DESCRIPTORS + 1), (2, (1 << 32) - 1)],
)
def test_impossible_headers(length: int, count: int, raw: tuple[socket.socket, Link]) -> None:
    sock, link = raw
    sock.send(HEADER.pack(length, count))
    for _ in range(2):
        with pytest.raises(WireError, match="descriptors"):
            link.receive_nowait()


@pytest.mark.parametrize(("announced", "passed"), [(1, 0), (3, 2), (1, 2), (0, 3)])
def test_wrong_counts_of_descriptors_do_not_leak(announced: int, passed: int) -> None:
    before = open_descriptors()
    ours, theirs = socket.socketpair()
    files = some_files(passed)
    with ours, closing(Link(theirs)) as link:
        data = frame(m.Leave(), announced)
        pass_descriptors(ours, data, files) if passed else ours.send(data)
        if announced > passed:
            with pytest.raises(WireError, match="announced"):
                link.receive_nowait()
        else:
            received = link.receive_nowait()
            assert received is not None
            assert len(received[1]) == announced
            close_all(received[1])
    close_all(files)
    assert open_descriptors() == before


def test_a_message_that_does_not_decode_leaks_no_descriptors(
    raw: tuple[socket.socket, Link],
) -> None:
    sock, link = raw
    files = some_files(2)
    before = open_descriptors()
    pass_descriptors(sock, HEADER.pack(2, 2) + b"{}", files)
    with pytest.raises(WireError):
        link.receive_nowait()
    assert open_descriptors() == before
    close_all(files)


def test_descriptors_lost_on_the_way(raw: tuple[socket.socket, Link]) -> None:
    """The kernel passes fewer than were sent when there is no room for more."""
    sock, link = raw
    files = some_files(MAX_DESCRIPTORS + 8)
    pass_descriptors(sock, frame(m.Leave(), 4), files)
    with pytest.raises(StartupError, match="without its descriptors: no descriptors left"):
        link.receive_nowait()
    close_all(files)


def test_descriptors_that_nobody_took_are_closed() -> None:
    before = open_descriptors()
    ours, theirs = open_links()
    files = some_files(3)
    ours.send(m.LaneDone(lane=1), tuple(files))
    theirs.close()
    ours.close()
    ours, theirs = open_links()
    body = frame(m.LaneDone(lane=1), 3)
    pass_descriptors(ours._open_socket(), body[:-1], files)
    assert theirs.receive_nowait() is None
    theirs.close()
    ours.close()
    close_all(files)
    assert open_descriptors() == before


def test_the_end_of_file_comes_after_all_that_was_sent(links: tuple[Link, Link]) -> None:
    ours, theirs = links
    for number in range(3):
        ours.send(m.LaneDone(lane=number))
    theirs.send(m.Leave())  # unread at the other side when it closes: a reset, not a plain end
    ours.close()
    for number in range(3):
        assert theirs.receive_nowait() == (m.LaneDone(lane=number), ())
    with pytest.raises(ClosedError):
        theirs.receive_nowait()
    with pytest.raises(ClosedError, match="peer is gone"):
        theirs.send(m.Leave())


def test_a_fork_that_lives_on_holds_no_end(links: tuple[Link, Link]) -> None:
    ours, theirs = links
    runs, end = os.pipe(), os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads about
        child = os.fork()
    if not child:
        os.close(end[1])
        os.write(runs[1], b"1")
        os.read(end[0], 1)
        os._exit(0 if ours.closed and theirs.closed else 1)
    os.read(runs[0], 1)
    theirs.send(m.Leave())
    assert ours.receive_nowait() == (m.Leave(), ()), "the parent's goes on"
    ours.close()
    with pytest.raises(ClosedError):
        theirs.receive_nowait()
    close_all([*runs, *end])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_half_a_message_and_then_the_end(raw: tuple[socket.socket, Link]) -> None:
    sock, link = raw
    sock.send(frame(m.Leave())[:-1])
    assert link.receive_nowait() is None
    sock.close()
    with pytest.raises(ClosedError, match="closed the link"):
        link.receive_nowait()


def test_a_closed_end_refuses(links: tuple[Link, Link]) -> None:
    ours, _ = links
    assert not ours.closed
    ours.close()
    ours.close()
    assert ours.closed
    assert ours.fileno() == -1
    with pytest.raises(ClosedError, match="the link is closed"):
        ours.send(m.Leave())
    with pytest.raises(ClosedError, match="the link is closed"):
        ours.receive_nowait()
    assert ours.flush()


def test_a_peer_that_does_not_read_never_makes_us_wait() -> None:
    """What the socket does not take is kept, with its descriptors, and goes with `flush`."""
    before = open_descriptors()
    ours, theirs = open_links()
    files = some_files(2)
    with closing(ours), closing(theirs):
        long = "x" * 10_000
        count = 0
        while ours.backlog < 5:
            ours.send(m.WorkerFailed(error=f"{count} {long}"), tuple(files))
            count += 1
        assert not ours.flush()
        got = 0
        while got < count:
            received = theirs.receive_nowait()
            if received is None:
                assert select.select([], [ours.fileno()], [], 5)[1]
                ours.flush()
                continue
            assert received[0] == m.WorkerFailed(error=f"{got} {long}")
            assert [identity(fd) for fd in received[1]] == [identity(fd) for fd in files]
            close_all(received[1])
            got += 1
        assert ours.flush()
        assert ours.backlog == 0
    close_all(files)
    assert open_descriptors() == before


def test_a_message_larger_than_the_socket_goes_in_pieces(links: tuple[Link, Link]) -> None:
    ours, theirs = links
    long = m.WorkerFailed(error="".join(chr(97 + i % 26) for i in range(2_000_000)))
    ours.send(long)
    ours.send(m.Leave())
    assert ours.backlog == 2
    got: list[m.Message] = []
    while len(got) < 2:
        received = theirs.receive_nowait()
        if received is None:
            ours.flush()
            continue
        got.append(received[0])
    assert got == [long, m.Leave()]


def test_a_link_says_how_soon_it_is_to_be_flushed(links: tuple[Link, Link]) -> None:
    ours, theirs = links
    assert ours.patience() is None
    ours.send(m.Failed(error={"type": "x" * 1_000_000}))
    assert 0 < (ours.patience() or 0) <= 0.01
    while theirs.receive_nowait() is None:
        ours.flush()
    assert ours.patience() is None


def test_a_backlog_is_bounded_and_closes_with_its_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_module, "MAX_BACKLOG", 3)
    before = open_descriptors()
    ours, theirs = open_links()
    files = some_files(1)
    with closing(theirs), closing(ours):
        while ours.backlog < 3:
            ours.send(m.WorkerFailed(error="x" * 50_000), tuple(files))
        with pytest.raises(ClosedError, match="let 3 messages lie"):
            ours.send(m.Leave())
    close_all(files)
    assert open_descriptors() == before


def test_what_the_peer_would_refuse_is_not_sent(
    links: tuple[Link, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = links
    with pytest.raises(WireError, match="33 descriptors"):
        ours.send(m.Leave(), (0,) * (MAX_DESCRIPTORS + 1))
    monkeypatch.setattr(link_module, "MAX_MESSAGE_BYTES", 100)
    with pytest.raises(WireError, match="bytes"):
        ours.send(m.WorkerFailed(error="x" * 100))
    assert theirs.receive_nowait() is None


def full(link: Link) -> int:
    """Send until the socket takes no more; how many messages that are."""
    count = 0
    while not link.backlog:
        link.send(m.WorkerFailed(error="x" * 10_000))
        count += 1
    return count


def test_no_descriptors_left_to_send(
    links: tuple[Link, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the socket takes at once needs none; what is to be kept is refused, whole."""
    ours, theirs = links
    files = some_files(2)
    before = open_descriptors()
    real, left = os.dup, [1]

    def dup(fd: int) -> int:
        if not left:
            raise OSError(errno.EMFILE, "Too many open files")
        left.pop()
        return real(fd)

    monkeypatch.setattr(os, "dup", dup)
    ours.send(m.Leave(), tuple(files))
    message, came = theirs.receive_nowait() or (None, ())
    assert message == m.Leave()
    assert len(came) == 2
    close_all(came)
    assert left
    count = full(ours)
    with pytest.raises(StartupError, match="ulimit"):
        ours.send(m.Leave(), tuple(files))
    assert open_descriptors() == before
    for _ in range(count):
        received = theirs.receive_nowait()
        while received is None:
            ours.flush()
            received = theirs.receive_nowait()
        assert isinstance(received[0], m.WorkerFailed)
    assert ours.flush()
    assert theirs.receive_nowait() is None
    monkeypatch.undo()
    with pytest.raises(OSError, match="Bad file descriptor"):
        ours.send(m.Leave(), (files[0], 10_000))
    assert open_descriptors() == before
    close_all(files)


def test_too_many_descriptors_under_way_is_a_full_socket(
    links: tuple[Link, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without privileges the kernel limits what is in sockets; the peer must take some first."""
    ours, theirs = links
    files = some_files(1)

    def refuse(*_: object) -> int:
        raise OSError(errno.ETOOMANYREFS, "Too many references")

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "sendmsg", refuse)
        ours.send(m.Leave(), tuple(files))
        assert ours.backlog == 1
    assert ours.flush()
    received = theirs.receive_nowait()
    assert received is not None
    close_all(received[1])
    close_all(files)


def test_a_link_is_taken_over_by_its_descriptor() -> None:
    ours, theirs = socket.socketpair()
    with closing(Link(ours)) as here, closing(Link.attach(theirs.detach())) as there:
        here.send(m.Leave())
        assert select.select([there.fileno()], [], [], 0)[0]
        assert there.receive_nowait() == (m.Leave(), ())
        assert not select.select([there.fileno()], [], [], 0)[0]


PORTABLE = """
import os, socket
for name in ("MSG_NOSIGNAL", "MSG_CMSG_CLOEXEC"):
    delattr(socket, name)

from ringroom import messages as m
from ringroom.errors import ClosedError
from ringroom.link import open_links

ours, theirs = open_links()
ours.send(m.Leave(), (0,))
message, (fd,) = theirs.receive_nowait()
assert message == m.Leave() and not os.get_inheritable(fd)
theirs.close()
try:
    ours.send(m.Leave())
except ClosedError:
    print("alive")
ours.close()
"""


def test_without_the_flags_that_linux_has() -> None:
    """Descriptors stay our own, and a peer that is gone ends nobody."""
    done = subprocess.run([sys.executable, "-c", PORTABLE], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("alive\n", "")


def test_a_forgotten_link_warns_and_closes() -> None:
    before = open_descriptors()
    ours, theirs = open_links()
    with pytest.warns(ResourceWarning, match="link never closed"):
        del ours
    with pytest.raises(ClosedError):
        theirs.receive_nowait()
    theirs.close()
    assert open_descriptors() == before
