"""Asking the application for a fresh hand-over: what it answers, and when it does not."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from io_kit import run, turns, until

from ringroom import messages as m
from ringroom.errors import RoomError
from ringroom.link import Link, open_links
from ringroom.processes.io.renewing import Renewing


@contextlib.asynccontextmanager
async def asking() -> AsyncIterator[tuple[Renewing, Link]]:
    ours, theirs = open_links()
    renewing = Renewing(os.dup(theirs.fileno()))
    theirs.close()
    try:
        yield renewing, ours
    finally:
        renewing.close()
        renewing.close()
        ours.close()


def other_end_is_closed(fd: int) -> bool:
    """Of a pipe: whether nobody can write to it any more."""
    try:
        return os.read(fd, 1) == b""
    except BlockingIOError:
        return False


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        yield reading, writing
    finally:
        os.close(reading)


def test_who_waits_for_an_answer_is_told_that_the_application_is_gone() -> None:
    async def main() -> None:
        async with asking() as (renewing, application):
            asked = asyncio.ensure_future(renewing.ask(10**6))
            await until(application.receive_nowait)
            application.close()
            with pytest.raises(RoomError, match="hands nothing over") as caught:
                await asked
            assert caught.value.reason == "disconnected"

    run(main())


@pytest.mark.parametrize("answer", ["late", "refused"])
def test_descriptors_that_nobody_takes_are_closed(answer: str) -> None:
    async def main() -> None:
        async with asking() as (renewing, application):
            asked = asyncio.ensure_future(renewing.ask(10**6))
            await until(application.receive_nowait)
            with pipe() as (reading, writing):
                refused = m.NotRenewed(
                    request=1, error=m.error_to_json(RoomError("no token today", reason="timeout"))
                )
                late = m.Renewed(request=0, blob=b"late")
                application.send(late if answer == "late" else refused, (writing,))
                os.close(writing)
                await until(lambda: other_end_is_closed(reading))
            if answer == "refused":
                with pytest.raises(RoomError, match="no token today"):
                    await asked
                return
            application.send(m.Renewed(request=1, blob=b"blob"))
            assert await asked == (b"blob", ())

    run(main())


def test_an_answer_that_comes_when_nobody_asks_any_more_leaves_no_descriptor() -> None:
    async def main() -> None:
        async with asking() as (renewing, application):
            with pytest.raises(RoomError, match="not minted within 0 s"):
                await renewing.ask(0)
            with pipe() as (reading, writing):
                application.send(m.Renewed(request=1, blob=b"blob"), (writing,))
                os.close(writing)
                await until(lambda: other_end_is_closed(reading))

    run(main())


def test_who_gives_up_as_the_answer_comes_leaves_no_descriptor() -> None:
    async def main() -> None:
        async with asking() as (renewing, application):
            asked = asyncio.ensure_future(renewing.ask(10**6))
            await until(application.receive_nowait)
            with pipe() as (reading, writing):
                application.send(m.Renewed(request=1, blob=b"blob"), (writing,))
                os.close(writing)
                renewing._wire._readable()  # the answer is here, and who asked has not run since
                asked.cancel()
                await turns()
                assert asked.cancelled()
                assert other_end_is_closed(reading)

    run(main())
