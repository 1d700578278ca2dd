"""Wrong with data tracks, on the way in and out, at a provider and in the core."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wrong_inbound import Counting
from wrong_kit import Twist, WrongCore, breaks

from ringroom.errors import RoomError
from ringroom.events import Event, EventKind
from ringroom.frames import DataTrackFrame
from ringroom.providers.provider import Playout, Provider


class TwistOfReadings(Counting):
    """Frames of our data tracks; all else passes."""

    async def play(self, playout: Playout, frame: Any) -> None:
        if isinstance(frame, DataTrackFrame):
            await self.send(playout, frame)
        else:
            await super().play(playout, frame)

    async def send(self, playout: Playout, frame: DataTrackFrame) -> None:
        await playout.play(frame)


# In


@breaks({"readings_arrive_in_order_and_once": r"in the order \[1, 2, 4, 3"})
class SwapsReadings(Counting):
    def reading(self, track: Any, payload: bytes, timestamp: int | None) -> None:
        if self.tick() == 3:
            self.held = payload
            return
        super().reading(track, payload, timestamp)
        if self.held is not None:
            super().reading(track, self.held, None)
            self.held = None


@breaks({"readings_arrive_in_order_and_once": r"frames \[3\] came more than once"})
class RepeatsAReading(Counting):
    def reading(self, track: Any, payload: bytes, timestamp: int | None) -> None:
        for _ in range(2 if self.tick() == 3 else 1):
            super().reading(track, payload, timestamp)


@breaks({"readings_arrive_in_order_and_once": "not one frame of the data track arrived"})
class DropsEveryReading(Counting):
    def reading(self, track: Any, payload: bytes, timestamp: int | None) -> None:
        pass


@breaks({"no_reading_is_lost_on_the_way_in": r"frames \[3\] never came"})
class DropsAReading(Counting):
    def reading(self, track: Any, payload: bytes, timestamp: int | None) -> None:
        if self.tick() != 3:
            super().reading(track, payload, timestamp)


@breaks({"readings_arrive_as_they_were_sent": "the bytes of frame 3 are others"})
class CorruptsAReading(Counting):
    def reading(self, track: Any, payload: bytes, timestamp: int | None) -> None:
        if self.tick() == 3:
            payload = b"\xff" + payload[1:]
        super().reading(track, payload, timestamp)


@breaks({"readings_arrive_as_they_were_sent": "frame 2 has 999 bytes, and had 1000"})
class CutsAReading(Counting):
    def reading(self, track: Any, payload: bytes, timestamp: int | None) -> None:
        super().reading(track, payload[-999:], timestamp)


@breaks({"readings_arrive_as_they_were_sent": "frame 2 has the timestamp 0, and was sent with Non"})
class MakesTimestampsUp(Counting):
    def reading(self, track: Any, payload: bytes, timestamp: int | None) -> None:
        super().reading(track, payload, timestamp or 0)


@breaks({"readings_arrive_as_they_were_sent": r"timestamp 0, and was sent with 72057594037927936"})
class HasShortTimestamps(Counting):
    def reading(self, track: Any, payload: bytes, timestamp: int | None) -> None:
        short = None if timestamp is None else timestamp % (1 << 32)
        super().reading(track, payload, short)


@breaks({"a_reading_names_its_track": "said to be of .*ann.s"})
class NamesAnotherTrack(Twist):
    def open_track(self, sink: Any, track: Any, who: Any) -> Any:
        return super().open_track(sink, replace(track, name="ann's"), who)


@breaks({"data_tracks_come_to_those_who_ask_for_them": "for which nobody has asked"})
class GivesDataTracksToEverybody(WrongCore):
    @classmethod
    def options(cls, options: dict[str, Any]) -> dict[str, Any]:
        kinds = options.get("kinds", ())
        return {**options, "kinds": (*kinds, "data_track") if "data" in kinds else kinds}


@breaks({"a_data_track_is_told_from_its_beginning_to_its_end": "never told: track_ended"})
class NeverEndsADataTrack(Twist):
    def close_track(self, track: Any, reason: str) -> None:
        pass


@breaks({"a_data_track_is_told_from_its_beginning_to_its_end": "never told: track_unpublished"})
class HidesThatADataTrackIsNoMore(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is not EventKind.TRACK_UNPUBLISHED:
            super().event(sink, event)


@breaks({"a_data_track_is_told_from_its_beginning_to_its_end": "never told: track_published"})
class HidesThatADataTrackIsThere(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is not EventKind.TRACK_PUBLISHED:
            super().event(sink, event)


# Out


@breaks({"readings_of_ours_arrive_in_order_and_once": r"in the order \[1, 2, 4, 3"})
class SwapsOurReadings(TwistOfReadings):
    async def send(self, playout: Playout, frame: DataTrackFrame) -> None:
        if self.tick() == 3:
            self.held = frame
            return
        await super().send(playout, frame)
        if self.held is not None:
            await super().send(playout, self.held)
            self.held = None


@breaks({"readings_of_ours_arrive_in_order_and_once": r"frames \[3\] came more than once"})
class RepeatsOurReading(TwistOfReadings):
    async def send(self, playout: Playout, frame: DataTrackFrame) -> None:
        for _ in range(2 if self.tick() == 3 else 1):
            await super().send(playout, frame)


@breaks({"no_reading_of_ours_is_lost": r"frames \[3\] never came"})
class DropsOurReading(TwistOfReadings):
    async def send(self, playout: Playout, frame: DataTrackFrame) -> None:
        if self.tick() != 3:
            await super().send(playout, frame)


@breaks({"readings_of_ours_arrive_as_they_were_sent": "frame 1 has the timestamp None, and was"})
class ForgetsOurTimestamps(TwistOfReadings):
    async def send(self, playout: Playout, frame: DataTrackFrame) -> None:
        await super().send(playout, DataTrackFrame(frame.payload))


@breaks({"readings_of_ours_arrive_as_they_were_sent": "the bytes of frame 2 are others"})
class ScramblesOurReadings(TwistOfReadings):
    async def send(self, playout: Playout, frame: DataTrackFrame) -> None:
        middle, last = frame.payload[:-1], frame.payload[-1:]
        await super().send(playout, frame.replace(payload=middle[::-1] + last))


@breaks({"a_data_track_of_ours_ends_when_we_say_so": "a data track of ours being unpublished"})
class KeepsOurDataTrack(Twist):
    async def close_playout(self, playout: Playout) -> None:
        pass


@breaks({"a_data_track_of_ours_ends_when_we_say_so": "a data track of ours being published"})
class NamesOurDataTrackOtherwise(Twist):
    async def publish(self, provider: Provider, track: Any) -> Playout:
        return await super().publish(provider, replace(track, name="data"))


@breaks({"a_refused_data_track_is_told": "raised nothing, expected RoomError"})
class TakesWhatIsRefused(Twist):
    async def publish(self, provider: Provider, track: Any) -> Playout:
        try:
            return await super().publish(provider, track)
        except RoomError:
            return _Nowhere()


class _Nowhere(Playout):
    async def play(self, frame: Any) -> None:
        pass

    def queued(self) -> float:
        return 0.0

    def clear(self) -> float:
        return 0.0

    async def close(self) -> None:
        pass


@breaks({"data_tracks_go_on_after_a_loss": "nothing arrived after the loss"})
class IsDeafAfterALoss(Twist):
    lost = False

    def event(self, sink: Any, event: Event) -> None:
        self.lost = self.lost or event.kind is EventKind.CONNECTION_LOST
        super().event(sink, event)

    def reading(self, track: Any, payload: bytes, timestamp: int | None) -> None:
        if not self.lost:
            super().reading(track, payload, timestamp)


@breaks({"data_tracks_go_on_after_a_loss": "nothing was received after the loss"})
class IsDumbAfterALoss(TwistOfReadings):
    lost = False

    def event(self, sink: Any, event: Event) -> None:
        self.lost = self.lost or event.kind is EventKind.CONNECTION_LOST
        super().event(sink, event)

    async def send(self, playout: Playout, frame: DataTrackFrame) -> None:
        if not self.lost:
            await super().send(playout, frame)
