"""Wrong about ourselves: what becomes of what the application sets of itself."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from dataclasses import replace
from typing import Any, ClassVar

from wrong_kit import Twist, breaks
from wrong_losing import Losing

from ringroom.errors import RoomError
from ringroom.events import Event, EventKind
from ringroom.options import SessionOptions
from ringroom.providers.provider import Joined, Profile, Provider


@breaks({"what_we_set_of_ourselves_is_told": "the others are told nothing|told Profile.name=''"})
class SetsNothing(Twist):
    async def set_profile(self, provider: Provider, change: Profile) -> None:
        pass


@breaks({"what_we_set_of_ourselves_is_told": r"the others are told Profile\(.*metadata=''"})
class SetsNoMetadata(Twist):
    async def set_profile(self, provider: Provider, change: Profile) -> None:
        await super().set_profile(provider, replace(change, metadata=None))


@breaks({"what_we_do_not_set_of_ourselves_stays": r"told .*attributes=\{'role': 'speaker'\}\)$"})
class TakesAwayWhatIsNotNamed(Twist):
    known: tuple[str, ...] = ()

    async def set_profile(self, provider: Provider, change: Profile) -> None:
        if change.attributes:
            gone = dict.fromkeys(self.known, "")
            self.known = tuple(change.attributes)
            change = replace(change, attributes={**gone, **change.attributes})
        await super().set_profile(provider, change)


@breaks({"what_we_do_not_set_of_ourselves_stays": r"we are .*'speaker'\}\); the .*'hand': 'up'"})
class TakesNothingAway(Twist):
    async def set_profile(self, provider: Provider, change: Profile) -> None:
        given = {key: text for key, text in change.attributes.items() if text}
        await super().set_profile(provider, replace(change, attributes=given))


@breaks({"a_profile_that_is_refused_is_an_error": "raised nothing"})
class SwallowsTheRefusal(Twist):
    async def set_profile(self, provider: Provider, change: Profile) -> None:
        with contextlib.suppress(RoomError):
            await super().set_profile(provider, change)


@breaks({"a_profile_that_is_refused_is_an_error": "its reason is 'data_refused'"})
class MistakesTheReason(Twist):
    async def set_profile(self, provider: Provider, change: Profile) -> None:
        try:
            await super().set_profile(provider, change)
        except RoomError as error:
            raise RoomError(str(error), reason="data_refused") from None


class Remembering(Losing):
    """Knows its provider, and whether the session has had another before."""

    sinks: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()
    again = False
    task: asyncio.Task[None] | None = None

    async def connect(self, provider: Provider, sink: Any, options: SessionOptions) -> Joined:
        self.provider = provider
        self.again = sink.inner in self.sinks
        self.sinks.add(sink.inner)
        return await super().connect(provider, sink, options)


@breaks({"what_we_set_of_ourselves_outlives_a_loss": "told Profile.name='Nobody'"})
class ForgetsUsInALoss(Remembering):
    def event(self, sink: Any, event: Event) -> None:
        super().event(sink, event)
        if event.kind is EventKind.CONNECTION_BACK:
            self.task = asyncio.create_task(self.provider.set_profile(Profile(name="Nobody")))


@breaks({"what_we_set_during_a_loss_is_told": "set meanwhile raised 'profile_refused'"})
class RefusesAProfileDuringALoss(Losing):
    async def set_profile(self, provider: Provider, change: Profile) -> None:
        if self.lost:
            raise RoomError("not just now", reason="profile_refused")
        await super().set_profile(provider, change)


@breaks({"what_we_set_of_ourselves_is_told_in_the_next_room": "told Profile.name=''"})
class IsSilentInTheNextRoom(Remembering):
    async def set_profile(self, provider: Provider, change: Profile) -> None:
        if not self.again:
            await super().set_profile(provider, change)
