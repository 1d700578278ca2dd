"""What one LiveKit room is told of us: name, metadata, attributes.

Facts about the SDK (livekit 1.1.21 to 1.2.1) that it rests on: its calls return in the same way
when the server has refused, and 5 s late when the answer came sooner than it was waited for; what
the server has done it tells by events, as of other participants; each call sends along what the SDK
knows of the other parts just then, so none may be made before the one before has shown. After a
loss that costs it the session the SDK joins with a token that the server has renewed, in which all
this stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from livekit import rtc

from ringroom.errors import RoomError
from ringroom.providers.livekit.line import ANSWERED_WITHIN, Line
from ringroom.providers.provider import Profile

__all__ = ["EVENTS", "OwnProfile"]

# By which the SDK tells what a participant is, ourselves included.
EVENTS = (
    "participant_name_changed",
    "participant_metadata_changed",
    "participant_attributes_changed",
)

T = TypeVar("T")


class OwnProfile:
    """``timeout`` is what the server has to do it, in seconds."""

    def __init__(self, room: rtc.Room, line: Line, timeout: float) -> None:
        self._room = room
        self._line = line
        self._timeout = max(timeout, ANSWERED_WITHIN)
        self._look: Callable[[], None] = _nobody_looks

    def changed(self) -> None:
        """Of one of the events."""
        self._look()

    async def set(self, change: Profile) -> None:
        """Raises `RoomError`, for the reason "profile_refused" unless the room is gone. What a loss
        of the connection overtakes is done again once it is back."""
        while True:
            await self._line.up()
            losses = self._line.losses
            if not self._room.local_participant.permissions.can_update_metadata:
                raise _refused("changing our own profile is not allowed (canUpdateOwnMetadata)")
            missing = await self._set(change)
            if not missing:
                return
            if not await self._line.lost_since(losses):
                raise _refused(
                    f"the server has not taken the {missing} within {self._timeout:g} s: too large "
                    "for it, perhaps"
                )

    async def _set(self, change: Profile) -> str:
        """What the server has not taken, if anything."""
        local = self._room.local_participant
        name, metadata, attributes = change.name, change.metadata, dict(change.attributes)

        def has_attributes() -> bool:
            return all(local.attributes.get(key, "") == attributes[key] for key in attributes)

        if name is not None:
            done = await self._done(lambda: local.name == name, local.set_name, name)
            if not done:
                return "name"
        if metadata is not None:
            done = await self._done(
                lambda: local.metadata == metadata, local.set_metadata, metadata
            )
            if not done:
                return "metadata"
        done = await self._done(has_attributes, local.set_attributes, attributes)
        return "" if done else "attributes"

    async def _done(
        self, so: Callable[[], bool], request: Callable[[T], Coroutine[Any, Any, None]], value: T
    ) -> bool:
        """Whether it is ``so``, at once or within our time of being requested. Raises `RoomError`
        when the room is gone."""
        if so():
            return True
        gone = self._line.gone
        shown: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look() -> None:
            if so() and not shown.done():
                shown.set_result(None)

        self._look = look
        asking = asyncio.ensure_future(request(value))
        try:
            waited = {shown, gone}
            await asyncio.wait(waited, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._look = _nobody_looks
            asking.cancel()
            await asyncio.wait({asking})
        self._line.check()
        if not asking.cancelled():
            asking.result()
        return shown.done()


def _nobody_looks() -> None:
    pass


def _refused(why: str) -> RoomError:
    return RoomError(f"livekit: our profile was not changed: {why}", reason="profile_refused")
