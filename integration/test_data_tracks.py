"""Data tracks with plain clients of LiveKit's SDK: both ways, through losses, to their ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit import rtc

import ringroom
from integration.provider_kit import WAYS, Recorder, Server, connected, permit, run, until
from ringroom.errors import RoomError
from ringroom.events import EventKind, Kind
from ringroom.frames import DataTrackFrame
from ringroom.options import PublishOptions
from ringroom.providers.provider import OutgoingTrack, Playout
from ringroom.testing.server import LiveKitServer
from ringroom.testing.simulation.laws import check_counts

LIDAR = OutgoingTrack(name="lidar", kind=Kind.DATA_TRACK, options=PublishOptions())
ONLY = {"kinds": (Kind.DATA_TRACK,)}
FULL = rtc.SimulateScenarioKind.Value("SIMULATE_FULL_RECONNECT")
# Between two frames: of what comes in a heap more is lost.
PACE = 0.02


class Robot:
    """A plain client that sends on a data track all the time, and reads those of the others."""

    def __init__(self, room: Any) -> None:
        self.room = room
        self.read: dict[str, list[tuple[bytes, int | None]]] = {}
        self.over: list[str] = []
        self.sent = 0
        self._tasks: set[asyncio.Task[None]] = set()
        room.on("data_track_published", lambda track: self._spawn(self._read(track)))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, track: Any) -> None:
        name = track.info.name
        stream = track.subscribe()
        try:
            async for frame in stream:
                self.read.setdefault(name, []).append((frame.payload, frame.user_timestamp))
        finally:
            stream.close()
            self.over.append(name)

    async def publish(self, name: str) -> Any:
        local = await self.room.local_participant.publish_data_track(name=name)
        self._spawn(self._push(local))
        return local

    async def _push(self, local: Any) -> None:
        while True:
            with contextlib.suppress(rtc.PushFrameError):
                local.try_push(rtc.DataTrackFrame(b"%d" % self.sent, self.sent))
                self.sent += 1
            await asyncio.sleep(PACE)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def robot(url: str, token: str) -> AsyncIterator[Robot]:
    room = rtc.Room()
    made = Robot(room)
    await room.connect(url, token, rtc.RoomOptions(auto_subscribe=False))
    try:
        yield made
    finally:
        await made.close()
        await room.disconnect()


async def keep_playing(playout: Playout) -> None:
    number = 0
    while True:
        await playout.play(DataTrackFrame(b"%d" % number, timestamp=number))
        number += 1
        await asyncio.sleep(PACE)


@asynccontextmanager
async def playing(playout: Playout) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(keep_playing(playout))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


def comes(read: Callable[[], list[Any]]) -> Callable[[], bool]:
    """Whether more has come since now."""
    before = len(read())
    return lambda: len(read()) > before + 5


@WAYS
def test_frames_go_both_ways_and_tracks_end(server: Server, sdk_path: str) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with (
            robot(server.url, server.token("ann")) as ann,
            connected(server.spec(sdk_path=sdk_path), sink, **ONLY) as app,
        ):
            local = await ann.publish("arm")
            await until(lambda: sink.tracks and len(sink.tracks[0].readings) > 5, "frames")
            track = sink.tracks[0]
            assert (track.info.name, track.info.kind) == ("arm", Kind.DATA_TRACK)
            numbers = [timestamp for _, timestamp in track.readings]
            assert track.readings == [(b"%d" % number, number) for number in numbers]
            assert numbers == sorted({*numbers})
            await local.unpublish()
            await until(lambda: track.ended is not None, "the end")
            await until(lambda: EventKind.TRACK_UNPUBLISHED in sink.kinds(of="ann"), "its event")

            playout = await app.publish(LIDAR)
            async with playing(playout):
                await until(lambda: len(ann.read.get("lidar", ())) > 5, "frames of ours")
            await playout.close()
            await until(lambda: ann.over == ["lidar"], "the end of ours")
            assert ann.read["lidar"] == [(b"%d" % n, n) for _, n in ann.read["lidar"]]
            again = await app.publish(LIDAR)  # the name is free
            await again.close()

    run(scenario())


def test_the_last_frame_before_the_end_arrives(server: Server) -> None:
    """Without a wait it would be lost each time. Lossy it is: now and then one may be."""

    async def scenario() -> None:
        async with (
            robot(server.url, server.token("ann")) as ann,
            connected(server.spec(), Recorder(), **ONLY) as app,
        ):

            async def arrives() -> bool:
                ann.read.clear()
                playout = await app.publish(LIDAR)
                async with playing(playout):
                    await until(lambda: ann.read, "frames of ours")
                await playout.play(DataTrackFrame(b"last"))
                await playout.close()
                ann.over.clear()
                with contextlib.suppress(AssertionError):
                    await until(lambda: ann.read["lidar"][-1][0] == b"last", "the last", 1.0)
                    return True
                return False

            assert any([await arrives() for _ in range(5)])

    run(scenario())


@pytest.mark.parametrize("whose", ["ours", "the other's"])
def test_both_ways_go_on_after_a_full_reconnection(server: Server, whose: str) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with (
            robot(server.url, server.token("ann")) as ann,
            connected(server.spec(), sink, **ONLY) as app,
        ):
            await ann.publish("arm")
            playout = await app.publish(LIDAR)
            async with playing(playout) as task:

                def heard() -> list[Any]:
                    return [one for track in sink.tracks for one in track.readings]

                def read() -> list[Any]:
                    return ann.read.get("lidar", [])

                await until(comes(heard), "frames")
                await until(comes(read), "frames of ours")
                room = app._opened.room if whose == "ours" else ann.room  # type: ignore[attr-defined]
                back = asyncio.Event()
                room.on("reconnected", back.set)
                await room.simulate_scenario(FULL)
                async with asyncio.timeout(40):
                    await back.wait()
                await until(comes(heard), "frames after it", 40)
                await until(comes(read), "frames of ours after it", 40)
                assert not task.done()
            assert len([track for track in sink.tracks if track.ended is None]) == 1

    run(scenario())


def test_the_right_to_send_data_is_asked_for_and_taken_away(server: Server) -> None:
    async def scenario() -> None:
        async with (
            robot(server.url, server.token("ann")),
            connected(server.spec(), Recorder(), **ONLY) as app,
        ):
            playout = await app.publish(LIDAR)
            ended: list[RoomError] = []
            playout.on_ended(ended.append)
            await permit(server, can_subscribe=True, can_publish=True, can_publish_data=False)
            await until(lambda: ended, "the end")
            assert ended[0].reason == "publish_refused"
            with pytest.raises(RoomError, match="canPublishData"):
                await playout.play(DataTrackFrame(b"x"))
            with pytest.raises(RoomError, match="canPublishData"):
                await app.publish(LIDAR)

    run(scenario())


def test_what_the_server_refuses_is_told_at_once(server: Server) -> None:
    """The longest name that we take is one that it takes."""

    async def scenario() -> None:
        async with connected(server.spec(), Recorder(), **ONLY) as app:
            longest = OutgoingTrack(name="n" * 256, kind=Kind.DATA_TRACK, options=PublishOptions())
            playout = await app.publish(longest)
            with pytest.raises(RoomError, match="already taken") as caught:
                await app.publish(longest)
            assert caught.value.reason == "publish_refused"
            await playout.close()

    run(scenario())


class Follower:
    """The test's end of a transport: answers what it reads, and keeps it."""

    def __init__(self, transport: ringroom.Transport) -> None:
        self.transport = transport
        self.frames: list[DataTrackFrame] = []
        self.events: list[str] = []

    def run(self) -> None:
        for item in self.transport.recv():
            if isinstance(item, ringroom.Event):
                self.events.append(str(item.kind))
            else:
                assert isinstance(item, DataTrackFrame)
                self.frames.append(item)
                self.transport.send(item.replace(track="answer"))


@pytest.fixture(scope="module")
def own(livekit_server: LiveKitServer) -> Iterator[LiveKitServer]:
    """A server that nobody else uses."""
    assert livekit_server  # that there is one means that another can be had
    with LiveKitServer() as server:
        yield server


@pytest.mark.parametrize("fault", ["none", "io process", "server"])
def test_through_an_io_process(own: LiveKitServer, fault: str) -> None:
    """Also when that dies, and when the server is away for a while."""
    room = own.room()
    options: dict[str, Any] = {"kinds": ("data_track", "event"), "url": room.url}

    async def scenario(t: ringroom.Transport, follower: Follower) -> None:
        async with robot(room.url, room.token("ann")) as ann:
            await ann.publish("arm")

            async def flows(what: str) -> None:
                frames = comes(lambda: follower.frames)
                answers = comes(lambda: ann.read.get("answer", []))
                await until(lambda: frames() and answers(), what, 60)

            await flows("frames and answers")
            if fault == "io process":
                assert t.io_pid is not None
                os.kill(t.io_pid, signal.SIGKILL)
            elif fault == "server":
                await asyncio.to_thread(own.stop)
                await asyncio.to_thread(own.start)
            if fault != "none":
                await until(lambda: "connection_back" in follower.events, "the connection", 60)
                await flows("frames and answers after it")

    with ringroom.transport("livekit", token=lambda: room.token("app"), **options) as t:
        follower = Follower(t)

        async def both() -> None:
            reading = asyncio.ensure_future(asyncio.to_thread(follower.run))
            try:
                await scenario(t, follower)
            finally:
                await asyncio.to_thread(t.close)
                with contextlib.suppress(ringroom.ClosedError):
                    await reading

        asyncio.run(both())
        stats = t.stats()
    check_counts(stats.lanes, over=True)
    lanes = {(lane.direction, lane.track) for lane in stats.lanes if lane.kind == "data_track"}
    assert lanes >= {("in", "arm"), ("out", "answer")}
