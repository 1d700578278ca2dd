"""`ringroom demo`: people speak in a room, workers burn CPU on every frame, and the sound goes on.

Without a server it runs on a `FakeRoom`, yet through the real thing: an I/O process, rings in
shared memory, worker processes. First the same work is done in one asyncio loop, for comparison.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import ringroom
from ringroom.cli.inline import IDENTITY as INLINE
from ringroom.cli.inline import Comparison, Outcome
from ringroom.cli.running import terminated_by_sigterm
from ringroom.cli.scene import OWN_TRACK, PEOPLE, Scene, burn, fake_scene
from ringroom.cli.speech import (
    RATE,
    Heard,
    check_writable,
    chord,
    mixed,
    read_speech,
    voices,
    write_wav,
)
from ringroom.cli.view import Processes, View, machine_seconds, pool_processes, says
from ringroom.errors import StartupError
from ringroom.faces.connection import Statistics
from ringroom.frames import AudioFrame, Frame, VideoFrame
from ringroom.options import Mode

__all__ = ["Demo", "Result", "demo"]

IDENTITY = "app"
COMPARISON_SECONDS = 3.0


class Busy(ringroom.Processor):
    """A model, as far as the rest can tell: it holds the GIL for a while on every frame."""

    kinds = ("audio", "video")
    mode: Mode = "live"

    def __init__(self, burn_ms: float) -> None:
        self._burn_ms = burn_ms

    def process(self, frame: Frame) -> Frame | None:
        """Sound comes back quieter, a picture inverted."""
        burn(self._burn_ms)
        if isinstance(frame, AudioFrame):
            return frame.gain(0.8)
        if isinstance(frame, VideoFrame):
            return VideoFrame(255 - frame.data, frame.width, frame.height, track=frame.track)
        return None


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The options of a demo."""

    seconds: float = 10.0
    workers: int = 2
    burn_ms: float = 6.0
    wav: Path | None = None
    out: Path = Path("ringroom-demo.wav")
    livekit: bool = False
    compare: bool = True


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a demo has seen."""

    statistics: Statistics
    heard: list[Heard]
    inline: Outcome | None
    inline_gap: float = 0.0
    busy: float = 0.0
    """Cores that all processes of the machine used meanwhile, ours included."""

    @property
    def balanced(self) -> bool:
        """Whether every frame is accounted for."""
        return all(lane.counts.in_flight == 0 for lane in self.statistics.lanes)


def demo(asked: Demo, console: Console) -> int:
    """Runs it and says what was seen; returns the exit code. SIGTERM ends it in good order (0)."""
    if asked.wav is not None:
        read_speech(asked.wav)
    check_writable(asked.out)
    result: Result | None = None
    with terminated_by_sigterm(), _scene(asked.livekit) as scene:
        outcome, gap = _compare(asked, scene) if asked.compare else (None, 0.0)
        before, began = machine_seconds(), time.monotonic()
        statistics = _run(asked, scene, console)
        busy = (machine_seconds() - before) / (time.monotonic() - began)
        heard = scene.heard(IDENTITY)
        result = Result(
            statistics=statistics, heard=heard, inline=outcome, inline_gap=gap, busy=busy
        )
    return 0 if result is None else _tell(asked, result)


def _tell(asked: Demo, result: Result) -> int:
    write_wav(asked.out, mixed(result.heard))
    for line in verdict(asked, result):
        says(line)
    return 0 if result.balanced else 1


@contextlib.contextmanager
def _scene(livekit: bool) -> Iterator[Scene]:
    if not livekit:
        with fake_scene() as scene:
            yield scene
        return
    # Needs Docker or a livekit-server; the fake room does without what starts them.
    from ringroom.cli.live_scene import livekit_scene

    says("starting a LiveKit server ...")
    with livekit_scene() as scene:
        yield scene


def _compare(asked: Demo, scene: Scene) -> tuple[Outcome, float]:
    seconds = min(COMPARISON_SECONDS, asked.seconds)
    says(f"first, for comparison: {seconds:g} s of the same work in one asyncio loop ...")
    sounds = voices(len(PEOPLE), seconds + 0.5, asked.wav)
    comparison = Comparison(scene.spec(INLINE), seconds, asked.burn_ms)
    try:
        scene.speak(sounds)
        outcome = comparison.result()
    except StartupError:
        scene.silence()  # raises why nobody spoke, if that is the reason
        raise
    finally:
        comparison.close()
    scene.silence()
    gaps = [track.longest_gap for track in scene.heard(INLINE) if track.track == OWN_TRACK]
    return outcome, max(gaps, default=0.0)


def _run(asked: Demo, scene: Scene, console: Console) -> Statistics:
    sounds = voices(len(PEOPLE), asked.seconds, asked.wav)
    pool = ringroom.Pool(
        Busy(asked.burn_ms),
        scene.spec(IDENTITY),
        workers=asked.workers,
        participants=PEOPLE,
    )
    says(f"now {asked.workers} workers and an I/O process, {asked.seconds:g} s ...")

    def known() -> dict[int, str]:
        return scene.pids() | pool_processes(pool)

    with pool:
        scene.speak(sounds)
        singer = threading.Thread(target=_sing, args=(pool, asked.seconds), daemon=True)
        singer.start()
        title = f"{asked.burn_ms:g} ms of Python for each frame"
        with View(title, pool.stats, Processes(known), console) as view:
            end = time.monotonic() + asked.seconds
            while time.monotonic() < end:
                time.sleep(0.05)
                view.tick()
        scene.silence()
        singer.join(5)
        pool.wait_playout(OWN_TRACK, timeout=5)
        pool.drain()
    return pool.stats()


def _sing(pool: ringroom.Pool, seconds: float) -> None:
    """The application's own track, sent beside the workers' replies."""
    samples, step = chord(seconds), RATE // 50
    # Ctrl-C closes the pool under it.
    with contextlib.suppress(ringroom.ClosedError):
        for start in range(0, len(samples), step):
            pool.send(AudioFrame(samples[start : start + step], RATE, track=OWN_TRACK))


def verdict(asked: Demo, result: Result) -> list[str]:
    """What was seen, in words."""
    counts = result.statistics.received
    own = next((track for track in result.heard if track.track == OWN_TRACK), None)
    lines = [
        "",
        f"{counts.sent} frames came in from {len(PEOPLE)} people, each took "
        f"{asked.burn_ms:g} ms of Python:",
        f"  {counts.done} processed, {counts.dropped} dropped as too old or too many, "
        f"{counts.lost} lost (under way at the end)"
        + (", and all are accounted for" if result.balanced else ""),
        f"  when its processing started a frame was {_mean_ms(result):.1f} ms old on average, "
        f"the oldest {counts.oldest_ns / 1e6:.0f} ms",
    ]
    if own is not None:
        lines.append(
            f"  the application's own track: {own.seconds:.1f} of {asked.seconds:g} s heard, "
            f"longest gap {own.longest_gap * 1000:.0f} ms"
        )
    replies = [track for track in result.heard if track.track != OWN_TRACK]
    if replies and not asked.livekit:
        worst = max(track.longest_gap for track in replies)
        lines.append(f"  the {len(replies)} replies: longest gap {worst * 1000:.0f} ms")
    if not result.balanced:
        lines.append("  NOT all frames are accounted for: that is a bug, please report it")
    if counts.dropped:
        work = counts.sent / asked.seconds * asked.burn_ms / 1000
        lines.append(
            f"  dropped because this work takes {work:.1f} cores; the machine has "
            f"{os.cpu_count()} and was {result.busy / (os.cpu_count() or 1):.0%} busy, with all "
            "that runs on it"
        )
    if result.inline is not None:
        lines += _comparison(result.inline, result.inline_gap)
    return [*lines, f"what the room heard is in {asked.out}"]


def _mean_ms(result: Result) -> float:
    counts = result.statistics.received
    return counts.waited_ns / max(1, counts.taken) / 1e6


def _comparison(outcome: Outcome, gap: float) -> list[str]:
    return [
        f"the same in one asyncio loop, {outcome.seconds:g} s:",
        f"  {outcome.processed} of {outcome.offered} frames processed, "
        f"{outcome.behind:.1f} s behind at the end"
        if outcome.behind > 0.1
        else f"  {outcome.processed} of {outcome.offered} frames processed, not behind",
        f"  its own track: {outcome.played:.1f} of {outcome.seconds:g} s played, "
        f"longest gap {gap * 1000:.0f} ms",
    ]
