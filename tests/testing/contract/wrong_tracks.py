"""Wrong about tracks: their sources, their muting, the end of ours."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

from wrong_kit import Twist, breaks

from ringroom.errors import RoomError
from ringroom.events import Event, EventKind, Kind
from ringroom.options import PublishOptions
from ringroom.providers.provider import Playout


class Sourcing(Twist):
    """Takes every track for one of ``source``."""

    source = "unknown"

    def open_track(self, sink: Any, track: Any, who: Any) -> Any:
        return super().open_track(sink, replace(track, source=self.source), who)

    def event(self, sink: Any, event: Event) -> None:
        if event.track is not None:
            event = replace(event, track=replace(event.track, source=self.source))
        super().event(sink, event)


@breaks(
    {
        "frames_tell_the_source_of_their_track": "of .*'unknown'.*'unknown'",
        "a_publication_tells_its_source": "of .*'unknown'.*'unknown'",
    }
)
class ForgetsTheSource(Sourcing):
    pass


@breaks(
    {
        "frames_tell_the_source_of_their_track": "of .*'video': 'microphone'}, exp",
        "a_publication_tells_its_source": "of .*'video': 'microphone'}, exp",
    }
)
class TakesAllForMicrophones(Sourcing):
    source = "microphone"


@breaks(
    {
        "frames_tell_the_source_of_their_track": "of {'audio': 'camera', 'video",
        "a_publication_tells_its_source": "of {'audio': 'camera', 'video",
    }
)
class TakesAllForCameras(Sourcing):
    source = "camera"


@breaks(
    {"a_track_of_ours_has_the_source_that_we_say": "'of a screen_share_audio' is said to be of"}
)
class ForgetsOurSource(Twist):
    async def publish(self, provider: Any, track: Any) -> Playout:
        return await super().publish(provider, replace(track, options=PublishOptions()))


@breaks({"a_track_of_ours_has_the_source_that_we_say": "'of a camera' is said to be of a 'micro"})
class HasOnlyMicrophones(Twist):
    async def publish(self, provider: Any, track: Any) -> Playout:
        options = replace(track.options, source=track.options.source or "microphone")
        return await super().publish(provider, replace(track, options=options))


@breaks({"a_track_is_the_same_wherever_it_is_told": "published, and is told as .*sid='in-"})
class NumbersTracksItself(Twist):
    def open_track(self, sink: Any, track: Any, who: Any) -> Any:
        return super().open_track(sink, replace(track, sid=f"in-{track.sid}"), who)


@breaks({"a_track_is_the_same_wherever_it_is_told": "published, and is told as .*participant=''"})
class PublishesForNobody(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.track is not None:
            event = replace(event, track=replace(event.track, participant=""))
        super().event(sink, event)


@breaks(
    {
        "a_kind_that_was_not_asked_for_is_not_subscribed": "1 pictures came in: does the provi",
        "a_source_that_was_not_asked_for_is_not_subscribed": r"1 frames of \['camera'\] came in",
    }
)
class SubscribesToPictures(Twist):
    def wants(self, sink: Any, track: Any, who: Any) -> bool:
        return track.kind is Kind.VIDEO or super().wants(sink, track, who)


@breaks({"a_source_that_was_not_asked_for_is_not_subscribed": "not one frame of 'mic' arrived"})
class AsksWithoutTheSource(Twist):
    def wants(self, sink: Any, track: Any, who: Any) -> bool:
        return super().wants(sink, replace(track, source="unknown"), who)


@breaks({"a_track_is_chosen_by_its_name": "not one frame of 'mic' arrived"})
class AsksWithoutTheName(Twist):
    def wants(self, sink: Any, track: Any, who: Any) -> bool:
        return super().wants(sink, replace(track, name=""), who)


@breaks({"a_track_is_chosen_by_its_name": r"frames of \['guitar'\] came in, not wanted"})
class AsksOnceForAPerson(Twist):
    def wants(self, sink: Any, track: Any, who: Any) -> bool:
        return super().wants(sink, replace(track, name="mic"), who)


@breaks({"the_end_of_pictures_is_told": "'track_ended of camera' being told: not within"})
class EndsSoundAlone(Twist):
    def open_track(self, sink: Any, track: Any, who: Any) -> Any:
        opened = super().open_track(sink, track, who)
        if track.kind is Kind.VIDEO:
            opened.close = lambda reason="": None
        return opened


@breaks({"the_end_of_a_track_names_whose_it_was": "of 'ann'; track_unpublished names ''"})
class ForgetsWhoUnpublished(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is EventKind.TRACK_UNPUBLISHED:
            event = replace(event, participant=None)
        super().event(sink, event)


@breaks({"muting_of_pictures_is_told": "'track_muted of camera' being told: not"})
class MutesSoundAlone(Twist):
    def open_track(self, sink: Any, track: Any, who: Any) -> Any:
        opened = super().open_track(sink, track, who)
        if track.kind is Kind.VIDEO:
            opened.muted = lambda muted: None
        return opened


@breaks({"a_track_that_was_muted_before_us_is_told": "'track_muted of mic' was never told"})
class OverlooksWhatIsMuted(Twist):
    """It learns of muting as it happens, and asks nobody how a track begins."""

    beginning = False

    def open_track(self, sink: Any, track: Any, who: Any) -> Any:
        self.beginning = True
        asyncio.get_running_loop().call_soon(self._begun)
        return super().open_track(sink, track, who)

    def _begun(self) -> None:
        self.beginning = False

    def muted(self, track: Any, muted: bool) -> None:
        if not self.beginning:
            super().muted(track, muted)


# The end of ours


@breaks(
    {
        "a_track_of_ours_ends_when_we_unpublish_it": "unpublished, being gone for others: not",
        "pictures_of_ours_end_when_we_unpublish_them": "unpublished, being gone for others: not",
    }
)
class NeverUnpublishes(Twist):
    async def close_playout(self, playout: Playout) -> None:
        playout.clear()


@breaks({"a_track_of_ours_ends_when_we_unpublish_it": "before the track's end were never heard"})
class UnpublishesBeforeTheEnd(Twist):
    """Says that all is played as soon as it is taken."""

    def queued(self, playout: Playout) -> float:
        return 0.0


@breaks({"a_track_that_we_unpublish_takes_no_other_along": "unpublished, and 'music' has gone"})
class UnpublishesAll(Twist):
    def __init__(self) -> None:
        self.playouts: list[Playout] = []

    async def publish(self, provider: Any, track: Any) -> Playout:
        self.playouts.append(await super().publish(provider, track))
        return self.playouts[-1]

    async def close_playout(self, playout: Playout) -> None:
        for one in self.playouts:
            await one.close()


@breaks({"the_name_of_a_track_of_ours_can_be_used_again": "is there already|were not heard"})
class RefusesTheNameAgain(Twist):
    def __init__(self) -> None:
        self.names: set[str] = set()

    async def publish(self, provider: Any, track: Any) -> Playout:
        if track.name in self.names:
            raise RoomError("a track of that name is there already", reason="publish_refused")
        self.names.add(track.name)
        return await super().publish(provider, track)


# What the room does to ours


@breaks({"an_idle_track_that_the_room_ends_is_told": "'publish_failed of ' was never told"})
class HidesTheEndOfIdleTracks(Twist):
    def on_ended(self, playout: Playout, tell: Any) -> None:
        pass


@breaks({"a_track_that_the_room_ends_is_told": "that the room has ended being refused: not within"})
class PlaysOnWithoutTheRight(HidesTheEndOfIdleTracks):
    async def play(self, playout: Playout, frame: Any) -> None:
        with contextlib.suppress(RoomError):
            await super().play(playout, frame)


@breaks({"a_track_that_the_room_mutes_is_told": "'publish_muted of audio' was never told"})
class HidesMutedTracks(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind not in (EventKind.PUBLISH_MUTED, EventKind.PUBLISH_UNMUTED):
            super().event(sink, event)


@breaks({"a_track_that_the_room_mutes_is_told": "after the track was unmuted was never heard"})
class EndsMutedTracks(Twist):
    def __init__(self) -> None:
        self.muted_once = False

    def event(self, sink: Any, event: Event) -> None:
        self.muted_once |= event.kind is EventKind.PUBLISH_MUTED
        super().event(sink, event)

    async def play(self, playout: Playout, frame: Any) -> None:
        if not self.muted_once:
            await super().play(playout, frame)
