"""Whether the connection is up, down for a while, or gone: what waits for it waits here."""

from __future__ import annotations

import asyncio

from ringroom.errors import RoomError

__all__ = ["Line"]


class Line:
    """The state of one connection; made on its event loop."""

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.losses = 0
        """How often it was lost for a while."""
        self._up = asyncio.Event()

    def set(self, up: bool) -> None:
        """Up, or lost for a while."""
        if up:
            self._up.set()
        else:
            self.losses += 1
            self._up.clear()

    def end(self) -> None:
        """It will not come back. Idempotent."""
        if not self.gone.done():
            self.gone.set_result(None)
        self._up.set()

    @property
    def lost(self) -> bool:
        """Whether it is down for a while."""
        return not self._up.is_set()

    async def up(self) -> None:
        """Wait while the connection is lost. Raises `RoomError` once it is gone."""
        while not self._up.is_set():  # it may be lost again before the wait ends
            await self._up.wait()
        self.check()

    def check(self) -> None:
        """Raises `RoomError` once the connection is gone."""
        if self.gone.done():
            raise RoomError("livekit: the connection to the room has ended", reason="disconnected")
