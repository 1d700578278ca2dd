"""Tracks of ours that we mute, as somebody else in the room hears them and is told of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from livekit import api

import ringroom
from integration.provider_kit import RATE, Peer, Server, peer, run, tone, until
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.testing import faults
from ringroom.testing.server import LiveKitServer

BLOCK = 0.02
LOUD = 1_000
SPOKEN, SECRET, AFTER = 440.0, 880.0, 660.0
BRIGHT = VideoFrame.from_gray(np.full((240, 320), 200, np.uint8))


@contextlib.asynccontextmanager
async def sending(server: Server, **options: Any) -> AsyncIterator[ringroom.aio.Transport]:
    access = {"url": server.url, "token": lambda: server.token("app")}
    async with ringroom.aio.transport("livekit", kinds=("event",), **access, **options) as app:
        yield app


async def say(app: ringroom.aio.Transport, frequency: float, seconds: float) -> None:
    """Until it has played, to whomever."""
    await app.send(AudioFrame(tone(frequency, 0, round(seconds * RATE)), RATE))
    await app.wait_playout()


def blocks(ann: Peer, since: int = 0) -> np.ndarray:
    """What was heard, from that sample on, in blocks: shape (blocks, samples)."""
    sound = np.concatenate([np.zeros(0, np.int16), *ann.heard.get("audio", [])])[since:]
    length = round(BLOCK * RATE)
    return sound[: len(sound) // length * length].reshape(-1, length)


def length(ann: Peer) -> int:
    return sum(len(part) for part in ann.heard.get("audio", []))


def seconds_of(frequency: float, heard: np.ndarray) -> float:
    """How long that tone was heard."""
    loud = heard[np.abs(heard.astype(int)).max(axis=1) > LOUD]
    if not len(loud):
        return 0.0
    spectrum = np.abs(np.fft.rfft(loud * np.hanning(loud.shape[1]), 4 * loud.shape[1], axis=1))
    peaks = spectrum.argmax(axis=1) * RATE / (4 * loud.shape[1])
    return float(np.sum(np.abs(peaks - frequency) < 60)) * BLOCK


def amplitude_of(frequency: float, heard: np.ndarray) -> float:
    """That of the tone in all that was heard: 20 ms of it among 2 s are a hundredth of its own."""
    turns = np.exp(2j * np.pi * frequency / RATE * np.arange(heard.size))
    return float(2 * np.abs(turns @ heard.reshape(-1)) / heard.size)


def told(ann: Peer, name: str = "audio") -> bool | None:
    """Whether the track is muted, as she was told; None while she knows of none."""
    us = ann.room.remote_participants.get("app")
    tracks = {} if us is None else {one.name: one for one in us.track_publications.values()}
    return bool(tracks[name].muted) if name in tracks else None


async def bytes_received(ann: Peer) -> int:
    (publication,) = ann.room.remote_participants["app"].track_publications.values()
    for one in await publication.track.get_stats():
        if one.HasField("inbound_rtp"):
            return int(one.inbound_rtp.inbound.bytes_received)
    raise AssertionError("no statistics of the track")


@pytest.mark.parametrize("sdk_path", ["direct", "public"])
def test_nothing_is_heard_meanwhile_and_then_the_first_words_are(
    server: Server, sdk_path: str
) -> None:
    async def scenario() -> None:
        async with peer(server) as ann, sending(server, sdk_path=sdk_path) as app:
            await say(app, SPOKEN, 1.0)
            await until(lambda: ann.hears("audio", SPOKEN), "the track")
            spoken = await bytes_received(ann)
            await say(app, SPOKEN, 2.0)
            spoken = await bytes_received(ann) - spoken
            await app.mute()
            await until(lambda: told(ann) is True, "being told")
            await say(app, SECRET, 0.5)  # what was on its way has come
            muted_at, muted = length(ann), await bytes_received(ann)
            await say(app, SECRET, 2.0)
            muted = await bytes_received(ann) - muted
            silence = blocks(ann, muted_at)
            assert len(silence) * BLOCK > 1.5, "frames come on, 50 a second"
            assert not silence.any()
            assert muted < spoken / 2, f"{muted} bytes in 2 s, unmuted {spoken}"
            await app.unmute()
            await say(app, AFTER, 1.0)
            await until(lambda: told(ann) is False, "being told")
            await until(
                lambda: seconds_of(AFTER, blocks(ann, muted_at)) > 0.9, "all that was said then"
            )
            assert seconds_of(SECRET, blocks(ann)) == 0.0

    run(scenario())


def test_what_the_source_has_is_not_heard_either(server: Server) -> None:
    async def scenario() -> None:
        options = ringroom.PublishOptions(queue_ms=1000)
        async with peer(server) as ann, sending(server, publish=options) as app:
            await say(app, SPOKEN, 1.0)
            await until(lambda: ann.hears("audio", SPOKEN), "the track")
            before = app.played()
            await app.send(AudioFrame(tone(AFTER, 0, 3 * RATE), RATE))
            await until(lambda: app.played() - before > 0.3, "some of it")
            await app.mute()
            played = app.played() - before
            await app.wait_playout()
            assert app.played() - before == pytest.approx(3.0, abs=0.1)
            assert seconds_of(AFTER, blocks(ann)) < played + 0.3

    run(scenario())


def test_what_we_have_muted_stays_muted_though_the_server_unmutes_it(server: Server) -> None:
    async def unmute(ann: Peer) -> None:
        (ours,) = ann.room.remote_participants["app"].track_publications.values()
        request = api.MuteRoomTrackRequest(
            room=server.room, identity="app", track_sid=ours.sid, muted=False
        )
        await server.admin(lambda rooms: rooms.mute_published_track(request))

    async def scenario() -> None:
        async with peer(server) as ann, sending(server) as app:
            await app.mute()
            speaking = asyncio.create_task(forever(app))
            await until(lambda: told(ann) is True, "being told")
            states = States(ann)
            await unmute(ann)
            await until(lambda: states.unmuted == 1, "what the server does")
            await until(lambda: told(ann) is True, "what we do")
            await unmute(ann)
            await until(lambda: states.unmuted == 2, "what the server does once more")
            heard = length(ann)
            await until(lambda: length(ann) > heard + RATE, "silence, for a second")
            assert told(ann) is False, "it is left at that"
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
            # What else is in it is the codec's: of silence it makes samples of 1 or 2.
            assert amplitude_of(SECRET, blocks(ann)) < 1
            await app.flush()
            await app.unmute()
            await say(app, AFTER, 1.0)
            await until(lambda: seconds_of(AFTER, blocks(ann)) > 0.8, "what was said then")
            assert seconds_of(SECRET, blocks(ann)) == 0.0

    run(scenario())


def test_pictures(server: Server) -> None:
    async def scenario() -> None:
        async with peer(server) as ann, sending(server) as app:

            async def shown() -> bool:
                await app.send(BRIGHT)
                return bool(ann.seen.get("video")) and is_bright(ann)

            await asked_until(shown)
            await app.mute("video")
            await until(lambda: told(ann, "video") is True, "being told")
            seen = len(ann.seen["video"])
            sent = itertools.count()

            async def enough() -> bool:
                await app.send(BRIGHT)
                return next(sent) > 50

            await asked_until(enough)
            later = [one.frame for one in ann.seen["video"][seen:]]
            assert {(one.width, one.height) for one in later} <= {(320, 240), (8, 8)}
            print(f"{len(later)} pictures while muted: {sorted({one.width for one in later})}")
            assert len([one for one in later if one.width == 320]) < 5, "what was on its way"
            await app.unmute("video")
            ann.seen["video"].clear()
            await asked_until(shown)
            assert told(ann, "video") is False

    run(scenario())


def is_bright(ann: Peer) -> bool:
    frame = ann.seen["video"][-1].frame
    return bool(
        frame.width == 320 and np.frombuffer(frame.data, np.uint8)[: 320 * 240].mean() > 150
    )


async def asked_until(condition: Any) -> None:
    async with asyncio.timeout(15):
        while not await condition():
            await asyncio.sleep(BLOCK)


class States:
    """What somebody was told of our tracks, from when they were published on."""

    def __init__(self, ann: Peer) -> None:
        self.published: list[bool] = []
        self.unmuted = 0
        ann.room.on("track_published", self._published)
        ann.room.on("track_unmuted", self._unmuted)

    def _published(self, publication: Any, _: Any) -> None:
        self.published.append(publication.muted)

    def _unmuted(self, *_: Any) -> None:
        self.unmuted += 1


def test_after_the_death_of_the_io_process_it_is_published_muted(server: Server) -> None:
    async def scenario() -> None:
        async with peer(server) as ann, sending(server) as app:
            states = States(ann)
            await app.mute()
            await say(app, SECRET, 0.3)
            await until(lambda: told(ann) is True, "being told")
            faults.killed(app.io_pid)
            await say(app, SECRET, 0.3)
            await until(lambda: len(states.published) == 2, "the next publication", 40)
            await say(app, SECRET, 1.0)
            await until(lambda: length(ann) > RATE, "silence, for a second")
            assert states.published == [True, True]
            assert not states.unmuted
            assert not blocks(ann).any()
            await app.unmute()
            await say(app, AFTER, 1.0)
            await until(lambda: seconds_of(AFTER, blocks(ann)) > 0.8, "what was said then")
            assert seconds_of(SECRET, blocks(ann)) == 0.0

    run(scenario())


@pytest.mark.timeout(240)
def test_after_a_restart_of_the_server_it_is_published_muted(own: LiveKitServer) -> None:
    """By the SDK, which has lost its session, or by us in another room."""

    async def scenario() -> None:
        server = Server(own)
        async with sending(server) as app:
            await say(app, SPOKEN, 0.3)
            await app.mute()
            await asyncio.to_thread(own.stop)
            await asyncio.to_thread(own.start)
            async with peer(server) as ann:
                states = States(ann)
                speaking = asyncio.create_task(forever(app))
                await until(lambda: length(ann) > 2 * RATE, "silence, for two seconds", 90)
                speaking.cancel()
                await asyncio.gather(speaking, return_exceptions=True)
                assert told(ann) is True
                assert all(states.published)
                assert not states.unmuted
                assert not blocks(ann).any()
                await app.flush()
                await app.unmute()
                await say(app, AFTER, 1.0)
                await until(lambda: seconds_of(AFTER, blocks(ann)) > 0.8, "what was said then")
                assert seconds_of(SECRET, blocks(ann)) == 0.0

    run(scenario())


async def forever(app: ringroom.aio.Transport) -> None:
    while True:
        await say(app, SECRET, 0.2)
