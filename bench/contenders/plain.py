"""The LiveKit SDK as its examples use it, and the work inline, on threads, or in processes.

``python -m bench.contenders.plain inline``, or ``threads``, or ``processes``. `listen_and_play` is
what an agent's job does as well.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

from livekit import rtc

from bench.contenders.stage import FRAME_SECONDS, RATE, Stage, burn, nothing, orders, ready, tone

Handle = Callable[[str, float, bytes], Awaitable[None]]
WORKERS = 2


class App:
    """A room, its tracks, and a tone of our own."""

    def __init__(self, room: rtc.Room, handling: str) -> None:
        self.room = room
        self.given = orders()
        self.begun = asyncio.Event()
        self.stage = Stage(self.given, self.begun.set, nothing)
        self._tasks: set[asyncio.Task[None]] = set()
        self._handle = self._handling(handling)
        room.on("track_subscribed", self._subscribed)

    def _handling(self, name: str) -> Handle:
        if name == "inline":
            return self._inline
        pool: Executor
        if name == "threads":
            pool = ThreadPoolExecutor(WORKERS)
        else:
            pool = ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn"))
            for warm in [pool.submit(elsewhere, 0.0, b"") for _ in range(WORKERS * 2)]:
                warm.result()

        async def handle(track: str, position: float, samples: bytes) -> None:
            loop = asyncio.get_running_loop()
            work = self.stage.work_ms
            began = await loop.run_in_executor(pool, elsewhere, work, samples)
            self.stage.note(track, position, began)

        return handle

    async def _inline(self, track: str, position: float, samples: bytes) -> None:
        self.stage.work(track, position)

    def _subscribed(
        self,
        track: rtc.Track,
        publication: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            task = asyncio.create_task(self._listen(track, participant.identity))
            self._tasks.add(task)

    async def _listen(self, track: rtc.Track, identity: str) -> None:
        stream = rtc.AudioStream(
            track, sample_rate=16_000, num_channels=1, frame_size_ms=round(FRAME_SECONDS * 1000)
        )
        position = 0.0
        async for event in stream:
            self.stage.heard(identity)
            await self._handle(identity, position, bytes(event.frame.data))
            position += FRAME_SECONDS

    async def play(self) -> None:
        """Publish a track, and play the tone from the beginning of the measurement on."""
        source = rtc.AudioSource(RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("voice", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self.room.local_participant.publish_track(track, options)
        frames = [rtc.AudioFrame(piece.tobytes(), RATE, 1, len(piece)) for piece in tone()]
        await self.begun.wait()
        while True:
            for frame in frames:
                await source.capture_frame(frame)


def elsewhere(work_ms: float, samples: bytes) -> float:
    """The work on a thread or in a process of a pool; when it began."""
    began = time.monotonic()
    burn(work_ms)
    return began


async def main() -> None:
    room = rtc.Room()
    app = App(room, sys.argv[1])
    await room.connect(app.given.url, app.given.token)
    ready(app.given)
    await app.play()


if __name__ == "__main__":
    asyncio.run(main())
