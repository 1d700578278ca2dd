"""Promises about what is told of the room itself."""

from __future__ import annotations

from ringroom.client import Receiver
from ringroom.events import Event, EventKind, RoomInfo
from ringroom.testing.contract.hearing import collect
from ringroom.testing.contract.losing import lose
from ringroom.testing.contract.promise import broken, expect, promise
from ringroom.testing.contract.subject import Stage, Subject

METADATA = '{"topic": "münchen"}'


def expect_told(receiver: Receiver, stage: Stage, metadata: str, *kinds: EventKind) -> RoomInfo:
    """The room, once an event of one of those kinds has told it with that metadata; without one the
    promise is broken."""
    told: list[RoomInfo | None] = []

    def enough(items: list[object]) -> bool:
        event = items[-1] if items else None
        if isinstance(event, Event) and event.kind in kinds:
            told.append(event.room)
        return bool(told) and told[-1] is not None and told[-1].metadata == metadata

    items, _ = collect(receiver, enough, 2 * stage.patience)
    if not enough(items) or told[-1] is None:
        broken(f"the room has the metadata {metadata!r}; {' or '.join(kinds)} told: {told}")
    return told[-1]


@promise("events", "room_metadata")
def the_room_is_told_as_we_join(subject: Subject) -> None:
    """The event that tells that we are in the room has its name, and its metadata of that time."""
    with subject.staged() as stage:
        stage.driver.describe_room(METADATA)
        transport = stage.open(kinds=("event",))
        try:
            receiver = transport.recv(timeout=stage.patience)
            room = expect_told(receiver, stage, METADATA, EventKind.CONNECTED)
            expect(room.name == transport.room, f"we are in {transport.room!r}, told is {room}")
        finally:
            transport.close()


@promise("events", "room_metadata")
def a_change_of_the_room_is_told(subject: Subject) -> None:
    """What the room's metadata is changed to is told, also that it has none any more."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        for metadata in (METADATA, ""):
            stage.driver.describe_room(metadata)
            expect_told(receiver, stage, metadata, EventKind.ROOM_CHANGED)


@promise("events", "room_metadata", "connection_loss")
def a_change_of_the_room_during_a_loss_is_told(subject: Subject) -> None:
    """When the connection is back, what the room's metadata was changed to meanwhile is told."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = lose(transport, stage)
        stage.driver.describe_room(METADATA)
        stage.driver.restore_connection()
        expect_told(receiver, stage, METADATA, EventKind.ROOM_CHANGED)
