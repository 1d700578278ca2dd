"""What the others are told of us, in the I/O role: one change after the other to the provider, and
all of it again in each further room, for whose token knows nothing of it.

What is under way when the room is lost is asked again in the next one: to be told twice harms
nobody. What nobody awaits and has to wait for another change becomes one with what waits before it:
a processor may ask as often as it likes, also while the room is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ringroom import messages as m
from ringroom.errors import ClosedError, ConfigurationError, RingroomError
from ringroom.events import Event, EventKind
from ringroom.notices import Notices
from ringroom.processes.io.outbound import is_gone
from ringroom.processes.io.provider_errors import as_ours
from ringroom.profile import Profile
from ringroom.providers.provider import Provider

__all__ = ["OwnProfile"]

log = logging.getLogger("ringroom.io")

Send = Callable[[m.Message], None]


class ProfileRoom(Protocol):
    """What is needed of the room."""

    notices: Notices

    async def joined_provider(self) -> Provider: ...
    def tell(self, event: Event) -> None: ...


@dataclass(slots=True, eq=False)
class _Asked:
    change: Profile
    awaited: bool = False
    """Else an event tells of a refusal."""
    requests: dict[Send, int] = field(default_factory=dict)
    """The last of each who has asked; none: it is what was told in the room before."""


class OwnProfile:
    """See the module's docstring. ``tell_application`` reaches the application, whichever end has
    asked."""

    def __init__(self, room: ProfileRoom, tell_application: Send) -> None:
        self._room = room
        self._tell_application = tell_application
        self._known = Profile()
        """What the room has been told."""
        self._asked: deque[_Asked] = deque()
        """The first is under way."""
        self._in_room = False
        self._task: asyncio.Task[None] | None = None

    def ask(self, message: m.SetProfile, send: Send) -> None:
        """``send`` reaches the end that asks."""
        change = Profile.from_json(message.profile)
        if message.awaited or not self._joined_to_last(change):
            self._asked.append(_Asked(change, message.awaited))
        self._asked[-1].requests[send] = message.request
        self._go_on()

    def _joined_to_last(self, change: Profile) -> bool:
        """Make the change one with the last that waits, if that can be; whether it was. The first
        in the queue may be under way, and is left as it is."""
        if len(self._asked) < 2 or (last := self._asked[-1]).awaited:
            return False
        try:
            last.change = last.change.followed_by(change)
        except ConfigurationError:  # too many attributes: let the room tell of what is refused
            return False
        return True

    def joined(self) -> None:
        """We are in the room, for the first time or again."""
        if self._asked and not self._asked[0].requests:
            self._asked.popleft()
        if self._known != Profile():
            self._asked.appendleft(_Asked(self._known))
        self._in_room = True
        self._go_on()

    def parted(self) -> None:
        """We are out of the room, or will be in a moment: nothing is asked of it any more."""
        self._in_room = False
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def _go_on(self) -> None:
        if self._in_room and self._asked and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        """Have the room take one change after the other. What is left when the room is lost waits
        for the next room."""
        try:
            provider = await self._room.joined_provider()
            while self._asked:
                asked = self._asked[0]
                error = await self._set(provider, asked.change)
                if error is not None and is_gone(error):
                    break
                self._asked.popleft()
                self._answer(asked, error)
        except ClosedError:
            pass  # the room is over, which is told
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    async def _set(self, provider: Provider, change: Profile) -> RingroomError | None:
        """What it was refused with, if it was."""
        try:
            known = self._known.followed_by(change)  # else it could not be told again at once
            await provider.set_profile(change)
        except Exception as error:
            if not isinstance(error, RingroomError):
                log.exception("the provider failed to set our profile")
            return as_ours(error)
        if known != self._known:
            self._known = known
            self._tell_application(m.ProfileKnown(profile=known.to_json()))
        return None

    def _answer(self, asked: _Asked, error: RingroomError | None) -> None:
        if error is not None and not asked.awaited:
            self._room.notices.tell("profile", f"what is told of us was not changed: {error}")
            self._room.tell(Event(kind=EventKind.PROFILE_FAILED, reason=str(error)))
        fields = {} if error is None else m.error_to_json(error)
        for send, request in asked.requests.items():
            send(m.ProfileSet(request=request, error=fields))
