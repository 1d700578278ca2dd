"""Files (byte streams) with what plain clients make of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit import rtc

import ringroom
from integration.clients import tones
from integration.conftest import Joins
from integration.provider_kit import Peer, Recorder, Server, connected, peer, run, tone, until
from ringroom.checks import MAX_FILE_BYTES
from ringroom.errors import RoomError
from ringroom.events import EventKind
from ringroom.frames import AudioFrame, FileFrame
from ringroom.testing.server import LiveKitRoom
from ringroom.testing.simulation.laws import check_counts

PHOTO = b"\xff\xd8" + b"".join(number.to_bytes(4, "big") for number in range(1 << 20))
FILES = {"kinds": ("data", "event"), "file_topics": ("photos",)}


class Box:
    """What a plain client receives: readers, and what came whole."""

    def __init__(self, room: Any) -> None:
        self.infos: list[Any] = []
        self.whole: list[bytes] = []
        self.broken: list[str] = []
        self.heard = 0
        self._tasks: list[asyncio.Task[None]] = []
        room.register_byte_stream_handler("photos", self._begin)

    def _begin(self, reader: Any, sender: str) -> None:
        self.infos.append(reader.info)
        self._tasks.append(asyncio.create_task(self._read(reader)))

    async def _read(self, reader: Any) -> None:
        pieces = []
        try:
            async for piece in reader:
                pieces.append(piece)
                self.heard += len(piece)
        except Exception as error:  # noqa: BLE001 (whatever the SDK raises)
            self.broken.append(str(error))
        else:
            self.whole.append(b"".join(pieces))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def boxed(server: Server, identity: str) -> AsyncIterator[tuple[Peer, Box]]:
    async with peer(server, identity) as one:
        box = Box(one.room)
        try:
            yield one, box
        finally:
            await box.close()


def test_files_go_both_ways(server: Server, tmp_path: Path) -> None:
    photo = tmp_path / "größe.jpg"
    photo.write_bytes(PHOTO)
    options = {"url": server.url, "token": server.token("app"), **FILES}

    async def scenario(t: ringroom.Transport) -> None:
        async with boxed(server, "ann") as (ann, hers), boxed(server, "ben") as (_, his):
            send = asyncio.to_thread
            await send(t.send_file, photo, topic="photos", attributes={"é": "1"})
            await send(t.send_file, b"for ben", topic="photos", name="b", to=["ben"])
            await send(t.send_file, b"", topic="photos", name="empty")
            await until(lambda: len(his.whole) == 3, "three files")
            await until(lambda: len(hers.whole) == 2, "two files")
            assert sorted(his.whole, key=len) == [b"", b"for ben", PHOTO]
            info = his.infos[0]
            assert (info.name, info.mime_type, info.size) == (photo.name, "image/jpeg", len(PHOTO))
            assert info.attributes.items() >= {("é", "1")}

            us = ann.room.local_participant
            await us.send_file(str(photo), topic="photos", attributes={"a": "é"})
            await us.send_file(str(photo), topic="of no interest")
            writer = await us.stream_bytes("../../x", topic="photos", mime_type="x/y")
            await writer.write(b"in ")
            await writer.write(b"pieces")
            await writer.aclose()
            receiver = t.recv(kinds=("data",), timeout=30)
            first, second = await send(next, receiver), await send(next, receiver)
            assert isinstance(first, FileFrame)
            assert isinstance(second, FileFrame)
            assert first.payload == PHOTO
            assert (first.name, first.mime_type) == (photo.name, "image/jpeg")
            assert first.attributes.items() >= {("a", "é")}
            assert (first.participant, first.topic) == ("ann", "photos")
            assert second.payload == b"in pieces"
            assert (second.name, second.mime_type) == ("../../x", "x/y")

    with ringroom.transport("livekit", **options) as t:
        asyncio.run(scenario(t))
        assert t.stats().received.dropped == 0
    check_counts(t.stats().lanes, over=True)


def test_what_is_too_large_or_breaks_off_is_told(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()

        def told() -> list[str]:
            return [one.reason for one in sink.events if one.kind is EventKind.FILE_FAILED]

        async with connected(server.spec(), sink, **FILES):
            async with peer(server, "ann") as ann:
                us = ann.room.local_participant

                async def begin(payload: bytes) -> Any:
                    writer = await us.stream_bytes("x", topic="photos")
                    await writer.write(payload)
                    return writer

                writer = await begin(bytes(MAX_FILE_BYTES + 1))
                await writer.aclose()
                writer = await begin(b"aborted")
                await writer.aclose(reason="I have lost the thread")
                writer = await us.stream_bytes("x", topic="photos", total_size=10)
                await writer.write(b"short")
                await writer.aclose()
                half = await begin(b"half")
                writer = await begin(bytes(MAX_FILE_BYTES))
                await writer.aclose()
                await until(lambda: sink.messages, "a whole file", 60)
                await until(lambda: EventKind.PARTICIPANT_JOINED in sink.kinds(of="ann"), "ann")
            # Held until here: dropped while the SDK still wrote, it would have ended as if whole.
            del half
            await until(lambda: len(told()) == 4, "four failures")
        assert [len(frame.payload) for frame in sink.messages] == [MAX_FILE_BYTES]
        whys = (
            "exceeds maximum size",
            "lost the thread",
            "incomplete",
            "unexpectedly disconnected",
        )
        for why in whys:
            assert any(why in reason for reason in told()), told()

    run(scenario())


@pytest.mark.parametrize("scenario_name", ["FULL_RECONNECT", "MIGRATION", "SIGNAL_RECONNECT"])
def test_of_a_file_that_is_cut_by_a_new_connection_we_are_told(
    server: Server, scenario_name: str
) -> None:
    """For the others we have left, and come back: they never get the rest of it. A connection that
    is resumed cuts nothing."""

    async def scenario() -> None:
        sink = Recorder()
        async with connected(server.spec(), sink) as app, boxed(server, "ann") as (_, hers):
            room = app._opened.room  # type: ignore[attr-defined]
            file = FileFrame(bytes(MAX_FILE_BYTES), "photos", name="cut")
            sending = asyncio.create_task(app.send_file(file))
            await until(lambda: hers.heard, "its beginning")
            simulated = rtc.SimulateScenarioKind.Value(f"SIMULATE_{scenario_name}")
            await room.simulate_scenario(simulated)
            await asyncio.wait([sending], timeout=60)
            await until(lambda: hers.broken or hers.whole, "its end", 30)
            error = sending.exception()
            if hers.broken:  # unless all of it was out before
                assert isinstance(error, RoomError), "a file of which others have half was sent"
                if scenario_name == "MIGRATION" and sink.ends:  # no other node: the SDK gave up
                    assert error.reason == "disconnected"
                    return
                assert error.reason == "data_refused"
                assert "the connection was made anew" in str(error)
            if scenario_name == "SIGNAL_RECONNECT":
                assert error is None
                assert hers.whole == [file.payload]
            await until(lambda: EventKind.CONNECTION_BACK in sink.kinds(), "the connection", 30)
            await app.send_file(FileFrame(b"whole", "photos"))
            await until(lambda: hers.whole[-1:] == [b"whole"], "another file", 30)

    run(scenario())


def test_a_file_that_is_cancelled_is_never_taken_for_whole(server: Server) -> None:
    async def scenario() -> None:
        async with (
            connected(server.spec(), Recorder()) as app,
            boxed(server, "ann") as (_, hers),
        ):
            sending = asyncio.create_task(app.send_file(FileFrame(bytes(MAX_FILE_BYTES), "photos")))
            await until(lambda: hers.heard, "its beginning")
            assert not sending.done()
            sending.cancel()
            await until(lambda: hers.broken or hers.whole, "its end", 30)
            assert hers.whole == []
            await app.send_file(FileFrame(b"another", "photos"))
            await until(lambda: hers.whole == [b"another"], "another file", 30)

    run(scenario())


def test_our_sound_goes_on_while_a_file_goes_out(
    livekit_room: LiveKitRoom, go_client: Joins
) -> None:
    options = {"url": livekit_room.url, "token": livekit_room.token("app"), "kinds": ()}
    arrived = threading.Event()

    def speak(until: Callable[[], bool], seconds: float) -> None:
        """So much, and then for as long as it takes."""
        count = 0
        while count < seconds * 50 or not until():
            t.send(AudioFrame(tone(440, 320 * count, 320), 16_000, track="voice"))
            count += 1

    async def receive() -> None:
        room = rtc.Room()
        await room.connect(livekit_room.url, livekit_room.token("ben"))
        box = Box(room)
        try:
            await asyncio.to_thread(t.send_file, PHOTO, topic="photos", name="photo.jpg")
            await until(lambda: box.whole == [PHOTO], "the photo", 60)
        finally:
            arrived.set()
            await box.close()
            await room.disconnect()

    with ringroom.transport("livekit", **options) as t:
        ann = go_client("ann")
        speaking = threading.Thread(target=speak, args=(arrived.is_set, 4.0))
        speaking.start()
        ann.wait_for("subscribed", participant="app", track="voice")
        asyncio.run(receive())
        speaking.join()
        t.wait_playout("voice")
        track = ann.leave()["app", "voice"]
    sound = tones.heard(tones.decoded(track["file"])[tones.RATE // 2 : -tones.RATE // 2])
    assert sound.frequency == pytest.approx(440, abs=3)
    assert sound.longest_gap < 0.1
