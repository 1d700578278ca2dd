"""Whether we are in the room still, for the others, or have left it and come back.

The SDK tells both in the same words, "reconnecting" and "reconnected" (livekit 1.1.21 to 1.2.1). A
connection that is resumed loses nothing: who reads a text or a file of ours gets all of it, in
order. One that is made anew has ended what we had begun: the others break it off as we leave, and
the SDK goes on to take pieces that nobody gets. Our sid tells them apart too late, up to 3 s after
it has taken a piece for the new connection. For that one the SDK makes another peer connection, and
WebRTC another certificate, before anything is taken: so that is what is looked at.
"""

from __future__ import annotations

import asyncio
from typing import Any

from livekit import rtc

from ringroom.providers.livekit.line import ANSWERED_WITHIN, Line

__all__ = ["Stays"]


class Stays:
    """The stays in one room, each of which begins as we join and ends as we leave."""

    def __init__(self, room: rtc.Room, line: Line) -> None:
        self._room = room
        self._line = line
        self._asking = asyncio.Lock()
        self._returns = 0
        self._asked_at: tuple[int, int] | None = None
        self._known = ""

    def back(self) -> None:
        """The connection is, so it is asked anew: one that is lost again as it comes back the SDK
        tells to be back twice, and lost once."""
        self._returns += 1

    async def now(self) -> str:
        """The name of this stay, which no other has. Waits while the connection is lost; raises
        `RoomError` once it is gone."""
        await self._line.up()
        if self._asked_at == self._moment():
            return self._known
        async with self._asking:
            while self._asked_at != (moment := self._moment()):  # it may be lost as it is asked
                # A stay whose name is not to be had is taken for another than the one before.
                self._known = await self._certificate() or f"unknown, at {moment}"
                self._asked_at = moment
                await self._line.up()
        return self._known

    def _moment(self) -> tuple[int, int]:
        return self._line.losses, self._returns

    async def _certificate(self) -> str:
        """That of the connection over which we send; empty if the SDK does not say."""
        gone = self._line.gone
        asking = asyncio.ensure_future(self._room.get_rtc_stats())
        waited: set[asyncio.Future[Any]] = {asking, gone}
        try:
            await asyncio.wait(waited, timeout=ANSWERED_WITHIN, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done() or asking.exception() is not None:
                return ""
            for one in asking.result().publisher_stats:
                if one.WhichOneof("stats") == "transport":
                    return str(one.transport.transport.local_certificate_id)
            return ""
        finally:
            asking.cancel()
            await asyncio.wait({asking})
