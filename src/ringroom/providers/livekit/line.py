"""Whether the connection is up, down for a while, or gone: what waits for it waits here.

The SDK tells of a loss late (livekit 1.1.21 to 1.2.1): its engine begins to reconnect, and says so,
only when no request to publish or to send is under way. So one that a loss overtakes fails, or is
not answered in time, before anybody knows why.
"""

from __future__ import annotations

import asyncio
import contextlib

from ringroom.errors import RoomError

__all__ = ["Line"]

# What a request has at least, however hasty the user is to join: for a track the SDK waits 10 s
# (rust-sdks: TRACK_PUBLISH_TIMEOUT), and only then can it tell of the loss.
ANSWERED_WITHIN = 12.0
# How long after a request has failed the loss that it failed for is told, at most.
TOLD_WITHIN = 1.0


class Line:
    """The state of one connection; made on its event loop."""

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.losses = 0
        """How often it was lost for a while."""
        self._up = asyncio.Event()
        self._down = asyncio.Event()  # also once it is gone: nobody waits for a loss then

    def set(self, up: bool) -> None:
        """Up, or lost for a while: until it is gone, whatever is told after that."""
        if self.gone.done():
            return
        if up:
            self._up.set()
            self._down.clear()
        else:
            self.losses += 1
            self._up.clear()
            self._down.set()

    def end(self) -> None:
        """It will not come back. Idempotent."""
        if not self.gone.done():
            self.gone.set_result(None)
        self._up.set()
        self._down.set()

    @property
    def lost(self) -> bool:
        """Whether it is down for a while."""
        return not self._up.is_set()

    async def up(self) -> None:
        """Wait while the connection is lost. Raises `RoomError` once it is gone."""
        while not self._up.is_set():  # it may be lost again before the wait ends
            await self._up.wait()
        self.check()

    async def lost_since(self, losses: int) -> bool:
        """Whether it was lost after it had been so many times, is lost, or will be in a moment."""
        if self.losses == losses:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TOLD_WITHIN):
                    await self._down.wait()
        return self.losses != losses or self.lost

    def check(self) -> None:
        """Raises `RoomError` once the connection is gone."""
        if self.gone.done():
            raise RoomError("livekit: the connection to the room has ended", reason="disconnected")
