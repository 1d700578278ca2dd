"""Sound through the LiveKit SDK, in or out, one way: prints frames and CPU of this process.

    python -m bench.contenders.media '{"url": ..., "what": "in", "way": "direct", ...}'

Ways: `native`, what the library does without Python (in: subscribed and not read; out: captures
of a second); `sdk`, as its documentation has it; `public` and `direct`, ringroom's provider.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

from bench.contenders.stage import FREQUENCY
from ringroom.errors import RpcError
from ringroom.events import Kind
from ringroom.frames import AudioFrame
from ringroom.options import PublishOptions, SessionOptions
from ringroom.providers.livekit import LiveKit
from ringroom.providers.provider import OutgoingTrack, Sink, TrackSink

RATE = 16_000
FRAME = RATE // 50
QUEUE_MS = 200  # the default of `PublishOptions`
# Tracks come up, jitter buffers fill, caches warm.
SETTLE_SECONDS = 2.0
DEADLINE_SECONDS = 30.0
EVENT_THREADS = ("tokio-rt-worker", "livekit-audio")
STUCK_SECONDS = 55.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to measure."""

    url: str
    token: str
    room: str
    what: str
    way: str
    tracks: int
    seconds: float
    rate: int = 50
    """Frames a second, of each track."""


class Count(Sink, TrackSink):
    """Frames so far; the sink of inbound tracks, which copies them as a lane does."""

    def __init__(self) -> None:
        self.frames = 0
        self.tracks = 0
        self._ring = bytearray(1 << 16)

    def wants(self, track: Any, participant: Any) -> bool:
        return True

    def open_track(self, track: Any, participant: Any) -> TrackSink:
        self.tracks += 1
        return self

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        self._ring[: samples.nbytes] = samples.cast("B")
        self.frames += 1

    def audio_at_once(self, samples: memoryview, sample_rate: int, channels: int) -> bool:
        self.audio(samples, sample_rate, channels)
        return True

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        raise NotImplementedError

    def reading(self, payload: memoryview, timestamp: int | None) -> None:
        raise NotImplementedError

    def muted(self, muted: bool) -> None:
        """Nobody mutes."""

    def close(self, reason: str = "") -> None:
        """Nobody ends."""

    def event(self, event: Any) -> None:
        """Of no interest."""

    def data(self, frame: Any) -> None:
        """Of no interest."""

    async def call(self, method: str, payload: str, participant: str, seconds: float) -> str:
        raise RpcError("nothing here answers calls")

    def ended(self, reason: str, *, error: str = "") -> None:
        raise RuntimeError(f"the room ended: {reason} {error}")


class Beat:
    """Of a sender that has a frame every 20 ms, as one who answers sound with sound has. One that
    sends ahead (a voice that is synthesised) waits for nothing but its source."""

    def __init__(self, order: Order) -> None:
        self._loop = asyncio.get_running_loop()
        self._waits = order.what == "beat" and order.way != "native"
        self._next = self._loop.time()

    async def wait(self) -> None:
        if self._waits:
            self._next += FRAME / RATE
            await asyncio.sleep(self._next - self._loop.time())


def tone(seconds: int = 1) -> NDArray[np.int16]:
    wave = 9000 * np.sin(2 * np.pi * FREQUENCY * np.arange(RATE * seconds) / RATE)
    return wave.astype(np.int16).reshape(-1, 1)


async def measured(order: Order, count: Count, tracks: Callable[[], int]) -> dict[str, float]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while tracks() < order.tracks:
            await asyncio.sleep(0.1)
    await asyncio.sleep(SETTLE_SECONDS)
    gc.collect()
    began, before, frames = time.monotonic(), spent_by(), count.frames
    await asyncio.sleep(order.seconds)
    seconds, after = time.monotonic() - began, spent_by()
    spent = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
    done = count.frames - frames
    offered = order.tracks * order.rate * seconds
    if order.way == "native":
        done = round(offered)
    return {
        **{f"{name}_us": cpu / max(done, 1) * 1e6 for name, cpu in spent.items()},
        "frames": done / seconds,
        "share": done / offered,
        "cores": spent["cpu"] / seconds,
    }


def spent_by() -> dict[str, float]:
    """Core seconds so far: of all threads, of the loop's, and of those that the events come from.
    The others are WebRTC's."""
    found = {"cpu": 0.0, "loop": 0.0, "events": 0.0}
    for task in Path("/proc/self/task").iterdir():
        try:
            seconds = int((task / "schedstat").read_text().split()[0]) / 1e9
            name = (task / "comm").read_text().strip()
        except OSError:
            continue  # it has just ended
        found["cpu"] += seconds
        if task.name == str(os.getpid()):
            found["loop"] += seconds
        elif name in EVENT_THREADS:
            found["events"] += seconds
    return found


async def sdk_in(order: Order) -> dict[str, float]:
    count, room = Count(), rtc.Room()
    found: list[rtc.Track] = []
    reading = []

    async def read(track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=20)
        async for event in stream:
            count.audio(event.frame.data, RATE, 1)

    def subscribed(track: rtc.Track, *_: Any) -> None:
        found.append(track)
        if order.way == "sdk":
            reading.append(asyncio.ensure_future(read(track)))

    room.on("track_subscribed", subscribed)
    await room.connect(order.url, order.token)
    return await measured(order, count, lambda: len(found))


async def ours_in(order: Order) -> dict[str, float]:
    count = Count()
    app = spec(order).open(())
    await app.connect(count, SessionOptions(connect_timeout=30))
    return await measured(order, count, lambda: count.tracks)


async def sdk_out(order: Order) -> dict[str, float]:
    count, room = Count(), rtc.Room()
    await room.connect(order.url, order.token, rtc.RoomOptions(auto_subscribe=False))
    whole = tone()
    # Natively: a capture is hardly anything when it brings a second of sound.
    size, queue_ms = (RATE, 2000) if order.way == "native" else (FRAME, QUEUE_MS)

    async def play(source: rtc.AudioSource) -> None:
        beat = Beat(order)
        for start in itertools.cycle(range(0, RATE, size)):
            await beat.wait()
            piece = whole[start : start + size].tobytes()
            await source.capture_frame(rtc.AudioFrame(piece, RATE, 1, size))
            count.frames += 1

    playing = []
    for number in range(order.tracks):
        source = rtc.AudioSource(RATE, 1, queue_ms)
        track = rtc.LocalAudioTrack.create_audio_track(f"t{number}", source)
        await room.local_participant.publish_track(track)
        playing.append(source)
    tasks = [asyncio.ensure_future(play(source)) for source in playing]
    return await measured(order, count, lambda: len(tasks))


async def ours_out(order: Order) -> dict[str, float]:
    count = Count()
    app = spec(order).open(())
    await app.connect(count, SessionOptions(connect_timeout=30))
    whole = tone()
    frames = [AudioFrame(whole[at : at + FRAME], RATE) for at in range(0, RATE, FRAME)]

    async def play(playout: Any) -> None:
        beat = Beat(order)
        for frame in itertools.cycle(frames):
            await beat.wait()
            await playout.play(frame)
            count.frames += 1

    playouts = []
    for number in range(order.tracks):
        track = OutgoingTrack(
            name=f"t{number}",
            kind=Kind.AUDIO,
            options=PublishOptions(queue_ms=QUEUE_MS),
            sample_rate=RATE,
            channels=1,
        )
        playouts.append(await app.publish(track))
    tasks = [asyncio.ensure_future(play(playout)) for playout in playouts]
    return await measured(order, count, lambda: len(tasks))


def spec(order: Order) -> LiveKit:
    return LiveKit(url=order.url, token=order.token, room=order.room, sdk_path=order.way)


Way = Callable[[Any], Awaitable[dict[str, float]]]
# By direction, and whether it is ringroom's.
WAYS: dict[tuple[str, bool], Way] = {
    ("in", False): sdk_in,
    ("in", True): ours_in,
    ("out", False): sdk_out,
    ("out", True): ours_out,
    ("beat", False): sdk_out,
    ("beat", True): ours_out,
}


async def main(kind: type[Any], ways: Mapping[tuple[str, bool], Way]) -> None:
    faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
    order = kind(**json.loads(sys.argv[1]))
    found = await ways[order.what, order.way in ("public", "direct")](order)
    print(json.dumps(found), flush=True)


def perform(kind: type[Any], ways: Mapping[tuple[str, bool], Way]) -> None:
    """Do what was ordered on the command line, and end this process."""
    status = 1
    try:
        asyncio.run(main(kind, ways))
        status = 0
    except Exception:  # noqa: BLE001  (told, and then the end)
        traceback.print_exc()
    finally:
        # The room goes with the process: the library's end waits for a server that is too busy.
        os._exit(status)


if __name__ == "__main__":
    perform(Order, WAYS)
