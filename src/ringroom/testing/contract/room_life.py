"""Promises about what is told of the room itself, and of the connections to it."""

from __future__ import annotations

from ringroom.client import Receiver
from ringroom.events import Event, EventKind, RoomInfo
from ringroom.testing.contract.hearing import collect, say
from ringroom.testing.contract.losing import lose
from ringroom.testing.contract.promise import broken, expect, promise
from ringroom.testing.contract.score import Score
from ringroom.testing.contract.subject import Stage, Subject

METADATA = '{"topic": "münchen"}'


def expect_told(receiver: Receiver, stage: Stage, metadata: str, *kinds: EventKind) -> RoomInfo:
    """The room, once an event of one of those kinds has told it with that metadata; without one the
    promise is broken."""

    def told(items: list[Event]) -> list[RoomInfo | None]:
        return [event.room for event in items if event.kind in kinds]

    def enough(items: list[Event]) -> bool:
        return any(room is not None and room.metadata == metadata for room in told(items[-1:]))

    items, _ = collect(receiver, enough, 2 * stage.patience)
    if not enough(items):
        broken(f"the room has the metadata {metadata!r}; {' or '.join(kinds)} told: {told(items)}")
    room: RoomInfo = items[-1].room
    return room


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


def expect_quality(receiver: Receiver, stage: Stage, who: str, quality: str) -> None:
    """Break the promise unless that quality of the connection of ``who`` is told."""

    def told(items: list[Event]) -> list[tuple[str, str]]:
        return [
            (event.participant.identity if event.participant else "", event.quality)
            for event in items
            if event.kind is EventKind.CONNECTION_QUALITY
        ]

    def enough(items: list[Event]) -> bool:
        return told(items[-1:]) == [(who, quality)]

    items, _ = collect(receiver, enough, 2 * stage.patience)
    expect(enough(items), f"the connection of {who!r} is {quality}; told were {told(items)}")


@promise("events", "audio_in", "connection_quality")
def the_quality_of_a_connection_is_told(subject: Subject) -> None:
    """How good the connection of somebody is of whom we receive a track is told, and whose it
    is."""
    with subject.opened(kinds=("audio", "event")) as (transport, stage):
        receiver = transport.recv(kinds=("event",), timeout=stage.patience)
        say(stage, Score(stage.capabilities))
        expect_quality(receiver, stage, "ann", stage.driver.quality("ann"))


@promise("events", "connection_quality")
def the_quality_of_our_own_connection_is_told(subject: Subject) -> None:
    """How good our own connection is is told, as that of the participant who we are."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        expect_quality(receiver, stage, transport.identity, stage.driver.quality(""))
