"""The asyncio face sends: waits for the playout, flushes and unpublishes, cancelled or not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import ringroom
from aio_kit import cancelled, opened, readers, soon, stopped_in_time, until
from app_kit import (
    RATE,
    noise,
    published_late,
    same,
    sound,
)
from ringroom.dtmf import DtmfFrame
from ringroom.errors import (
    BusyError,
    ConfigurationError,
    FrameError,
    RoomError,
)
from ringroom.frames import AudioFrame, FileFrame, TextFrame
from ringroom.options import PublishOptions
from ringroom.processes.hosts import IOHost
from ringroom.testing import FakeRoom, VirtualClock, sources


def test_a_track_is_unpublished_once_it_has_played(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    async def main() -> None:
        async with opened(fake_room, io=virtual_clock.io) as transport:
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

    virtual_clock.run(main())


def test_leaving_plays_out_a_track_that_is_ending(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    async def main() -> None:
        # In virtual time: or the answer and the end may come in one moment.
        io = virtual_clock.io
        async with ringroom.aio.transport("fake", room=fake_room, io=io) as transport:
            await soon(transport.send(sound(0.8)))
            ending = asyncio.create_task(transport.unpublish())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await soon(ending)
        # The last of it may still be on its way to the room.
        await until(lambda: len(fake_room.heard().samples) == pytest.approx(0.8 * RATE, abs=1))

    virtual_clock.run(main())


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
            listeners = transport._connection.session.listeners
            before = len(listeners)
            sending = asyncio.create_task(transport.send(sound(20.0)))
            # It waits for room, and is not in the middle of a piece.
            await until(lambda: transport.stats().sent.sent > 10 and len(listeners) > before)
            await cancelled(sending)
            assert len(listeners) == before
            taken = transport.stats().sent.sent
            flushed = await soon(transport.flush())
            sent = pytest.approx(taken / 10, abs=0.03)
            await until(lambda: flushed + fake_room.heard().duration == sent)
            await soon(transport.send(sound(0.5, 9)))
            waiting = asyncio.create_task(transport.wait_playout())
            await asyncio.sleep(0.01)
            before = readers()
            await cancelled(waiting)
            assert readers() <= before
            await soon(transport.wait_playout())
            await until(lambda: same(fake_room.heard().samples[-8_000:], noise(0.5, 9)))
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


def test_an_answer_that_nobody_waits_for_any_more_is_not_kept(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    async def main() -> None:
        async with opened(fake_room, io=virtual_clock.io) as transport:
            session = transport._connection.session
            await transport.send(sound(0.3))
            waiting = asyncio.create_task(transport.wait_playout())
            await until(lambda: session.requests.unanswered)
            await cancelled(waiting)
            await soon(transport.wait_playout())
            await until(lambda: not session.requests.unanswered)
            assert not session.requests.answers

    virtual_clock.run(main())


def test_a_flush_reaches_who_waits_for_the_track(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = published_late(monkeypatch)

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


def test_who_sends_without_a_pause_holds_up_nobody() -> None:
    """What is live never waits for room."""

    async def send(transport: ringroom.aio.Transport) -> None:
        for _ in range(500):
            await transport.send(sound(0.02), publish=PublishOptions(mode="live"))
            clock.sleep(0.004)  # work

    async def main() -> None:
        async with ringroom.aio.transport("fake", room=room, io=clock.io) as transport:
            await stopped_in_time(clock, send(transport))

    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        clock.run(main())


def test_a_long_frame_is_converted_while_others_have_the_loop(fake_room: FakeRoom) -> None:
    """Of a live one too, which never waits for room."""

    async def main() -> None:
        async with opened(fake_room) as transport:
            await soon(transport.send(sound(0.02), publish=PublishOptions(mode="live")))
            await until(lambda: transport.played() > 0)
            sending = asyncio.create_task(transport.send(sound(20.0, rate=48_000)))
            sent = await until(lambda: (count := transport.stats().sent.sent) > 1 and count)
            assert sent < 201, "it had the loop for itself"
            await soon(sending)
            assert transport.stats().sent.sent == 201

    asyncio.run(main())


def test_texts_go_out_and_come_in(fake_room: FakeRoom) -> None:
    async def main() -> None:
        ann = fake_room.join("ann")
        options = {"kinds": ("data",), "text_topics": ("lk.chat",)}
        async with opened(fake_room, **options) as transport:
            await soon(transport.send_text("grüße", topic="t", to=["ann"], attributes={"a": "b"}))
            await until(lambda: ann.received)
            [sent] = ann.received
            assert isinstance(sent, TextFrame)
            assert (sent.text, sent.topic, sent.attributes) == ("grüße", "t", {"a": "b"})
            ann.send_text("hello", topic="lk.chat")
            receiver = transport.recv()
            got = await soon(anext(receiver))
            assert isinstance(got, TextFrame)
            assert (got.text, got.participant) == ("hello", "ann")

    asyncio.run(main())


def test_digits_go_out_and_come_in(fake_room: FakeRoom) -> None:
    async def main() -> None:
        ann = fake_room.join("ann")
        async with opened(fake_room, kinds=("data",), dtmf=True) as transport:
            with pytest.raises(FrameError, match="'x' is no digit"):
                await transport.send_dtmf("1x")
            await soon(transport.send_dtmf("42#"))
            await until(lambda: len(ann.received) == 3)
            assert [type(frame) for frame in ann.received] == [DtmfFrame] * 3
            assert b"".join(frame.payload for frame in ann.received) == b"42#"
            ann.press("*")
            got = await soon(anext(transport.recv()))
            assert isinstance(got, DtmfFrame)
            assert (got.digit, got.participant) == ("*", "ann")

    asyncio.run(main())


def test_files_go_out_and_come_in(fake_room: FakeRoom, tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(bytes(3 << 20))

    async def main() -> None:
        ann = fake_room.join("ann")
        options = {"kinds": ("data",), "file_topics": ("photos",)}
        async with opened(fake_room, **options) as transport:
            await soon(transport.send_file(photo, topic="t", to=["ann"], attributes={"a": "b"}))
            await soon(transport.send_file(b"x", name="b"))
            await until(lambda: len(ann.received) == 2)
            sent, small = ann.received
            assert isinstance(sent, FileFrame)
            assert isinstance(small, FileFrame)
            assert (sent.payload, sent.topic, sent.name) == (bytes(3 << 20), "t", "a.jpg")
            assert (sent.mime_type, sent.attributes) == ("image/jpeg", {"a": "b"})
            assert (small.payload, small.name) == (b"x", "b")
            with pytest.raises(FileNotFoundError):
                await soon(transport.send_file(tmp_path / "none"))
            ann.send_file(photo, topic="photos")
            receiver = transport.recv()
            got = await soon(anext(receiver))
            assert isinstance(got, FileFrame)
            assert (got.payload, got.participant) == (bytes(3 << 20), "ann")

    asyncio.run(main())


def test_a_path_is_read_while_the_loop_goes_on(fake_room: FakeRoom, tmp_path: Path) -> None:
    """It may be that of a pipe, or on a disk that sleeps."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def main() -> None:
        async with opened(fake_room) as transport:
            sending = asyncio.create_task(transport.send_file(pipe, topic="t"))
            await asyncio.sleep(0)
            pipe.write_bytes(b"from the other end")
            await soon(sending)
            fake_room.wait_for_data("t")

    asyncio.run(main())
    assert fake_room.wait_for_data("t")[0].payload == b"from the other end"


def test_pictures_filled_in_place(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room) as transport:
            for number in range(3):
                async with transport.fill_video(64, 48) as frame:
                    assert not frame.data.flags.owndata
                    frame.data[:] = sources.picture(number, 64, 48).data
                    with pytest.raises(BusyError):
                        await soon(transport.send(frame))
            with pytest.raises(ZeroDivisionError):
                async with transport.fill_video(64, 48):
                    raise ZeroDivisionError
            await soon(transport.wait_playout())
        frames = fake_room.wait_for_video(count=3).frames
        assert [sources.picture_number(frame) for frame in frames] == [0, 1, 2]

    asyncio.run(main())


def test_a_cancelled_block_frees_its_track(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room) as transport:
            begun = asyncio.Event()

            async def hang() -> None:
                async with transport.fill_video(64, 48):
                    begun.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(hang())
            await soon(begun.wait())
            await cancelled(task)
            await soon(transport.send(sources.picture(1, 64, 48)))
            await soon(transport.wait_playout())
        (frame,) = fake_room.wait_for_video(count=1).frames
        assert sources.picture_number(frame) == 1

    asyncio.run(main())
