"""Who clicks and hears, and who echoes, in `bench.ear`: prints how late the clicks came, in ms.

    python -m bench.contenders.ear person '{"url": ..., "tokens": {...}, "clicks": 60, ...}'

Roles: `person`, a mouth and an ear with the plain SDK; `sdk` and `ringroom`, which send back all
that the mouth says.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
from dataclasses import dataclass

import numpy as np
from livekit import rtc

import ringroom
from ringroom.frames import AudioFrame, Frame

RATE = 48_000
FRAME = RATE // 100
FRAME_SECONDS = 0.01
# Jitter buffers settle, the echo begins.
SETTLE_SECONDS = 4.0
BETWEEN_SECONDS = 1.0
# A click that is later than this is lost.
LATEST_SECONDS = 0.9
LOUD = 2_000
# A source of 50 ms waits as little as a native one can that is fed in time.
QUEUE_MS = 50
JOIN_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to do."""

    url: str
    tokens: dict[str, str]
    clicks: int
    follow: str
    """Whom the ear hears."""


class Person:
    """Clicks, and notes when each is heard."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._said = 0.0
        self._late: list[float] = []
        self._heard = asyncio.Event()

    async def run(self) -> list[float]:
        """Milliseconds, click by click."""
        mouth, ear = rtc.Room(), rtc.Room()
        tasks: list[asyncio.Future[None]] = []

        def subscribed(track: rtc.Track, _: object, who: rtc.RemoteParticipant) -> None:
            if who.identity == self._order.follow:
                tasks.append(asyncio.ensure_future(self._listen(track)))

        ear.on("track_subscribed", subscribed)
        await ear.connect(self._order.url, self._order.tokens["ear"])
        options = rtc.RoomOptions(auto_subscribe=False)
        await mouth.connect(self._order.url, self._order.tokens["mouth"], options)
        source = rtc.AudioSource(RATE, 1, QUEUE_MS)
        track = rtc.LocalAudioTrack.create_audio_track("mouth", source)
        # Without pauses in the stream: no silence that is left out.
        await mouth.local_participant.publish_track(track, rtc.TrackPublishOptions(dtx=False))
        speaking = asyncio.ensure_future(self._speak(source))
        async with asyncio.timeout(JOIN_SECONDS):
            await self._heard.wait()
        await speaking
        return self._late

    async def _speak(self, source: rtc.AudioSource) -> None:
        quiet = np.zeros(FRAME, np.int16)
        click = (15_000 * np.sin(np.arange(FRAME) * 2 * np.pi * 1_000 / RATE)).astype(np.int16)
        between = round(BETWEEN_SECONDS / FRAME_SECONDS)
        began, first = time.monotonic(), None
        for number in itertools.count():
            if first is None and self._heard.is_set():
                first = number + round(SETTLE_SECONDS / FRAME_SECONDS)
            since = -1 if first is None else number - first
            if since >= between * self._order.clicks:
                return
            await asyncio.sleep(began + number * FRAME_SECONDS - time.monotonic())
            samples = quiet
            if since >= 0 and since % between == 0:
                samples, self._said = click, time.monotonic()
            elif source.queued_duration > FRAME_SECONDS:
                # After a moment without the processor, as while the application starts: what has
                # come in a heap would wait before every click to come.
                continue
            await source.capture_frame(rtc.AudioFrame(samples.tobytes(), RATE, 1, FRAME))

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=10)
        async for event in stream:
            now = time.monotonic()
            self._heard.set()
            loud = np.abs(np.frombuffer(event.frame.data, np.int16).astype(np.int32)) > LOUD
            if not (self._said and loud.any()):
                continue
            late = now - (len(loud) - loud.argmax()) / RATE - self._said
            self._said = 0.0
            if late < LATEST_SECONDS:
                self._late.append(late * 1e3)


async def echo(order: Order) -> None:
    """With the plain SDK, as its examples do it."""
    room = rtc.Room()
    source = rtc.AudioSource(RATE, 1)
    tasks = []

    async def back(track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=20)
        async for event in stream:
            await source.capture_frame(event.frame)

    def subscribed(track: rtc.Track, _: object, who: rtc.RemoteParticipant) -> None:
        if who.identity == "mouth":
            tasks.append(asyncio.ensure_future(back(track)))

    room.on("track_subscribed", subscribed)
    await room.connect(order.url, order.tokens["app"])
    await room.local_participant.publish_track(
        rtc.LocalAudioTrack.create_audio_track("echo", source), rtc.TrackPublishOptions(dtx=False)
    )
    await asyncio.Event().wait()


class Echo(ringroom.Processor):
    """Sends the mouth's sound back."""

    mode = "live"

    def process(self, frame: Frame) -> Frame | None:
        assert isinstance(frame, AudioFrame)
        if frame.participant != "mouth":
            return None
        return AudioFrame(frame.samples, frame.sample_rate, frame.channels, track="echo")


def main() -> None:
    role, order = sys.argv[1], Order(**json.loads(sys.argv[2]))
    if role == "person":
        print(json.dumps(asyncio.run(Person(order).run())), flush=True)
        os._exit(0)  # the room goes with the process
    with contextlib.suppress(KeyboardInterrupt):
        if role == "sdk":
            asyncio.run(echo(order))
        else:
            provider = ringroom.LiveKit(url=order.url, token=order.tokens["app"], room="")
            ringroom.run(Echo(), provider, workers=1, sample_rate=RATE)


if __name__ == "__main__":
    main()
