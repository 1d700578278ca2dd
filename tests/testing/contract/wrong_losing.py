"""Wrong while the connection is lost, and when it is back."""

from __future__ import annotations

from typing import Any

from wrong_kit import Twist, breaks

from ringroom.errors import RoomError
from ringroom.events import Event, EventKind
from ringroom.frames import DataFrame
from ringroom.providers.provider import Playout


class Losing(Twist):
    """Knows whether the connection is lost just now, and whether it ever was."""

    lost = ever = False

    def event(self, sink: Any, event: Event) -> None:
        if event.kind is EventKind.CONNECTION_LOST:
            self.lost = self.ever = True
        elif event.kind is EventKind.CONNECTION_BACK:
            self.lost = False
        super().event(sink, event)


@breaks({"a_track_begun_during_a_loss_is_heard": "begun meanwhile raised 'publish_refused'"})
class RefusesTracksDuringALoss(Losing):
    async def publish(self, provider: Any, track: Any) -> Playout:
        if self.lost:
            raise RoomError("not just now", reason="publish_refused")
        return await super().publish(provider, track)


@breaks({"a_track_waits_for_the_next_room": "begun meanwhile raised 'publish_refused'"})
class TakesALossForARefusedTrack(Twist):
    async def publish(self, provider: Any, track: Any) -> Playout:
        try:
            return await super().publish(provider, track)
        except RoomError as error:
            raise RoomError(str(error), reason="publish_refused") from None


@breaks({"a_message_sent_during_a_loss_is_received": "not one message of ours was received"})
class RefusesMessagesDuringALoss(Losing):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        if self.lost:
            raise RoomError("not just now", reason="data_refused")
        await super().send_data(provider, frame)


@breaks({"messages_arrive_after_a_loss": "after the loss never arrived"})
class ReadsNothingAfterALoss(Losing):
    def data(self, sink: Any, frame: DataFrame) -> None:
        if not self.ever:
            super().data(sink, frame)


@breaks({"pictures_arrive_after_a_loss": "a picture that is shown after the loss: not within"})
class SeesNothingAfterALoss(Losing):
    def video(self, track: Any, i420: Any, size: Any, origin: Any) -> None:
        if not self.ever:
            super().video(track, i420, size, origin)


@breaks({"pictures_of_ours_are_seen_after_a_loss": "after the loss being seen: not within"})
class ShowsNothingAfterALoss(Losing):
    async def play(self, playout: Playout, frame: Any) -> None:
        if not self.ever:
            await super().play(playout, frame)


@breaks(
    {
        "who_came_and_went_during_a_loss_is_told": r"never told: \[\('participant_left', 'ben'\)",
        "who_is_there_is_listed_after_a_loss": r"listed were \['ann', 'ben'\]",
    }
)
class OverlooksWhoWent(Losing):
    def event(self, sink: Any, event: Event) -> None:
        if not (self.ever and event.kind is EventKind.PARTICIPANT_LEFT):
            super().event(sink, event)


@breaks({"who_came_and_went_during_a_loss_is_told": r"never told: \[\('participant_joined', 'eve'"})
class OverlooksWhoCame(Losing):
    def event(self, sink: Any, event: Event) -> None:
        if not (self.ever and event.kind is EventKind.PARTICIPANT_JOINED):
            super().event(sink, event)


@breaks({"a_change_during_a_loss_is_told": "participant_changed told: nothing"})
class OverlooksWhoChanged(Losing):
    def event(self, sink: Any, event: Event) -> None:
        if not (self.ever and event.kind is EventKind.PARTICIPANT_CHANGED):
            super().event(sink, event)


@breaks({"a_track_that_comes_back_has_ended_before": r"begun are .*, ended \[\]: the end of"})
class LeavesTracksOpen(Losing):
    def close_track(self, track: Any, reason: str) -> None:
        if not self.ever:
            super().close_track(track, reason)
