"""Wrong about the room itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wrong_kit import Twist, breaks
from wrong_losing import Losing

from ringroom.events import Event, EventKind, RoomInfo


@breaks({"the_room_is_told_as_we_join": r"connected told: \[None\]"})
class JoinsWithoutAWord(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is EventKind.CONNECTED:
            event = replace(event, room=None)
        super().event(sink, event)


class Describing(Twist):
    """Tells of the room what `known` makes of it."""

    def known(self, room: RoomInfo) -> RoomInfo:
        raise NotImplementedError

    def event(self, sink: Any, event: Event) -> None:
        if event.room is not None:
            event = replace(event, room=self.known(event.room))
        super().event(sink, event)


@breaks(
    {
        "the_room_is_told_as_we_join": r"connected told: \[RoomInfo\(.*metadata=''",
        "a_change_of_the_room_is_told": r"room_changed told: \[RoomInfo\(.*metadata=''",
    }
)
class ForgetsWhatTheRoomIs(Describing):
    def known(self, room: RoomInfo) -> RoomInfo:
        return replace(room, metadata="")


@breaks({"the_room_is_told_as_we_join": "we are in 'room', told is RoomInfo.name='another'"})
class NamesAnotherRoom(Describing):
    def known(self, room: RoomInfo) -> RoomInfo:
        return replace(room, name="another")


@breaks({"a_change_of_the_room_is_told": r"the room has the metadata ''; room_changed told: \[R"})
class KeepsWhatTheRoomWas(Describing):
    kept = ""

    def known(self, room: RoomInfo) -> RoomInfo:
        self.kept = room.metadata or self.kept
        return replace(room, metadata=self.kept)


@breaks({"a_change_of_the_room_is_told": r"room_changed told: \[\]"})
class NeverTellsAChangeOfTheRoom(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is not EventKind.ROOM_CHANGED:
            super().event(sink, event)


@breaks({"a_change_of_the_room_during_a_loss_is_told": r"room_changed told: \[\]"})
class OverlooksWhatTheRoomBecame(Losing):
    def event(self, sink: Any, event: Event) -> None:
        if not (self.ever and event.kind is EventKind.ROOM_CHANGED):
            super().event(sink, event)
