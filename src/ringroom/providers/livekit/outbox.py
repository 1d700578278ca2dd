"""The messages that we send in one room.

A fact about the SDK (livekit 1.1.21 to 1.2.1) that it rests on: a message for which its data
channel has no room (2 MiB) waits, and while one does, the SDK does not begin to reconnect, for it
waits for the message. A connection that dies with so much under way stays dead, and nothing tells
of it but that no message is taken any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from livekit import rtc
from livekit.rtc.participant import PublishDataError

from ringroom.errors import RoomError
from ringroom.frames import DataFrame
from ringroom.providers.livekit.calls import Calls
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.mapping import scrub

__all__ = ["Outbox"]


class Outbox:
    """``timeout`` is what a message has to be taken, in seconds; when one is not, and none is for
    as long again, ``on_dead`` is told why the connection is to be given up."""

    def __init__(
        self,
        room: rtc.Room,
        line: Line,
        calls: Calls,
        timeout: float,
        on_dead: Callable[[str], None],
    ) -> None:
        self._room = room
        self._line = line
        self._calls = calls
        self._timeout = timeout
        self._on_dead = on_dead
        self._answers = 0
        self._doubt: asyncio.TimerHandle | None = None

    async def send(self, frame: DataFrame) -> None:
        """Raises `RoomError`, for the reason "data_refused" unless the room is gone."""
        line = self._line
        await line.up()
        losses = line.losses
        if not self._room.local_participant.permissions.can_publish_data:
            # The server drops such a message without a word.
            raise _refused("data messages are not allowed (canPublishData)")

        async def lost_meanwhile() -> bool:
            """The SDK has the message still, and sends it once the connection is back."""
            nonlocal losses
            lost = await line.lost_since(losses)
            losses = line.losses
            return lost

        request = self._hand_over(frame)
        try:
            await self._calls.run(request, self._timeout, gone=line.gone, excused=lost_meanwhile)
        except PublishDataError as error:
            raise _refused(scrub(error.message)) from None
        except TimeoutError:
            self._begin_to_doubt()
            raise _refused("the message was not taken in time") from None
        except ConnectionError:
            line.check()
            raise

    def close(self) -> None:
        """Idempotent."""
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None

    async def _hand_over(self, frame: DataFrame) -> None:
        try:
            await self._room.local_participant.publish_data(
                frame.payload,
                reliable=frame.reliable,
                destination_identities=list(frame.to),
                topic=frame.topic,
            )
        finally:
            self._answers += 1

    def _begin_to_doubt(self) -> None:
        if self._doubt is None:
            loop, state = asyncio.get_running_loop(), (self._answers, self._line.losses)
            self._doubt = loop.call_later(self._timeout, self._judge, state)

    def _judge(self, before: tuple[int, int]) -> None:
        self._doubt = None
        if before == (self._answers, self._line.losses):
            self._on_dead(f"no message was taken for {2 * self._timeout:g} s")


def _refused(why: str) -> RoomError:
    return RoomError(f"livekit: the data message was not sent: {why}", reason="data_refused")
