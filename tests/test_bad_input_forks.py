"""What is made before a fork is of no use after it, and the parent's goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ringroom
from app_kit import sound
from ringroom.errors import ClosedError, ConfigurationError
from ringroom.faces.connection import Connection
from ringroom.testing import FakeRoom


def test_a_fork_does_not_take_a_transport_along(fake_room: FakeRoom) -> None:
    with ringroom.transport("fake", room=fake_room) as t:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads about
            child = os.fork()
        if not child:
            code = 1
            try:
                t.send(sound(0.01))
            except ClosedError as error:
                t.close()  # this once ended the parent's connection
                t._connection.close_host()
                code = 0 if "open one here" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        t.send(sound(0.01))
        t.wait_playout(timeout=10)


def test_what_was_made_before_a_fork_does_not_start_after_it() -> None:
    """It could not be closed there: what it holds belongs to the parent."""
    pool = ringroom.Pool(lambda frame: None, ringroom.Fake(room="r"), workers=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads about
        child = os.fork()
    if not child:
        code = 1
        try:
            with pool:
                pass
        except ClosedError as error:
            code = 0 if "this Pool was made in another process" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_does_not_end_the_standby(fake_room: FakeRoom) -> None:
    with contextlib.closing(ringroom.IOProcess()) as host:  # it does not run yet
        host.keep_standby("ringroom")
        standby = host.standby_pid
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            code = 1
            try:
                host.close()
                code = 0 if host.standby_pid == standby else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with ringroom.transport("fake", room=fake_room, io=host) as t:
            assert t.io_pid == standby, "it lives, and its turn has come"


def in_a_fork(call: Callable[[], object]) -> str:
    """What the call raises there: of its text, the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads about
        reading, writing = os.pipe()
        child = os.fork()
    if not child:
        try:
            call()
        except ClosedError as error:
            os.write(writing, str(error)[-200:].encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        text = told.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return text


@pytest.mark.parametrize("started", [False, True])
def test_a_host_does_not_start_in_a_fork(started: bool, fake_room: FakeRoom) -> None:
    """It could not be closed there, and a server that forks its workers makes it before."""
    with contextlib.closing(ringroom.IOProcess()) as host:
        if started:
            host.start()
        uses: tuple[Callable[[], object], ...] = (
            host.start,
            lambda: host.keep_standby("ringroom"),
            lambda: ringroom.transport("fake", room=fake_room, io=host),
            lambda: ringroom.Pool(print, "fake", room=fake_room, io=host, workers=1).__enter__(),
        )
        for use in uses:
            assert "open one here" in in_a_fork(use)
        with ringroom.transport("fake", room=fake_room, io=host):
            assert host.pid is not None


def test_a_fork_takes_nothing_off_the_link_of_its_parent(fake_room: FakeRoom) -> None:
    with ringroom.transport("fake", room=fake_room) as t:
        t.send(sound(0.1))
        for ask in (lambda: t.ended, t.stats):
            assert "open one here" in in_a_fork(ask)
        t.wait_playout(timeout=10)
        assert t.ended is None


def test_a_picture_that_a_fork_takes_along_ends_there_without_a_lock(fake_room: FakeRoom) -> None:
    """Another thread may have held it in that moment, and there is no such thread in the child."""
    with ringroom.transport("fake", room=fake_room) as t:
        filling = t.fill_video(64, 48)
        filling.__enter__()

        def end() -> None:
            signal.alarm(5)
            filling.__exit__(None, None, None)

        held, forked = threading.Event(), threading.Event()

        def hold() -> None:
            with t._connection.lock:
                held.set()
                forked.wait(60)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(60)
        try:
            assert "open one here" in in_a_fork(end)
        finally:
            forked.set()
            holder.join()
        filling.__exit__(None, None, None)
        assert fake_room.wait_for_video("video")


def test_a_pool_that_is_drained_in_a_fork_goes_on_in_its_parent(fake_room: FakeRoom) -> None:
    """A child takes over what its parent does on SIGTERM."""
    options: dict[str, Any] = {"room": fake_room, "workers": 1, "max_age": 20.0}
    with ringroom.Pool(lambda frame: frame, "fake", **options) as pool:
        assert in_a_fork(pool.drain) == ""
        fake_room.join("ann").publish_audio("mic").tone(seconds=0.1)
        assert fake_room.wait_for_audio("ann/mic", seconds=0.1)


def test_what_was_made_before_a_fork_is_not_opened_after_it(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def joins(connection: Connection, *_: object) -> None:
        raise ConfigurationError("it would stay in the room, where nobody can close it")

    monkeypatch.setattr(Connection, "open", joins)
    transport = ringroom.aio.transport("fake", room=fake_room)
    assert "open one here" in in_a_fork(lambda: asyncio.run(_opened(transport)))


async def _opened(transport: ringroom.aio.Transport) -> None:
    await transport.open()


def test_a_pool_of_a_loop_is_its_parents(fake_room: FakeRoom) -> None:
    options: dict[str, Any] = {"room": fake_room, "workers": 1, "max_age": 20.0}

    async def main() -> None:
        async with ringroom.aio.Pool(lambda frame: frame, "fake", **options) as pool:
            assert "open one here" in in_a_fork(pool.stats)

            def leave() -> None:
                for call in (pool.drain(), pool.__aexit__(None, None, None)):
                    with contextlib.suppress(StopIteration):
                        call.send(None)

            assert in_a_fork(leave) == "", "a child leaves it to its parent"
            fake_room.join("ann").publish_audio("mic").tone(seconds=0.1)
            await asyncio.to_thread(fake_room.wait_for_audio, "ann/mic", seconds=0.1)

    asyncio.run(main())


@contextlib.contextmanager
def held_by_another_thread(lock: contextlib.AbstractContextManager[Any]) -> Iterator[None]:
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("close", [True, False])
def test_a_receiver_ends_in_a_fork_whatever_other_threads_did(
    fake_room: FakeRoom, close: bool
) -> None:
    options: dict[str, Any] = {"kinds": ("audio", "data"), "max_age": 20.0}
    with ringroom.transport("fake", room=fake_room, **options) as t:
        receivers = [t.recv(kinds=("audio",))]

        def leave() -> None:
            """As a child does that leaves the loop over its frames."""
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(5)  # one that hangs dies by it
            if close:
                receivers[0].close()
            receivers.pop()  # which has it collected

        with held_by_another_thread(t._connection.lock):
            assert in_a_fork(leave) == ""
        ann = fake_room.join("ann")
        ann.publish_audio("mic").tone(seconds=0.1)
        assert isinstance(next(receivers.pop()), ringroom.AudioFrame), "the parent's goes on"


def test_a_fork_within_a_loop_takes_nothing_along(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with ringroom.aio.transport("fake", room=fake_room) as transport:
            for ask in (lambda: transport.ended, transport.stats):
                assert "open one here" in in_a_fork(ask)

            def leave() -> None:
                with contextlib.suppress(StopIteration):
                    transport.__aexit__(None, None, None).send(None)

            assert in_a_fork(leave) == "", "a child leaves it to its parent"
            await transport.send(sound(0.01))

    asyncio.run(main())
