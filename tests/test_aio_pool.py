"""A pool beside an event loop: what blocks does so elsewhere, and whoever waits is woken."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import processors_kit as kit
import ringroom
from aio_kit import cancelled, soon, until
from app_kit import NEVER_AGAIN, check_law, children, sound
from ringroom.aio import Pool
from ringroom.errors import (
    BusyError,
    ClosedError,
    ConfigurationError,
    LostProcessError,
    RoomError,
    StartupError,
)
from ringroom.testing import FakeRoom

OPTIONS: dict[str, Any] = {
    "io": "thread",
    "max_age": 20.0,
    "workers": 1,
    "spares": 0,
    "standby": False,
}


def pool_of(room: FakeRoom, processor: Any = kit.echo, **options: Any) -> Pool:
    return Pool(processor, "fake", room=room, **OPTIONS | options)


@contextlib.asynccontextmanager
async def running(room: FakeRoom, processor: Any = kit.echo, **options: Any) -> AsyncIterator[Pool]:
    async with pool_of(room, processor, **options) as pool:
        yield pool


class LoadsUntilTold(ringroom.Processor):
    """Its model is there once somebody has opened the other end of the pipe."""

    def __init__(self, pipe: Path) -> None:
        self.pipe = pipe

    def start(self, context: Any) -> None:
        with self.pipe.open():
            pass


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    os.mkfifo(path)
    return path


def is_wanted(model: Path) -> bool:
    """Whether a worker waits for it; then it is there."""
    try:
        os.close(os.open(model, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # nobody has it open
        return False
    return True


async def answered(room: FakeRoom, seconds: float = 0.1) -> None:
    await asyncio.to_thread(room.wait_for_audio, "ann/mic", seconds)


def test_frames_go_through_the_workers_while_the_loop_waits(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with running(fake_room) as pool:
            assert (pool.room, pool.identity) == (fake_room.name, "app")
            assert set(pool.pids) <= children()
            assert (pool.spares, pool.options.workers, pool.io_pid) == (0, 1, None)
            fake_room.join("ann").publish_audio("mic").tone(seconds=0.1)
            await answered(fake_room)
            waiting = asyncio.create_task(pool.wait())
            await asyncio.sleep(0)
            fake_room.close_room()
            assert await soon(waiting) == pool.ended == "room closed"
        assert await pool.wait() == "room closed"
        assert (pool.pids, pool.spares) == ((), 0)
        assert pool.stats().received.done == 5
        assert pool.stats().workers is not None
        check_law(pool)

    asyncio.run(main())


def test_the_loop_goes_on_while_models_load(fake_room: FakeRoom, model: Path) -> None:
    async def main() -> None:
        opening = asyncio.create_task(pool_of(fake_room, LoadsUntilTold(model)).open())
        await until(lambda: is_wanted(model))
        await (await soon(opening)).close()

    asyncio.run(main())


@pytest.mark.parametrize("times", [1, 2])
def test_who_gives_up_while_models_load_leaves_nothing(
    fake_room: FakeRoom, model: Path, times: int
) -> None:
    before = children()

    async def main() -> None:
        pool = pool_of(fake_room, LoadsUntilTold(model))
        opening = asyncio.create_task(pool.open())
        await until(lambda: pool._pool._started and children() - before)
        for _ in range(times):
            opening.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await soon(opening)
        if times == 1:
            assert children() <= before, "it has waited for the end"
        await soon(pool.close())
        assert children() <= before
        with pytest.raises(ClosedError, match="a pool runs once"):
            await pool.open()

    asyncio.run(main())
    assert not fake_room.applications


def test_who_gives_up_waits_for_the_thread_that_opens_too(
    fake_room: FakeRoom, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have begun a worker a moment after the close."""
    gate, enter = threading.Event(), ringroom.Pool.__enter__

    def late(pool: ringroom.Pool) -> ringroom.Pool:
        try:
            return enter(pool)
        finally:
            assert gate.wait(60)

    monkeypatch.setattr(ringroom.Pool, "__enter__", late)

    async def main() -> None:
        pool = pool_of(fake_room, LoadsUntilTold(model))
        opening = asyncio.create_task(pool.open())
        await until(lambda: pool._pool._started)
        opening.cancel()
        await until(lambda: pool._closing is not None and pool._closing.done())
        for _ in range(9):
            await asyncio.sleep(0)
        assert not opening.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await soon(opening)

    asyncio.run(main())


def test_the_loop_goes_on_through_a_death_of_the_io_process(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with running(fake_room, io="process") as pool:
            before = pool.io_pid
            assert before is not None
            waiting = asyncio.create_task(pool.wait())
            os.kill(before, signal.SIGKILL)
            await until(lambda: pool.stats().io_deaths == 1)
            await soon(pool.send_data("back", topic="t"))
            assert pool.io_pid not in (None, before)
            await asyncio.to_thread(fake_room.wait_for_data, "t")
            fake_room.close_room()
            assert await soon(waiting) == "room closed"
        check_law(pool)

    asyncio.run(main())


def test_a_wait_that_is_given_up_leaves_nothing(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with running(fake_room) as pool:
            threads = threading.active_count()
            for _ in range(3):
                waiting = asyncio.create_task(pool.wait())
                await asyncio.sleep(0)
                await cancelled(waiting)
            assert threading.active_count() == threads
            fake_room.close_room()
            assert await soon(pool.wait()) == "room closed"

    asyncio.run(main())


def test_drain_finishes_what_waits(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with running(fake_room, kit.Goodbye) as pool:
            mic = fake_room.join("alice").publish_audio("mic")
            mic.tone(seconds=0.02)
            await until(lambda: pool.stats().received.done)
            await soon(pool.drain())
            assert fake_room.heard("alice/mic").duration == pytest.approx(0.5)
            with pytest.raises(ClosedError, match="pool is closed"):
                await pool.send(sound(0.02))
            assert await pool.wait() == "closed"
        check_law(pool)

    asyncio.run(main())


def test_close_wakes_everybody(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with running(fake_room) as pool:
            sending = asyncio.create_task(pool.send(sound(20.0)))
            ends = asyncio.create_task(pool.wait())
            await until(lambda: pool.stats().sent.sent > 10)
            await asyncio.gather(soon(pool.close()), soon(pool.close()))
            with pytest.raises(ClosedError, match="pool is closed"):
                await soon(sending)
            assert await soon(ends) == "closed"
        check_law(pool)

    asyncio.run(main())


def test_a_close_that_is_cancelled_closes_all_the_same(fake_room: FakeRoom) -> None:
    before = children()

    async def main() -> None:
        pool = await pool_of(fake_room).open()
        closing = asyncio.create_task(pool.close())
        await asyncio.sleep(0)
        await cancelled(closing)
        assert children() <= before
        await pool.close()

    asyncio.run(main())
    fake_room.wait_for_app_gone()


def test_all_that_a_transport_sends_and_asks(fake_room: FakeRoom, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"file")
    ann = fake_room.join("ann")
    ann.answer("greet", lambda call: f"hello {call.text}")

    async def main() -> None:
        async with running(fake_room) as pool:
            assert [person.identity for person in await pool.participants()] == ["ann"]
            await pool.send(sound(0.2, track="voice"))
            await pool.wait_playout("voice")
            assert pool.played("voice") == pytest.approx(0.2)
            await pool.send(sound(1.0, track="voice"))
            assert await pool.flush("voice") > 0
            await pool.mute("voice")
            await pool.unmute("voice")
            await pool.unpublish("voice")
            async with pool.fill_video(16, 16, track="picture") as picture:
                picture.data[:] = 128
            await pool.send_data("hi", topic="t")
            await pool.send_text("hi", topic="t")
            await pool.send_dtmf("1")
            await pool.send_file(path, topic="t")
            async with pool.open_text(topic="t") as text:
                await text.write("as it grows")
            await pool.set_profile(name="bot")
            assert await pool.call("ann", "greet", "you") == "hello you"

    asyncio.run(main())
    kinds = [type(message).__name__ for message in fake_room.application.messages]
    assert kinds == ["DataFrame", "TextFrame", "DtmfFrame", "FileFrame", "TextFrame"]


def test_what_somebody_was_told_is_not_raised_again_as_it_is_left(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with running(fake_room, restarts=0) as pool:
            os.kill(pool.pids[0], signal.SIGKILL)
            with pytest.raises(LostProcessError, match="worker 0 was killed by signal 9"):
                await soon(pool.wait())
        with pytest.raises(LostProcessError):
            await pool.wait()
        check_law(pool)

    asyncio.run(main())


def test_what_ended_it_is_raised_as_it_is_left(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with running(fake_room, reconnect=NEVER_AGAIN) as pool:
            fake_room.break_connection()
            await until(lambda: pool._pool.is_over)

    with pytest.raises(RoomError, match="hung up"):
        asyncio.run(main())


def test_what_does_not_start_is_told_as_of_a_pool(fake_room: FakeRoom) -> None:
    async def main() -> None:
        with pytest.raises(StartupError, match=r"(?s)worker 0 did not start:.*no model here"):
            async with running(fake_room, kit.Failing):
                pass
        fake_room.refuse_connects()
        with pytest.raises(RoomError, match="refuses"):
            async with running(fake_room):
                pass

    before = children()
    with pytest.raises(ConfigurationError, match="workers"):
        pool_of(fake_room, workers=0)
    asyncio.run(main())
    assert children() <= before


def test_a_pool_that_does_not_run() -> None:
    pool = Pool(kit.echo, "fake", room="nowhere")

    async def main() -> None:
        calls: tuple[Callable[[], Any], ...] = (pool.wait, lambda: pool.send(sound(0.02)))
        for call in calls:
            with pytest.raises(ClosedError, match="not connected; use `async with`"):
                await call()
        await pool.close()
        await pool.close()
        with pytest.raises(ClosedError, match="a pool runs once"):
            await pool.open()

    asyncio.run(main())
    assert repr(pool) == "<Pool fake closed>"


def test_another_loop_may_only_close_it(fake_room: FakeRoom) -> None:
    async def use() -> None:
        for call in (pool.wait, pool.drain, lambda: pool.send(sound(0.02))):
            with pytest.raises(BusyError, match=r"this pool belongs to another .* which is closed"):
                await call()
        await pool.close()

    pool = asyncio.run(pool_of(fake_room).open())
    asyncio.run(use())
    fake_room.wait_for_app_gone()

    async def elsewhere(running: Pool) -> None:
        for call in (running.wait, running.close):
            with pytest.raises(BusyError, match=r"or use ringroom\.Pool, which any thread may"):
                await call()

    async def main() -> None:
        async with running(fake_room) as pool:
            await asyncio.to_thread(asyncio.run, elsewhere(pool))

    asyncio.run(main())


def test_a_forgotten_pool_says_so(fake_room: FakeRoom) -> None:
    pools = [asyncio.run(pool_of(fake_room).open())]
    workers, watching = set(pools[0].pids), pools[0]._pool._watch._thread
    assert watching is not None
    fake_room.close_room()  # while there is one to serve, the pool's own thread keeps it
    watching.join(10)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pools.clear()
        gc.collect()
    assert "pool never closed" in [str(warning.message) for warning in told]
    assert not workers & children(), "it is closed all the same"
