"""A source that does what the native one does, a track over it, and who listens to that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

from loop_kit import run_virtual
from ringroom.events import Kind
from ringroom.frames import AudioFrame
from ringroom.options import PublishOptions
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.playout import AudioPlayout
from ringroom.providers.provider import OutgoingTrack

RATE = 16_000
REFUSED = "an RtcError occurred: InvalidState - failed to capture frame"


class Piece:
    """A capture, whose answer is told as the native one's is."""

    def __init__(self, answered: Callable[[], None]) -> None:
        self.error: str | None = None
        self._answered = answered
        self._asked = False

    def ask(self) -> None:
        self._asked = True
        if self.error is not None:
            self._answered()

    def answer(self, error: str = "") -> None:
        self.error = error
        if error or self._asked:
            asyncio.get_running_loop().call_soon(self._answered)


class Source:
    """Refuses a second capture under way, as the native source does."""

    def __init__(self, *, held: bool = False) -> None:
        self.held = held
        self.clears = True
        self.pieces: list[np.ndarray] = []
        self.refuse: list[str] = []
        self.under_way: Piece | None = None
        self.log: list[str] = []

    def capture(self, samples: np.ndarray, answered: Callable[[], None]) -> Piece:
        assert "closed" not in self.log, "captured into a closed source"
        piece = Piece(answered)
        if self.refuse or self.under_way is not None:
            piece.answer(REFUSED if self.under_way is not None else self.refuse.pop(0))
            return piece
        self.pieces.append(samples[:, 0].copy())
        if self.held:
            self.under_way = piece
        else:
            piece.answer()
        return piece

    def take(self) -> None:
        """The native queue has room again."""
        done, self.under_way = self.under_way, None
        assert done is not None
        done.answer()

    def clear_queue(self) -> None:
        self.log.append("cleared")
        if self.under_way is not None and self.clears:
            self.take()

    async def aclose(self) -> None:
        assert self.under_way is None, "closed under a capture"
        self.log.append("closed")

    def sound(self) -> np.ndarray:
        return np.concatenate([np.zeros(0, np.int16), *self.pieces])


def speech(count: int, start: int = 0) -> AudioFrame:
    return AudioFrame(np.arange(start, start + count).astype(np.int16), RATE)


class Rig:
    def __init__(self, source: Source, audience: Any = None, **options: Any) -> None:
        self.source = source
        self.line = Line()
        self.line.set(True)
        track = OutgoingTrack(
            name="answer",
            kind=Kind.AUDIO,
            options=PublishOptions(**options),
            sample_rate=RATE,
            channels=1,
        )
        self.playout = AudioPlayout(track, source, self.line, self._unpublish, audience)  # type: ignore[arg-type]

    async def _unpublish(self, playout: object = None) -> None:
        self.source.log.append("unpublished")

    def begin(self, frame: AudioFrame) -> asyncio.Task[None]:
        return asyncio.create_task(self.playout.play(frame))


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run(scenario: Any, seconds: float = 30.0) -> None:
    """In virtual time, so that what is queued is known exactly, however long the machine takes."""

    async def bounded(loop: Any) -> None:
        await asyncio.wait_for(scenario, seconds)
        # What a test has left open is not waited for.
        feeding = asyncio.all_tasks() - {asyncio.current_task()}
        for task in feeding:
            task.cancel()
        await asyncio.gather(*feeding, return_exceptions=True)

    run_virtual(bounded)


class Listeners:
    """Subscribe when they are told to."""

    def __init__(self) -> None:
        self.come = asyncio.get_running_loop().create_future()
        self.waited_for = 0

    async def __call__(self) -> None:
        self.waited_for += 1
        await asyncio.shield(self.come)


def _outer() -> set[asyncio.Task[Any]]:
    """What `run` waits in."""
    return {task for task in asyncio.all_tasks() if "bounded" in repr(task.get_coro())}


def now() -> float:
    return asyncio.get_running_loop().time()
