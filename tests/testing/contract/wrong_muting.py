"""Wrong about our own muting: what becomes of a track that the application mutes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from wrong_kit import Twist, breaks
from wrong_own_profile import Remembering

from ringroom.events import Event, EventKind
from ringroom.frames import AudioFrame
from ringroom.providers.provider import OutgoingTrack, Playout, Provider


class Knowing(Twist):
    """Knows which tracks are muted."""

    def __init__(self) -> None:
        super().__init__()
        self.muted: set[Playout] = set()

    async def publish(self, provider: Provider, track: OutgoingTrack) -> Playout:
        playout = await super().publish(provider, track)
        if track.muted:
            self.muted.add(playout)
        return playout

    def mute(self, playout: Playout, muted: bool) -> None:
        (self.muted.add if muted else self.muted.discard)(playout)
        super().mute(playout, muted)


@breaks(
    {
        "what_we_send_on_a_muted_track_is_not_heard": "told that 'audio' is muted: not",
        "pictures_on_a_muted_track_are_not_seen": "told that 'video' is muted: not",
    }
)
class MutesNothing(Twist):
    def mute(self, playout: Playout, muted: bool) -> None:
        pass


@breaks(
    {
        "what_we_send_on_a_muted_track_is_not_heard": r"pieces \[0, .* while the track was muted",
        "pictures_on_a_muted_track_are_not_seen": "a picture was seen that was sent while",
    }
)
class SaysSoAlone(Knowing):
    """It lets through what it has muted."""

    async def play(self, playout: Playout, frame: Any) -> None:
        if playout in self.muted:
            super().mute(playout, False)
            self.muted.add(playout)
            await super().play(playout, frame)
            while playout.queued():
                await asyncio.sleep(playout.queued())
            playout.mute(True)
        else:
            await super().play(playout, frame)


@breaks({"what_we_send_on_a_muted_track_is_not_heard": "told that 'audio' is unmuted: not"})
class UnmutesNothing(Twist):
    def mute(self, playout: Playout, muted: bool) -> None:
        if muted:
            super().mute(playout, muted)


@breaks({"what_we_send_on_a_muted_track_is_not_heard": "after we had unmuted were never heard"})
class UnmutesLate(Knowing):
    """The first words are over before it lets anything through."""

    first = 0

    def mute(self, playout: Playout, muted: bool) -> None:
        super().mute(playout, muted)
        self.first = 0 if muted else 3

    async def play(self, playout: Playout, frame: Any) -> None:
        if self.first and isinstance(frame, AudioFrame):
            self.first -= 1
            frame = frame.replace(samples=frame.samples * 0)
        await super().play(playout, frame)


@breaks({"muted_sound_plays_as_ever": "s were (over after|played)"})
class SwallowsWhatIsMuted(Knowing):
    async def play(self, playout: Playout, frame: Any) -> None:
        if playout not in self.muted:
            await super().play(playout, frame)


@breaks({"a_track_that_is_muted_first_begins_muted": "told that 'audio' is muted: not"})
class BeginsUnmuted(Twist):
    async def publish(self, provider: Provider, track: OutgoingTrack) -> Playout:
        return await super().publish(provider, replace(track, muted=False))


@breaks({"muting_does_not_wait_for_what_was_sent": "the end of what was sent before we muted"})
class MutesWhatComesNext(Knowing):
    """It lets out what it has been given, and what the core has ready."""

    def mute(self, playout: Playout, muted: bool) -> None:
        loop = asyncio.get_running_loop()
        if muted:
            loop.call_later(3.0, super().mute, playout, True)
        else:
            super().mute(playout, False)


@breaks({"a_track_that_is_published_again_is_not_muted": "told that 'audio' is unmuted: not"})
class RemembersTheName(Twist):
    def __init__(self) -> None:
        super().__init__()
        self.once = False

    async def publish(self, provider: Provider, track: OutgoingTrack) -> Playout:
        return await super().publish(provider, replace(track, muted=self.once))

    def mute(self, playout: Playout, muted: bool) -> None:
        self.once |= muted
        super().mute(playout, muted)


class ComingBack(Remembering):
    """Knows its playouts."""

    def __init__(self) -> None:
        super().__init__()
        self.playouts: list[Playout] = []

    async def publish(self, provider: Provider, track: OutgoingTrack) -> Playout:
        self.playouts.append(await super().publish(provider, track))
        return self.playouts[-1]


@breaks({"what_we_mute_is_muted_after_a_loss": "told that 'audio' is muted: not"})
class UnmutesInALoss(ComingBack):
    def event(self, sink: Any, event: Event) -> None:
        super().event(sink, event)
        if event.kind is EventKind.CONNECTION_BACK:
            for playout in self.playouts:
                playout.mute(False)


@breaks({"what_we_mute_is_muted_in_the_next_room": "told that 'audio' is muted: not"})
class BeginsAnewUnmuted(ComingBack):
    async def publish(self, provider: Provider, track: OutgoingTrack) -> Playout:
        if self.again:
            track = replace(track, muted=False)
        return await super().publish(provider, track)


@breaks({"our_muting_is_not_told_as_the_rooms": r"told were \['publish_muted', 'publish_muted'"})
class TellsOursToo(Twist):
    sink: Any = None

    async def connect(self, provider: Provider, sink: Any, options: Any) -> Any:
        self.sink = sink
        return await super().connect(provider, sink, options)

    def mute(self, playout: Playout, muted: bool) -> None:
        super().mute(playout, muted)
        if muted:
            self.sink.event(Event(kind=EventKind.PUBLISH_MUTED))


@breaks({"our_muting_is_not_told_as_the_rooms": "'publish_unmuted of audio' was never told"})
class HidesThatItIsHeardAgain(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is not EventKind.PUBLISH_UNMUTED:
            super().event(sink, event)
