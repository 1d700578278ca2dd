"""``tracks=`` on a real server: what is left out is never subscribed.

That is the server's word, given to the publisher, who is a plain client of the SDK.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit import rtc

import ringroom
from integration.clients.relay import Relay
from integration.provider_kit import Peer, Server, peer, permit, run, until
from ringroom.events import Event, EventKind, TrackInfo
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.testing import faults

GREY = VideoFrame.from_gray(np.full((240, 320), 128, np.uint8))
MIC = rtc.TrackSource.SOURCE_MICROPHONE
SCREEN = rtc.TrackSource.SOURCE_SCREENSHARE
SCREEN_SOUND = rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO
OWN, SHARED = {"mic", "camera"}, {"screen", "screen's sound"}
# The application's signalling alone goes through a relay, and can be lost.
NOT_RELAYED = 1


class Published:
    """Tracks of a peer, and which of them the server has said to be subscribed."""

    def __init__(self, person: Peer) -> None:
        self._person = person
        self._first: dict[str, asyncio.Task[None]] = {}

    async def all(self) -> None:
        """What is shared comes first, so it was decided about when the rest is received."""
        self._note(await self._person.show("screen", GREY, of=SCREEN))
        await self.sound("screen's sound", SCREEN_SOUND)
        self._note(await self._person.show("camera", GREY))
        await self.sound("mic")

    async def sound(self, name: str, source: int = MIC) -> None:
        self._note(await self._person.speak(name, 440, source))

    def _note(self, publication: Any) -> None:
        waiting = publication.wait_for_subscription()
        self._first[publication.name] = asyncio.create_task(waiting)

    @property
    def subscribed(self) -> set[str]:
        return {name for name, first in self._first.items() if first.done()}

    def stop(self) -> None:
        for first in self._first.values():
            first.cancel()


class Listener:
    """Counts what comes in, by track, and keeps the events."""

    def __init__(self, transport: Any) -> None:
        self.counts: Counter[str] = Counter()
        self.events: list[Event] = []
        self.transport = transport

    async def listen(self) -> None:
        async for item in self.transport.recv():
            if isinstance(item, Event):
                self.events.append(item)
            elif isinstance(item, AudioFrame | VideoFrame) and isinstance(item.track, TrackInfo):
                self.counts[item.track.name] += 1

    def times(self, kind: EventKind) -> int:
        return sum(event.kind is kind for event in self.events)


@contextlib.asynccontextmanager
async def listening(server: Server, url: str = "", **options: Any) -> AsyncIterator[Listener]:
    kinds = ("audio", "video", "event")
    access = {"url": url or server.url, "token": server.token("app")}
    async with ringroom.aio.transport("livekit", kinds=kinds, **access, **options) as transport:
        listener = Listener(transport)
        task = asyncio.create_task(listener.listen())
        yield listener
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def publishing(server: Server) -> AsyncIterator[Published]:
    async with peer(server) as ann:
        published = Published(ann)
        try:
            yield published
        finally:
            published.stop()


@pytest.mark.parametrize(
    ("tracks", "wanted"),
    [
        (["microphone", "camera"], OWN),
        (["screen_share", "screen_share_audio"], SHARED),
        (lambda track: not track.name.startswith("screen"), OWN),
    ],
    ids=["people", "screens", "names"],
)
def test_what_is_left_out_is_never_subscribed(
    server: Server, tracks: Any, wanted: set[str]
) -> None:
    async def scenario() -> None:
        async with publishing(server) as published:
            await published.all()
            async with listening(server, tracks=tracks) as listener:
                counts = listener.counts
                await until(lambda: all(counts[name] > 10 for name in wanted), "all of them")
                # The one that is wanted comes last, when it was decided about the other.
                late, unwanted = (MIC, SCREEN_SOUND) if wanted == OWN else (SCREEN_SOUND, MIC)
                await published.sound("screen, late" if wanted == OWN else "other", unwanted)
                await published.sound("late", late)
                await until(lambda: counts["late"] > 10, "the one that came late")
                received = {*wanted, "late"}
                await until(lambda: published.subscribed >= received, "the server's word")
                assert published.subscribed == received == {*counts}
                lanes = {lane.track for lane in listener.transport.stats().lanes if lane.track}
                assert lanes == received
                assert listener.times(EventKind.TRACK_PUBLISHED) == 6, "all are told"
                faults.killed(listener.transport.io_pid)
                await until(lambda: listener.times(EventKind.CONNECTION_BACK), "another one", 40)
                counts.clear()
                await until(lambda: all(counts[name] > 10 for name in received), "again", 40)
                assert published.subscribed == received == {*counts}

    run(scenario())


def test_a_function_is_asked_once_about_a_publication(server: Server, tmp_path: Path) -> None:
    """When our rights change the provider asks again about all that is not subscribed. After a full
    reconnection each track is a publication of its own."""
    asked = tmp_path / "asked"

    def wanted(track: TrackInfo) -> bool:
        with asked.open("a") as file:
            file.write(f"{track.name}\n")
        return track.source in ("microphone", "camera")

    async def scenario() -> None:
        with Relay(server.url, NOT_RELAYED) as relay:
            async with (
                publishing(server) as published,
                listening(server, relay.url, tracks=wanted) as listener,
            ):
                await published.all()
                counts, every = listener.counts, [*OWN, *SHARED]
                await until(lambda: all(counts[name] > 10 for name in OWN), "all of them")
                await permit(server, can_subscribe=True, can_publish_data=True)
                await published.sound("later")
                await until(lambda: counts["later"] > 10, "the one that came later")
                assert Counter(asked.read_text().splitlines()) == Counter([*every, "later"])
                relay.sever()
                await until(lambda: listener.times(EventKind.CONNECTION_LOST), "a loss", 40)
                # The first try would resume the session, and no track would be published anew.
                await until(lambda: relay.refused > 1, "the session being given up", 40)
                relay.mend()
                await until(lambda: listener.times(EventKind.CONNECTION_BACK), "its end", 40)
                counts.clear()
                own = {*OWN, "later"}
                await until(lambda: all(counts[name] > 10 for name in own), "again", 40)
                assert published.subscribed == own == {*counts}
                assert Counter(asked.read_text().splitlines()) == Counter([*every, "later"] * 2)

    run(scenario())
