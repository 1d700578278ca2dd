"""The demo's comparison: the same work in the way it is usually written, in one asyncio loop.

Run as ``python -m ringroom.cli.inline`` in a process of its own, so that the room is not slowed
down with it. The provider's own loop also runs the Python work, frame by frame, and sends the
replies and the application's own track: no I/O process, no shared memory, no workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import select
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

from ringroom.cli.scene import FPS, OWN_TRACK, PEOPLE, burn
from ringroom.cli.speech import RATE, chord
from ringroom.errors import RoomError, RpcError, StartupError
from ringroom.events import Event, Kind, Participant, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, VideoFrame
from ringroom.options import PublishOptions, SessionOptions
from ringroom.providers.provider import OutgoingTrack, Playout, Provider, ProviderSpec

__all__ = ["Comparison", "Outcome"]

IDENTITY = "inline"
FRAMES_PER_SECOND = 50
# For leaving the room; a loop that is behind by seconds may not manage it.
_GRACE_SECONDS = 2.0
READY_SECONDS = 60.0
"""Until the child has joined the room."""
PATIENCE_SECONDS = 15.0
"""Beyond what the work takes, until there is an outcome."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one loop managed."""

    seconds: float
    offered: int
    """Frames that the people sent until the loop came to look: it may wake later than it wanted."""
    processed: int
    behind: float
    """Seconds by which the slowest track was late at the end."""
    played: float
    """Seconds of its own track that the source took and played."""


class Comparison:
    """The child: connected when made; `result` after the people have spoken."""

    def __init__(self, spec: ProviderSpec, seconds: float, burn_ms: float) -> None:
        self._told = False
        frames = seconds * (FRAMES_PER_SECOND * len(PEOPLE) + FPS)
        self._limit = PATIENCE_SECONDS + seconds + 2 * frames * burn_ms / 1000
        travels, descriptors = spec.handover()
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "ringroom.cli.inline"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=descriptors,
                # Out of the terminal's reach: Ctrl-C is for the command, which then ends the child.
                process_group=0,
            )
        finally:
            for fd in descriptors:
                os.close(fd)
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            pickle.dump((travels, descriptors, seconds, burn_ms), self._child.stdin)
            self._child.stdin.close()
            self._line(READY_SECONDS)
        except BaseException:
            self.close()
            raise

    def _line(self, seconds: float) -> str:
        """What the child says next. It says one thing at a time: no line waits in the buffer."""
        assert self._child.stdout is not None
        ready = select.poll()
        ready.register(self._child.stdout, select.POLLIN)
        if not ready.poll(seconds * 1000):
            raise StartupError(f"the comparison in one loop said nothing for {seconds:g} s")
        line = self._child.stdout.readline().decode()
        if not line:
            raise StartupError("the comparison in one loop ended early; see its error above")
        return line

    def result(self) -> Outcome:
        """Waits for the child's outcome. Raises `StartupError` when the child failed, or has none
        in time: when nobody spoke, say."""
        outcome = Outcome(**json.loads(self._line(self._limit)))
        self._told = True
        return outcome

    def close(self) -> None:
        """Idempotent; a child that has no outcome yet is not waited for."""
        assert self._child.stdout is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_GRACE_SECONDS if self._told else 0.0)
        self._child.kill()
        self._child.wait()
        self._child.stdout.close()


class _Track:
    """A track of one of the people: worked on as it comes, in the loop."""

    def __init__(self, app: _App, track: TrackInfo) -> None:
        self._app = app
        self.reply = track.reply_name
        self.began = 0.0
        self.audio_frames = 0

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        self.began = self.began or time.monotonic()
        sound = np.frombuffer(samples, np.int16).reshape(-1, channels)
        self._app.work()
        self.audio_frames += 1
        self._app.send(self.reply, AudioFrame(sound.copy(), sample_rate).gain(0.8))

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        self._app.work()
        picture = VideoFrame(255 - np.frombuffer(i420, np.uint8), *size, rotation=rotation)
        self._app.send(self.reply, picture)

    def reading(self, payload: memoryview, timestamp: int | None) -> None:
        pass  # not subscribed

    def muted(self, muted: bool) -> None:
        pass

    def close(self, reason: str = "") -> None:
        pass


class _App:
    """All in one loop. It is the provider's `Sink`."""

    def __init__(self, burn_ms: float) -> None:
        self._burn_ms = burn_ms
        self._queues: dict[str, asyncio.Queue[AudioFrame | VideoFrame]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.provider: Provider
        self.tracks: list[_Track] = []
        self.processed = 0
        self.started = asyncio.Event()
        """Set when the first frame of any track was there, or none will come."""
        self.over = ""

    def work(self) -> None:
        burn(self._burn_ms)
        self.processed += 1
        self.started.set()

    def send(self, name: str, frame: AudioFrame | VideoFrame) -> None:
        queue = self._queues.get(name)
        if queue is None:
            # As with the pool's live replies: what waits too long is not worth playing.
            queue = self._queues[name] = asyncio.Queue(maxsize=50)
            self.spawn(self._play(name, frame, queue))
        if not queue.full():
            queue.put_nowait(frame)

    def spawn(self, run: asyncio._CoroutineLike[None]) -> None:
        task = asyncio.get_running_loop().create_task(run)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()

    async def publish(self, name: str, like: AudioFrame | VideoFrame) -> Playout:
        options = PublishOptions(mode="live")
        if isinstance(like, AudioFrame):
            track = OutgoingTrack(
                name=name,
                kind=Kind.AUDIO,
                options=options,
                sample_rate=like.sample_rate,
                channels=like.channels,
            )
        else:
            track = OutgoingTrack(
                name=name, kind=Kind.VIDEO, options=options, width=like.width, height=like.height
            )
        return await self.provider.publish(track)

    async def _play(
        self,
        name: str,
        like: AudioFrame | VideoFrame,
        queue: asyncio.Queue[AudioFrame | VideoFrame],
    ) -> None:
        playout = await self.publish(name, like)
        while True:
            await playout.play(await queue.get())

    # The sink.

    def wants(self, track: TrackInfo, participant: Participant) -> bool:
        return participant.identity in PEOPLE

    def open_track(self, track: TrackInfo, participant: Participant) -> _Track:
        opened = _Track(self, track)
        self.tracks.append(opened)
        return opened

    def data(self, frame: DataFrame) -> None:
        pass

    async def call(self, method: str, payload: str, participant: str, seconds: float) -> str:
        raise RpcError("nothing here answers calls")

    def event(self, event: Event) -> None:
        pass

    def ended(self, reason: str, *, error: str = "") -> None:
        self.over = error or f"the room has ended: {reason}"
        self.started.set()


async def _sing(playout: Playout, seconds: float, counted: list[float]) -> None:
    samples = chord(seconds)
    step = RATE // FRAMES_PER_SECOND
    for start in range(0, len(samples), step):
        frame = AudioFrame(samples[start : start + step], RATE)
        await playout.play(frame)
        counted.append(frame.duration)


async def run(
    spec: ProviderSpec, descriptors: tuple[int, ...], seconds: float, burn_ms: float
) -> None:
    """Connect, say so, work for that long from the first frame on, print the outcome."""
    app = _App(burn_ms)
    app.provider = spec.open(descriptors)
    await app.provider.connect(app, SessionOptions(kinds=(Kind.AUDIO, Kind.VIDEO)))
    playout = await app.publish(OWN_TRACK, AudioFrame(chord(0.02), RATE))
    _tell("ready")
    await app.started.wait()
    if app.over:
        raise RoomError(app.over, reason="disconnected")
    accepted: list[float] = []
    begun = time.monotonic()
    app.spawn(_sing(playout, seconds, accepted))
    await asyncio.sleep(seconds)
    now = time.monotonic()  # a loop that starves wakes much later
    behind = [now - t.began - t.audio_frames / FRAMES_PER_SECOND for t in app.tracks if t.began]
    outcome = Outcome(
        seconds=seconds,
        offered=round((now - begun) * (FRAMES_PER_SECOND * len(PEOPLE) + FPS)),
        processed=app.processed,
        behind=max(0.0, *behind, 0.0),
        played=max(0.0, sum(accepted) - playout.queued()),
    )
    _tell(json.dumps(asdict(outcome)))
    app.stop()
    await app.provider.close()


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Reads its orders from the process that started it."""
    try:
        orders = pickle.load(sys.stdin.buffer)  # noqa: S301 (from the process that made us)
    except (EOFError, pickle.UnpicklingError):  # the starter has ended before it gave all of them
        return
    asyncio.run(run(*orders))


if __name__ == "__main__":
    main()
