"""Where the sound, the pictures and all else of the application go: nowhere, at the pace of the
replay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ringroom.errors import RoomError
from ringroom.frames import AudioFrame, MediaFrame
from ringroom.providers.fake.messages import Message
from ringroom.providers.fake.playout import Outlet, PublishedTrack, playout_of
from ringroom.providers.provider import OutgoingTrack, Playout

__all__ = ["Discarding", "discarding"]


class ScaledTime:
    """A loop's clock that goes ``speed`` times as fast."""

    def __init__(self, loop: asyncio.AbstractEventLoop, speed: float) -> None:
        self._loop = loop
        self._speed = speed

    def time(self) -> float:
        return self._loop.time() * self._speed

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_at(when / self._speed, callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay / self._speed, callback)

    def create_future(self) -> asyncio.Future[None]:
        return self._loop.create_future()


class Unpaced(Playout):
    """Takes all at once: an application that gets its frames as fast as it receives them does not
    wait for what it answers."""

    def __init__(self, track: OutgoingTrack) -> None:
        self._track = track
        self._reason = ""
        self._refused = 0.0

    async def play(self, frame: MediaFrame) -> None:
        if self._reason:
            if isinstance(frame, AudioFrame):
                self._refused += frame.duration
            raise RoomError(f"track {self._track.name!r} is over", reason=self._reason)

    def queued(self) -> float:
        return 0.0

    def clear(self) -> float:
        refused, self._refused = self._refused, 0.0
        return refused

    async def close(self) -> None:
        self.stop("failed")

    def stop(self, reason: str) -> None:
        """Nothing is played after it."""
        self._reason = self._reason or reason


Discarding = PublishedTrack | Unpaced


def discarding(track: OutgoingTrack, speed: float | None) -> Discarding:
    """A source that plays to nobody, as fast as the fake's, times ``speed``."""
    if speed is None:
        return Unpaced(track)
    clock = ScaledTime(asyncio.get_running_loop(), speed)
    outlet = Outlet(handle=track.name, send=_discard, drain=_drained, loop=clock)
    return playout_of(track, outlet)


def _discard(message: Message) -> None:
    pass


async def _drained() -> None:
    # Somebody who only sends must not keep the loop from everything else.
    await asyncio.sleep(0)
