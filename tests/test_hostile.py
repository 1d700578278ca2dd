"""What a hostile participant does to an application that is not looking: nothing but lost frames.

The provider here stands for a network that lets everything through, worse than any server does.
It calls the sink as fast as it can, and then says a message that must still arrive.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import check_law, descriptors, until
from ringroom.colour import i420_size
from ringroom.errors import RpcError
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.frames import DataFrame
from ringroom.options import SessionOptions
from ringroom.processes.io import inbound_lanes
from ringroom.processes.io.admission import MAX_TRACKS_OF_ONE
from ringroom.processes.io.open_calls import MAX_OPEN
from ringroom.providers.provider import (
    Joined,
    OutgoingTrack,
    Playout,
    Provider,
    ProviderSpec,
    Sink,
)
from ringroom.sessions import accounts

ALL = ("audio", "video", "data", "event")
PCM = memoryview(np.zeros(320, np.int16))


def track(sid: str, who: str = "eve", kind: Kind = Kind.AUDIO, name: str = "x") -> TrackInfo:
    return TrackInfo(sid=sid, name=name, kind=kind, participant=who)


def person(who: str = "eve", **fields: Any) -> Participant:
    return Participant(identity=who, **fields)


@dataclass(frozen=True, kw_only=True)
class Hostile(ProviderSpec):
    name = "hostile"
    rpc = True
    deed: str

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        return HostileProvider(self.deed)


class HostileProvider(Provider):
    def __init__(self, deed: str) -> None:
        self.deed = deed
        self.task: asyncio.Task[None] | None = None
        self.calling: list[asyncio.Task[int]] = []

    async def connect(self, sink: Sink, options: SessionOptions) -> Joined:
        self.sink = sink
        self.task = asyncio.create_task(self.run())
        return Joined(room="room", identity="app")

    async def run(self) -> None:
        await getattr(self, self.deed)()
        for _ in range(3_000):  # a full mailbox drops it; until it is read
            self.sink.data(DataFrame(b"alive", topic="end"))
            await asyncio.sleep(0.01)

    async def publish(self, track: OutgoingTrack) -> Playout:
        raise NotImplementedError

    async def send_data(self, frame: DataFrame) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        for task in (self.task, *self.calling):
            if task is not None:
                task.cancel()

    async def nothing(self) -> None:
        """What is imported and made once is there before anybody measures."""

    async def joins(self) -> None:
        for number in range(10_000):
            # Each has a text of its own: one that all share costs nothing, however many are kept.
            who = person(f"eve-{number}", name="n" * 100, metadata=f"{number:0>8000}")
            for kind in (EventKind.PARTICIPANT_JOINED, EventKind.PARTICIPANT_LEFT):
                self.sink.event(Event(kind=kind, participant=who))

    async def messages(self) -> None:
        for _ in range(10_000):
            self.sink.data(DataFrame(b"x" * 10_000, topic="flood", participant="eve"))

    async def calls(self) -> None:
        """Long ones, of many, who wait for ever."""

        async def call(number: int) -> int:
            try:
                await self.sink.call("m", "x" * 15_000, f"eve-{number % 40}", 1e300)
            except RpcError as error:
                return error.code
            return 0

        self.calling = [asyncio.create_task(call(number)) for number in range(10_000)]
        done, waiting = await asyncio.wait(self.calling, timeout=0.5)
        assert len(waiting) <= MAX_OPEN
        assert {task.result() for task in done} == {RpcError.APPLICATION_ERROR}
        for _ in range(100):
            with pytest.raises(RpcError):
                await self.sink.call("m", "x" * 100_000, "eve", 1e300)

    async def tracks(self) -> None:
        sinks = []
        for number in range(500):
            info = track(f"T{number}")
            if self.sink.wants(info, person()):
                sinks.append(self.sink.open_track(info, person()))
        assert len(sinks) == MAX_TRACKS_OF_ONE
        for number in range(500, 600):  # and those that do not ask
            sinks.append(self.sink.open_track(track(f"T{number}"), person()))
        for sink in sinks:
            sink.audio(PCM, 16_000, 1)
            sink.muted(True)
            sink.close()

    async def flapping(self) -> None:
        """New names, new tracks, for ever."""
        for number in range(800):
            info = track(f"T{number}", f"eve-{number}", name=f"n{number}")
            if self.sink.wants(info, person(info.participant)):
                sink = self.sink.open_track(info, person(info.participant))
                sink.audio(PCM, 16_000, 1)
                sink.close()
            self.sink.event(
                Event(kind=EventKind.TRACK_UNPUBLISHED, participant=person(), track=info)
            )
            await asyncio.sleep(0)

    async def growing(self) -> None:
        """A picture that grows with every frame, then sizes that no reader can decode."""
        sink = self.sink.open_track(track("V", kind=Kind.VIDEO), person())
        for side in range(2, 400, 2):
            self.picture(sink, side, side)
        for side in (2, 300) * 50:
            self.picture(sink, side, 300)
        for size in ((1, 1), (0, 0), (16_384, 2), (-2, 2), (2, 1 << 31)):
            sink.video(memoryview(bytes(6)), size, 0, 0)
        for rotation in (45, -90, 1 << 40):
            sink.video(memoryview(bytes(6)), (2, 2), rotation, 0)
        sink.video(memoryview(b""), (2, 2), 0, 0)

    @staticmethod
    def picture(sink: Any, width: int, height: int) -> None:
        sink.video(memoryview(bytes(i420_size(width, height))), (width, height), 0, 0)

    async def huge(self) -> None:
        """8K from sixty cameras: more than there is memory for."""
        picture = memoryview(bytes(i420_size(7_680, 4_320)))
        for number in range(60):
            sink = self.sink.open_track(track(f"V{number}", kind=Kind.VIDEO), person())
            for _ in range(3):
                sink.video(picture, (7_680, 4_320), 0, 0)

    async def readings(self) -> None:
        """Frames of data tracks that grow with each, and sizes that none may have."""
        for number in range(40):
            sink = self.sink.open_track(track(f"D{number}", kind=Kind.DATA_TRACK), person())
            for size in (*range(1, 2_000_000, 97_000), 0, 2_000_001, 50_000_000):
                sink.reading(memoryview(bytes(size)), 1 << 63)

    async def nonsense(self) -> None:
        sink = self.sink.open_track(track("A"), person())
        for pcm, rate, channels in ((b"", 16_000, 1), (b"abc", 16_000, 1), (b"ab", 0, 1)):
            sink.audio(memoryview(pcm), rate, channels)
        sink.audio(PCM, 16_000, 7)
        for _ in range(5_000):
            sink.muted(True)
            sink.muted(False)

    async def texts(self) -> None:
        big = "é\0\x1b[2J" * 100_000
        for text in (big, "", "\ud800", "\n" * 70_000):
            who = person(
                text, sid=text, name=text, metadata=text, attributes={text: text, "a": text}
            )
            info = track(text, text, name=text)
            for kind in EventKind:
                if kind is not EventKind.DISCONNECTED:
                    self.sink.event(Event(kind=kind, participant=who, track=info, reason=text))
            if self.sink.wants(info, who):
                self.sink.open_track(info, who).audio(PCM, 16_000, 1)
        legal = person(metadata="\x01" * 60_000, attributes={"a": "\x01" * 60_000})
        self.sink.event(Event(kind=EventKind.PARTICIPANT_CHANGED, participant=legal))


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# What a deed may make the process grow by: 8 MiB may wait to be read, `small_limits` is for the
# lanes, and the rest is Python's.
MOST_MIB = {"messages": 24, "calls": 24, "flapping": 24, "huge": 256 + 32, "readings": 256 + 32}


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test need not fill a GiB, nor open thousands of lanes."""
    monkeypatch.setattr(inbound_lanes, "MAX_LANES_BYTES", 256 << 20)
    monkeypatch.setattr(accounts, "MAX_REMEMBERED", 200)


@pytest.mark.parametrize(
    "deed",
    [
        *(
            "joins",
            "messages",
            "calls",
            "tracks",
            "growing",
            "huge",
            "readings",
            "nonsense",
            "texts",
        ),
        pytest.param("flapping", marks=pytest.mark.once),
    ],
)
def test_the_io_role_lives_and_says_it_once(
    deed: str, small_limits: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with ringroom.transport(Hostile(deed="nothing"), io="thread", kinds=ALL) as t:
        next(t.recv(timeout=50))
    held = resident()
    hostile = Hostile(deed=deed)
    with ringroom.transport(hostile, io="thread", kinds=ALL, rpc_methods=("m",)) as t:
        grown = 0
        for item in t.recv(timeout=50):
            grown = max(grown, resident() - held)
            if isinstance(item, DataFrame) and item.topic == "end":
                break
        check_law(t)
        assert t.ended is None
        if deed == "flapping":
            # What was read is folded once its rows were told to be final.
            until(lambda: len(t.stats().lanes) < 600, "most lanes to be folded into one")
    assert grown < MOST_MIB.get(deed, 16) << 20, f"{grown >> 20} MiB"
    assert len(caplog.records) < 15, [record.message for record in caplog.records]
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


def test_an_application_that_does_not_read_costs_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inbound_lanes, "MAX_LANES", 50)
    before = descriptors()
    with ringroom.transport(Hostile(deed="flapping"), io="thread", kinds=ALL) as t:
        until(lambda: "has 50 lanes" in caplog.text, "the limit to be met", timeout=50)
        with t._connection.lock:
            t._connection.session.pump()  # what waits in the link comes out of it
        # Four of each lane are the writer's, with that of its mapping, and four the reader's.
        assert descriptors() - before < 50 * 8 + 20
        items = t.recv(timeout=50)
        assert any(isinstance(item, DataFrame) and item.topic == "end" for item in items)
        check_law(t)
    assert caplog.text.count("reads them too slowly") == 1
