"""The asyncio face, over a room in memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import (
    NEVER_AGAIN,
    PATIENCE,
    RATE,
    check_law,
    descriptors,
    microphone,
    noise,
    same,
    say,
    sound,
)
from ringroom.connection import Connection
from ringroom.errors import (
    BusyError,
    ClosedError,
    ConfigurationError,
    FrameError,
    LostProcessError,
    RoomError,
)
from ringroom.frames import AudioFrame, DataFrame, EventKind
from ringroom.inbox import Inbox, Listeners
from ringroom.outgoing import Outgoing
from ringroom.processes.children import IOHost
from ringroom.providers.fake.connection import FakeProvider
from ringroom.session import Session
from ringroom.testing import FakeRoom, VirtualClock, sources


@contextlib.asynccontextmanager
async def opened(room: FakeRoom, **options: Any) -> AsyncIterator[ringroom.aio.Transport]:
    options = {"io": "thread", "max_age": 20.0, **options}
    transport = ringroom.aio.transport("fake", room=room, **options)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


async def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    async with asyncio.timeout(PATIENCE):
        while not (value := condition()):
            await asyncio.sleep(0.002)
    assert value, what
    return value


async def soon(awaitable: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def take(receiver: Any, samples: int) -> Any:
    parts = []
    while sum(map(len, parts)) < samples:
        parts.append((await soon(anext(receiver))).samples)
    return np.concatenate(parts)


def readers() -> int:
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    return len(selector.get_map())


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)


@pytest.mark.parametrize("io", ["thread", "process"])
def test_frames_both_ways(fake_room: FakeRoom, io: str) -> None:
    async def main() -> None:
        mic = microphone(fake_room)
        async with ringroom.aio.transport("fake", room=fake_room, io=io, max_age=20.0) as t:
            assert (t.room, t.identity, t.ended) == (fake_room.name, "app", None)
            await asyncio.to_thread(mic.wait_for_subscriber)
            spoken = say(mic, 0.2)
            receiver = t.recv()
            frames = [await soon(anext(receiver)) for _ in range(10)]
            assert b"".join(frame.data for frame in frames) == spoken.tobytes()
            for frame in frames:
                await t.send(frame)
            await t.send(sound(0.5, 4, track="own"))
            await t.send_data("hi", topic="t")
        app = fake_room.application
        assert same(app.heard("alice/mic").samples, spoken)
        assert same(app.heard("own").samples, noise(0.5, 4))
        assert app.messages[0].payload == b"hi"
        check_law(t)
        assert t.stats().sent.in_flight == 0

    asyncio.run(main())


def test_errors_come_before_anything_is_started(fake_room: FakeRoom) -> None:
    before = descriptors(), threading.active_count()
    with pytest.raises(ConfigurationError):
        ringroom.aio.transport("fake", room=fake_room, kinds="audio")
    with pytest.raises(ConfigurationError, match="livekit: URL is required"):
        ringroom.aio.transport("livekit")
    transport = ringroom.aio.transport("fake", room=fake_room)
    for call in (transport.recv, transport.played):
        with pytest.raises(ClosedError, match="not connected"):
            call()
    with pytest.raises(ClosedError, match="not connected"):
        asyncio.run(transport.send(sound(0.02)))
    with pytest.raises(ClosedError, match="not connected"):
        assert transport.room
    assert transport.ended is None
    asyncio.run(transport.close())
    del transport
    gc.collect()
    assert (descriptors(), threading.active_count()) == before


def test_a_refused_connection(fake_room: FakeRoom) -> None:
    async def main() -> None:
        fake_room.refuse_connects()
        with pytest.raises(RoomError) as refused:
            await ringroom.aio.transport("fake", room=fake_room, io="thread").open()
        assert refused.value.reason == "unauthorized"

    asyncio.run(main())


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.1])
def test_cancelled_while_it_opens(fake_room: FakeRoom, delay: float) -> None:
    async def main() -> None:
        fake_room.refuse_connects("timeout")
        transport = ringroom.aio.transport("fake", room=fake_room)
        opening = asyncio.create_task(transport.open())
        await asyncio.sleep(delay)
        await cancelled(opening)
        with pytest.raises(ClosedError):
            transport.recv()

    asyncio.run(main())


class Minter:
    """A token function that takes its time."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.gate = threading.Event()
        self.error: Exception | None = None

    def __call__(self) -> str:
        self.asked.set()
        assert self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return ""

    async def opening(self, room: FakeRoom) -> tuple[ringroom.aio.Transport, asyncio.Task[Any]]:
        """A transport on its way to be opened: a token is minted."""
        transport = ringroom.aio.transport("fake", room=room, token=self)
        opening = asyncio.create_task(transport.open())
        await until(self.asked.is_set)
        return transport, opening


def ended(transport: ringroom.aio.Transport) -> bool:
    return transport.io_pid is None and transport._connection.session.closed


def test_closed_while_it_opens(fake_room: FakeRoom) -> None:
    async def main() -> None:
        minter = Minter()
        transport, opening = await minter.opening(fake_room)
        closing = [asyncio.create_task(transport.close()) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in closing)
        minter.gate.set()
        await soon(asyncio.gather(*closing))
        assert ended(transport)
        with pytest.raises(ClosedError, match="transport is closed"):
            await soon(opening)

    asyncio.run(main())


def test_cancelled_twice_while_it_opens(fake_room: FakeRoom) -> None:
    async def main() -> None:
        minter = Minter()
        transport, opening = await minter.opening(fake_room)
        opening.cancel()
        await asyncio.sleep(0.01)
        assert not opening.done()
        await cancelled(opening)
        minter.gate.set()
        await soon(transport.close())
        assert ended(transport)

    asyncio.run(main())


def test_cancelled_when_it_has_just_opened(fake_room: FakeRoom) -> None:
    async def main() -> None:
        minter = Minter()
        transport, opening = await minter.opening(fake_room)
        minter.gate.set()
        end = time.monotonic() + PATIENCE
        while not transport._opened and time.monotonic() < end:
            time.sleep(0.002)  # the loop must not learn of it yet
        await cancelled(opening)
        assert ended(transport)
        assert transport._connection.session.ending is not None  # the room was left

    asyncio.run(main())


def test_a_loop_that_ends_while_it_opens(fake_room: FakeRoom) -> None:
    made: list[ringroom.aio.Transport] = []

    async def main(minter: Minter) -> None:
        made.append((await minter.opening(fake_room))[0])
        # The thread goes on when the loop's end has cancelled all that is under way.
        watching = asyncio.create_task(asyncio.sleep(3600))
        watching.add_done_callback(lambda _: minter.gate.set())
        await asyncio.sleep(0)

    asyncio.run(main(Minter()))
    assert ended(made[0])


def test_cancelled_while_no_token_is_to_be_had(
    fake_room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        minter = Minter()
        minter.error = OSError("no token")
        transport, opening = await minter.opening(fake_room)
        opening.cancel()
        await asyncio.sleep(0.01)
        await cancelled(opening)
        minter.gate.set()
        await soon(transport.close())

    asyncio.run(main())
    gc.collect()
    assert not caplog.records


def test_opened_once(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room) as transport:
            with pytest.raises(ClosedError, match="opens once"):
                await transport.open()
            assert transport.room == fake_room.name
        with pytest.raises(ClosedError, match="opens once"):
            await transport.open()

    asyncio.run(main())


def test_cancelled_receiving_loses_nothing(fake_room: FakeRoom) -> None:
    async def main() -> None:
        mic = microphone(fake_room)
        async with opened(fake_room) as transport:
            await asyncio.to_thread(mic.wait_for_subscriber)
            receiver = transport.recv()
            before = readers()
            spoken = noise(1.0)
            mic.speak(spoken)
            heard: list[Any] = []
            while sum(map(len, heard)) < RATE:
                try:
                    async with asyncio.timeout(0.007):
                        heard.append((await anext(receiver)).samples)
                except TimeoutError:
                    assert readers() == before
            assert same(np.concatenate(heard), spoken)
            assert readers() == before
            assert len(transport._connection.session.listeners) == 2

    asyncio.run(main())


def test_a_track_is_unpublished_once_it_has_played(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room) as transport:
            with pytest.raises(ConfigurationError, match="we publish no track 'audio'"):
                await transport.unpublish()
            await soon(transport.send(sound(0.2)))
            ending = asyncio.create_task(transport.unpublish())
            await asyncio.sleep(0)
            await cancelled(ending)  # the track ends all the same, and another of its name begins
            await soon(transport.send(sound(0.1, 1)))
            await soon(transport.unpublish())
            await until(lambda: not fake_room.wait_for_app().tracks)
            assert len(fake_room.heard().samples) == pytest.approx(0.3 * RATE, abs=1)

    asyncio.run(main())


def test_leaving_plays_out_a_track_that_is_ending(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with ringroom.aio.transport("fake", room=fake_room, io="thread") as transport:
            await soon(transport.send(sound(0.8)))
            ending = asyncio.create_task(transport.unpublish())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await soon(ending)
        assert len(fake_room.heard().samples) == pytest.approx(0.8 * RATE, abs=1)

    asyncio.run(main())


@pytest.mark.parametrize("wait", ["unpublish", "wait_playout"])
def test_who_waits_for_a_refused_track_is_told(fake_room: FakeRoom, wait: str) -> None:
    async def main() -> None:
        fake_room.refuse_publish()
        async with opened(fake_room) as transport:
            with transport._connection.lock:  # as a send leaves it that was cancelled
                assert transport._lane_for(sound(0.02), None) is not None
            with pytest.raises(RoomError, match="refuses the track"):
                await soon(getattr(transport, wait)())

    asyncio.run(main())


def test_cancelled_sending_keeps_what_was_taken(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room) as transport:
            sending = asyncio.create_task(transport.send(sound(20.0)))
            await until(lambda: transport.stats().sent.sent > 10)
            await asyncio.sleep(0)
            listeners = len(transport._connection.session.listeners)
            await cancelled(sending)
            assert len(transport._connection.session.listeners) == listeners - 1
            taken = transport.stats().sent.sent
            flushed = await soon(transport.flush())
            assert flushed + fake_room.heard().duration == pytest.approx(taken / 10, abs=0.03)
            await soon(transport.send(sound(0.1, 9)))
            waiting = asyncio.create_task(transport.wait_playout())
            await asyncio.sleep(0.01)
            before = readers()
            await cancelled(waiting)
            assert readers() <= before
            await soon(transport.wait_playout())
            await until(lambda: same(fake_room.heard().samples[-1_600:], noise(0.1, 9)))
            flushing = asyncio.create_task(transport.flush())
            flushing.cancel()
            await asyncio.wait([flushing])
            assert await soon(transport.flush()) == 0.0

    asyncio.run(main())


@pytest.mark.parametrize("given_up", [0, 1, 2])
def test_a_send_goes_on_whoever_waits_for_the_same_track(given_up: int) -> None:
    async def send(io: IOHost, others: int, given_up: int) -> float:
        """How long a send takes while others wait for what it sends."""
        async with ringroom.aio.transport("fake", room=room, io=io) as transport:
            began = clock.now()
            sending = asyncio.create_task(transport.send(sound(6.0)))
            await asyncio.sleep(0.5)
            waiting = [asyncio.create_task(transport.wait_playout()) for _ in range(others)]
            await asyncio.sleep(0.5)
            for task in waiting[:given_up]:
                await cancelled(task)
            await asyncio.wait_for(sending, 60)
            took = clock.now() - began
            assert not any(task.done() for task in waiting[given_up:])
            for task in waiting[given_up:]:
                await asyncio.wait_for(task, 60)
                assert clock.now() - began == pytest.approx(6.0, abs=0.3)
        return took

    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        alone = clock.run(send(clock.io, 0, 0))
        assert clock.run(send(clock.io, 2, given_up)) == pytest.approx(alone, abs=0.01)


def test_an_answer_that_nobody_waits_for_any_more_is_not_kept(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room) as transport:
            session = transport._connection.session
            await transport.send(sound(0.3))
            waiting = asyncio.create_task(transport.wait_playout())
            await until(lambda: session.unanswered)
            await cancelled(waiting)
            await soon(transport.wait_playout())
            await until(lambda: not session.unanswered)
            assert not session.replies

    asyncio.run(main())


def test_a_flush_reaches_who_waits_for_the_track(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, publish = threading.Event(), FakeProvider.publish

    async def late(provider: FakeProvider, *arguments: Any) -> Any:
        await asyncio.to_thread(gate.wait, 60)
        return await publish(provider, *arguments)

    monkeypatch.setattr(FakeProvider, "publish", late)

    async def main() -> None:
        async with opened(fake_room) as transport:
            sending = asyncio.create_task(transport.send(sound(1.0)))
            await asyncio.sleep(0)
            flushing = asyncio.create_task(transport.flush())
            await asyncio.sleep(0)
            gate.set()
            assert await soon(flushing) == pytest.approx(1.0)
            await soon(sending)
            assert transport.stats().sent.sent == 0

    asyncio.run(main())


@pytest.mark.parametrize("io", ["thread", "process"])
def test_close_wakes_everybody(fake_room: FakeRoom, io: str) -> None:
    async def main() -> None:
        async with opened(fake_room, kinds=("audio", "data"), io=io) as transport:
            tasks = [
                asyncio.create_task(anext(transport.recv(kinds=("audio",)))),  # type: ignore[arg-type]
                asyncio.create_task(anext(transport.recv(kinds=("data",)))),  # type: ignore[arg-type]
                asyncio.create_task(transport.send(sound(20.0))),
            ]
            await until(lambda: transport.stats().sent.sent > 10)
            tasks.append(asyncio.create_task(transport.wait_playout()))
            await asyncio.sleep(0.01)
            await asyncio.gather(transport.close(), transport.close())
            for task in tasks:
                with pytest.raises(ClosedError, match="fake: transport is closed"):
                    await soon(task)
            with pytest.raises(ClosedError, match="fake: transport is closed"):
                await transport.send(sound(0.02))
            with pytest.raises(ClosedError, match="fake: transport is closed"):
                transport.recv()
            await transport.close()
        check_law(transport)

    asyncio.run(main())


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_close_that_is_cancelled_as_the_loop_ends_still_closes(
    fake_room: FakeRoom, steps: int
) -> None:
    async def main() -> None:
        transport = await ringroom.aio.transport("fake", room=fake_room, io="thread").open()
        closing = asyncio.ensure_future(transport.close())
        for _ in range(steps):
            await asyncio.sleep(0)
        closing.cancel()
        # The loop ends in the very step that follows.

    asyncio.run(main())
    fake_room.wait_for_app_gone()


def test_who_waits_need_not_wait_for_the_leaving(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, close = threading.Event(), FakeProvider.close

    async def late(provider: FakeProvider) -> None:
        await asyncio.to_thread(gate.wait, 60)
        await close(provider)

    monkeypatch.setattr(FakeProvider, "close", late)

    async def main() -> None:
        async with opened(fake_room, close_timeout=50) as transport:
            waiting = asyncio.ensure_future(anext(transport.recv()))
            await until(lambda: len(transport._connection.session.listeners) >= 3)
            closing = asyncio.ensure_future(transport.close())
            with pytest.raises(ClosedError, match="transport is closed"):
                await soon(waiting)
            assert not closing.done()
            gate.set()
            await soon(closing)

    asyncio.run(main())


@pytest.mark.parametrize("given_up", [False, True])
def test_who_closes_meanwhile_waits_for_the_end_too(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch, given_up: bool
) -> None:
    gate, close = threading.Event(), Connection.close

    def late(connection: Connection) -> None:
        assert gate.wait(60)
        close(connection)

    monkeypatch.setattr(Connection, "close", late)

    async def main() -> None:
        transport = await ringroom.aio.transport("fake", room=fake_room, io="thread").open()
        first = asyncio.create_task(transport.close())
        await asyncio.sleep(0)
        second = asyncio.create_task(transport.close())  # while the first still leaves
        await asyncio.sleep(0)
        assert not first.done()
        assert not second.done()
        if given_up:
            first.cancel()
        session = transport._connection.session
        await until(lambda: session.link.closed or given_up)
        assert not second.done()
        gate.set()
        await soon(second)
        assert session.closed
        await asyncio.wait([first])

    asyncio.run(main())


def test_a_cancelled_close_still_closes(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room) as transport:
            closing = asyncio.create_task(transport.close())
            await asyncio.sleep(0)
            await cancelled(closing)
        await until(lambda: not fake_room.participants)

    asyncio.run(main())


LOCKED = {
    Session: (
        "pump",
        "notify",
        "send",
        "request",
        "open_inbox",
        "close_inbox",
        "finish_lane",
        "leave",
        "restart",
        "close",
    ),
    Outgoing: ("lane_for", "push_nowait", "push_unsent", "forget_unsent", "tail", "named", "find"),
    Inbox: ("receive_nowait", "close"),
    Listeners: ("add", "discard"),
}


def test_whatever_touches_the_session_has_the_lock(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receivers are collected, and the connection is closed, on other threads."""
    connections: list[Connection] = []
    without: set[str] = set()

    def belongs(one: Any) -> bool:
        # Others of earlier tests may be collected meanwhile.
        sessions = [connection.session for connection in connections]
        mine = [*sessions, *(session.listeners for session in sessions)]
        return any(one is each for each in mine) or getattr(one, "_session", None) in sessions

    def looking(name: str, method: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if belongs(arguments[0]) and not connections[0].lock._is_owned():  # type: ignore[attr-defined]
                without.add(name)
            return method(*arguments, **options)

        return call

    for owner, names in LOCKED.items():
        for name in names:
            monkeypatch.setattr(owner, name, looking(name, getattr(owner, name)))

    async def main() -> None:
        mic = microphone(fake_room)
        transport = ringroom.aio.transport("fake", room=fake_room, kinds=("audio", "event"))
        async with transport:
            connections.append(transport._connection)
            await asyncio.to_thread(mic.wait_for_subscriber)
            events = transport.recv(kinds=("event",))
            say(mic, 0.1)
            receiver = transport.recv(kinds=("audio",))
            await soon(anext(receiver))
            sending = asyncio.create_task(transport.send(sound(3.0)))
            await until(lambda: transport.stats().sent.sent > 10)
            waiting = asyncio.create_task(transport.wait_playout())
            await asyncio.sleep(0.01)
            assert transport.played() >= 0
            await soon(transport.flush())
            await soon(asyncio.gather(sending, waiting))
            await receiver.aclose()
            os.kill(transport.io_pid or 0, signal.SIGKILL)
            async for event in events:
                if event.kind == EventKind.CONNECTION_BACK:
                    break
            del events
            gc.collect()
            await transport.send_data("after")

    asyncio.run(main())
    assert not without


def test_two_tasks(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room, kinds=("audio", "data")) as transport:
            person = fake_room.join("alice")
            mic = person.publish_audio(sample_rate=RATE)
            await asyncio.to_thread(mic.wait_for_subscriber)

            async def sounds() -> Any:
                return await take(transport.recv(kinds=("audio",)), 1_600)

            async def words() -> Any:
                return await soon(anext(transport.recv(kinds=("data",))))

            both = asyncio.gather(sounds(), words())
            await asyncio.sleep(0)
            with pytest.raises(BusyError):
                transport.recv()
            person.send_data(b"word")
            spoken = say(mic, 0.1)
            heard, word = await both
            assert same(heard, spoken)
            assert isinstance(word, DataFrame)
            first = asyncio.create_task(transport.send(sound(20.0)))
            await until(lambda: transport.stats().sent.sent > 10)
            with pytest.raises(BusyError, match="sends on track 'audio'"):
                await transport.send(sound(0.1))
            seconds = await soon(transport.flush())
            await soon(first)
            assert seconds > 15

    asyncio.run(main())


def test_the_rooms_end_ends_the_loop(fake_room: FakeRoom) -> None:
    async def main() -> None:
        mic = microphone(fake_room)
        async with ringroom.aio.transport("fake", room=fake_room, io="thread", max_age=20.0) as t:
            await asyncio.to_thread(mic.wait_for_subscriber)
            spoken = say(mic, 0.1)
            heard = []
            receiver = t.recv()
            async for frame in receiver:
                if not heard:
                    fake_room.close_room()
                    await until(lambda: t.ended)
                heard.append(frame.samples)
                await t.send(frame)
            assert same(np.concatenate(heard), spoken)
            with pytest.raises(StopAsyncIteration):
                await anext(receiver)
            with pytest.raises(ClosedError, match="the room has ended: room closed"):
                await t.send(sound(0.02))

    asyncio.run(main())


def test_closing_a_receiver(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room) as transport:
            receiver = transport.recv()
            waiting = asyncio.create_task(anext(receiver, None))  # type: ignore[arg-type]
            await asyncio.sleep(0.01)
            await receiver.aclose()
            await receiver.aclose()
            assert await soon(waiting) is None
            await transport.recv().aclose()

    asyncio.run(main())


def test_connection_lost_and_process_killed(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room, reconnect=NEVER_AGAIN) as transport:
            waiting = asyncio.create_task(anext(transport.recv()))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            fake_room.break_connection()
            with pytest.raises(RoomError, match="hung up"):
                await soon(waiting)
        shared = ringroom.IOProcess()
        with shared:
            async with opened(fake_room, io=shared, reconnect=NEVER_AGAIN) as transport:
                tasks = [
                    asyncio.create_task(anext(transport.recv())),  # type: ignore[arg-type]
                    asyncio.create_task(transport.send(sound(20.0))),
                ]
                await until(lambda: transport.stats().sent.sent > 10)
                assert shared.pid is not None
                os.kill(shared.pid, signal.SIGKILL)
                for task in tasks:
                    with pytest.raises(LostProcessError):
                        await soon(task)
            check_law(transport)

    asyncio.run(main())


def test_pictures_and_events(fake_room: FakeRoom) -> None:
    async def main() -> None:
        camera = fake_room.join("alice").publish_video(width=64, height=64)
        async with opened(fake_room, kinds=("video", "event")) as transport:
            await asyncio.to_thread(camera.wait_for_subscriber)
            camera.show(sources.picture(3, 64, 64))
            camera.show(sources.picture(4, 640, 480))
            numbers: list[int] = []
            kinds: list[EventKind] = []
            async for item in transport.recv():
                if isinstance(item, ringroom.Event):
                    kinds.append(item.kind)
                    continue
                numbers.append(sources.picture_number(item))
                await transport.send(item)
                if len(numbers) == 2:
                    break
            assert numbers == [3, 4]
            assert EventKind.TRACK_STARTED in kinds
            footage = await asyncio.to_thread(fake_room.wait_for_video, "alice/camera", 2)
            assert [frame.width for frame in footage.frames] == [64, 640]

    asyncio.run(main())


def test_what_the_resampler_holds_and_what_was_played(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room) as transport:
            await transport.send(sound(0.02))
            await transport.send(AudioFrame(noise(0.1, rate=48_000), 48_000))
            await soon(transport.wait_playout())
            await until(lambda: fake_room.heard().duration == pytest.approx(0.12, abs=0.0002))
            assert transport.played() == pytest.approx(0.12, abs=0.011)
            with pytest.raises(FrameError, match="cannot send a bytes"):
                await transport.send(b"\0\0")  # type: ignore[arg-type]

    asyncio.run(main())


def test_leaving_by_an_exception_does_not_play_out(fake_room: FakeRoom) -> None:
    async def speak_and_raise(transport: ringroom.aio.Transport) -> None:
        async with transport:
            await transport.send(sound(1.5))
            raise KeyError

    async def main() -> None:
        transport = ringroom.aio.transport("fake", room=fake_room, io="thread")
        with pytest.raises(KeyError):
            await speak_and_raise(transport)
        assert transport.stats().sent.lost > 0
        check_law(transport)

    asyncio.run(main())


def test_forgotten_transports_say_so(fake_room: FakeRoom) -> None:
    async def main() -> None:
        await ringroom.aio.transport("fake", room=fake_room, io="thread").open()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(main())  # the loop watches the transport: it is collected after it
        gc.collect()
        until_gone = time.monotonic() + PATIENCE
        while not told and time.monotonic() < until_gone:
            gc.collect()
    assert any("ransport never closed" in str(warning.message) for warning in told)
    fake_room.wait_for_app_gone()


def test_many_cycles_leave_nothing(fake_room: FakeRoom) -> None:
    from ringroom.processes.children import IOThread

    async def main() -> None:
        with IOThread() as shared:

            async def cycle() -> None:
                async with ringroom.aio.transport("fake", room=fake_room, io=shared) as transport:
                    await transport.send_data(b"x")

            await cycle()
            # The role lets go of the last of a session after it has said goodbye.
            await until(lambda: not fake_room.participants)
            before = descriptors()
            for _ in range(40):
                await cycle()
            # Not equal: what the first cycle still held may go meanwhile.
            await until(lambda: descriptors() <= before)

    asyncio.run(main())
