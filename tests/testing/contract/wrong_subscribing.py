"""Wrong about who may subscribe to our tracks."""

from __future__ import annotations

from typing import Any

from wrong_kit import Twist, breaks
from wrong_losing import Losing

from ringroom.events import Event, EventKind
from ringroom.options import SessionOptions
from ringroom.providers.provider import Joined, Provider, Subscribers

ALONE, TRACK = "who_may_not_subscribe_does_not_hear_us", "a_track_may_be_for_some_alone"
LOSS, NEXT = "who_may_subscribe_holds_after_a_loss", "who_may_subscribe_holds_in_the_next_room"


@breaks(
    {
        ALONE: "'bob' may not subscribe to our 'audio', and hears it",
        TRACK: "'ann' may not subscribe to our 'whisper', and hears it",
    }
)
class LetsEverybodyHear(Twist):
    def allow_subscribers(self, provider: Provider, allowed: Subscribers) -> None:
        """Nothing."""


@breaks({ALONE: "'ann' hearing our 'audio': not within"})
class LetsNobodyHear(Twist):
    def allow_subscribers(self, provider: Provider, allowed: Subscribers) -> None:
        super().allow_subscribers(provider, Subscribers(frozenset()))


@breaks({ALONE: "'ann', who may not, hearing our 'audio' no more: not within"})
class TakesNothingBack(Twist):
    ever: frozenset[str] = frozenset()

    def allow_subscribers(self, provider: Provider, allowed: Subscribers) -> None:
        self.ever |= allowed.named
        if allowed != Subscribers():
            allowed = Subscribers(self.ever)
        super().allow_subscribers(provider, allowed)


@breaks({TRACK: "'ann' hearing our 'open': not within"})
class TakesOneTrackForAll(Twist):
    def allow_subscribers(self, provider: Provider, allowed: Subscribers) -> None:
        (whisper,) = allowed.tracks.values()
        super().allow_subscribers(provider, Subscribers(whisper))


@breaks({LOSS: "'ann' may not subscribe to our 'whisper', and hears it"})
class ForgetsWhoMayHear(Losing):
    async def connect(self, provider: Provider, sink: Any, options: SessionOptions) -> Joined:
        self.provider = provider
        return await super().connect(provider, sink, options)

    def event(self, sink: Any, event: Event) -> None:
        if event.kind is EventKind.CONNECTION_BACK:
            self.provider.allow_subscribers(Subscribers())
        super().event(sink, event)


@breaks({NEXT: "'ann' may not subscribe to our 'whisper', and hears it"})
class TellsTheFirstRoomAlone(Twist):
    lost = False

    def ended(self, sink: Any, reason: str, error: str) -> None:
        type(self).lost = True
        super().ended(sink, reason, error)

    def allow_subscribers(self, provider: Provider, allowed: Subscribers) -> None:
        if not self.lost:
            super().allow_subscribers(provider, allowed)
