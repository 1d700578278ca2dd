"""A link on a loop: nothing is lost in a crowd, and the end is told once."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from io_kit import no_more_watched, run, turns, until, watched

from ringroom import messages as m
from ringroom.errors import StartupError
from ringroom.link import Link
from ringroom.processes.io.loop_link import LoopLink
from ringroom.testing import faults


class Far:
    """The other end, and what came of ours."""

    def __init__(self) -> None:
        ours, self.socket = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        self.link = Link(self.socket)
        self.messages: list[m.Message] = []
        self.ends = 0
        self.wire = LoopLink(Link(ours), self.on_message, self.on_closed)

    def on_message(self, message: m.Message, descriptors: tuple[int, ...]) -> None:
        self.messages.append(message)
        for fd in descriptors:
            os.close(fd)

    def on_closed(self) -> None:
        self.ends += 1

    def heard(self) -> list[m.Message]:
        found = []
        while (received := self.link.receive_nowait()) is not None:
            found.append(received[0])
            for fd in received[1]:
                os.close(fd)
        return found


@contextlib.asynccontextmanager
async def far() -> AsyncIterator[Any]:
    made = Far()
    try:
        yield made
    finally:
        made.wire.close()
        made.wire.close()
        made.link.close()


def ending(number: int) -> m.LaneEnding:
    return m.LaneEnding(lane=number)


def test_what_the_peer_does_not_take_yet_comes_later_and_in_order() -> None:
    async def main() -> None:
        async with far() as there:
            fd = there.wire._link.fileno()
            for turn in range(2):
                numbers = [turn * 10_000 + number for number in range(1_000)]
                for number in numbers:
                    there.wire.send(ending(number))
                assert watched(fd) == 3
                found: list[m.Message] = []

                def all_here(found: list[m.Message] = found) -> bool:
                    found += there.heard()
                    return len(found) == 1_000

                await until(all_here)
                assert found == [ending(number) for number in numbers]
                await until(lambda: watched(fd) == 1)

    run(main())


def test_the_end_is_told_once_and_what_came_before_it_first() -> None:
    async def main() -> None:
        async with far() as there:
            there.link.send(ending(1))
            there.link.send(ending(2))
            there.link.close()
            await until(lambda: there.ends)
            await turns()
            assert there.messages == [ending(1), ending(2)]
            assert there.ends == 1
            assert there.wire.closed
            there.wire.send(ending(3))

    run(main())


def test_the_link_of_a_dead_peer_ends_though_somebody_else_holds_its_end() -> None:
    async def main() -> None:
        async with far() as f:
            f.link.send(ending(1))
            f.wire.finish()
            f.wire.finish()
            assert f.messages == [ending(1)], "what it has said before comes first"
            assert f.ends == 1
            assert f.wire.closed

    run(main())


def test_nonsense_ends_the_link() -> None:
    async def main() -> None:
        async with far() as there:
            there.socket.send(b"\x00\x00\x00\x01\x00\x00\x00\x00?")
            await until(lambda: there.ends)
            assert there.wire.closed
            assert there.messages == []

    run(main())


def test_a_message_without_its_descriptors_ends_the_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with far() as there:
            there.link.send(ending(1), (there.socket.fileno(),))
            with faults.descriptors_exhausted():
                await until(lambda: there.ends)
            assert there.wire.closed
            assert there.messages == []

    run(main())
    assert "ulimit -n" in caplog.text


def test_a_message_that_is_not_handled_ends_the_link_and_leaves_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its sender would wait for what it has asked for."""

    def fails(*_: object) -> None:
        raise ValueError("of the handler")

    async def main() -> None:
        async with far() as there:
            there.wire._on_message = fails
            there.link.send(ending(1))
            await until(lambda: there.ends)
            assert there.wire.closed
            await turns()
            assert there.ends == 1

    run(main())
    assert "ValueError: of the handler" in caplog.text
    assert "Traceback" in caplog.text


def test_a_link_that_cannot_be_watched_is_closed() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with contextlib.closing(theirs), no_more_watched():
            with pytest.raises(StartupError, match="max_user_watches"):
                LoopLink(Link(ours), lambda *_: None, lambda: None)
            assert ours.fileno() == -1

    run(main())


def test_closing_in_a_crowd_leaves_the_loop_nothing_to_watch() -> None:
    """The number of the descriptor may belong to somebody else at once."""

    async def main() -> None:
        async with far() as there:
            fd = there.wire._link.fileno()
            for number in range(1_000):
                there.wire.send(ending(number))
            assert watched(fd) == 3
            there.wire.close()
            assert watched(fd) == 0
            assert there.ends == 0, "who closes it knows"

    run(main())


def test_a_message_may_close_the_link_before_the_next() -> None:
    async def main() -> None:
        async with far() as there:
            there.wire._on_message = lambda *_: there.wire.close()
            there.link.send(ending(1))
            there.link.send(ending(2))
            await until(lambda: there.wire.closed)
            await turns()
            assert there.ends == 0

    run(main())


def test_a_peer_that_is_gone_while_much_waits_is_told_once() -> None:
    async def main() -> None:
        async with far() as there:
            for number in range(1_000):
                there.wire.send(ending(number))
            there.link.close()
            await until(lambda: there.ends)
            await turns()
            assert there.ends == 1

    run(main())
