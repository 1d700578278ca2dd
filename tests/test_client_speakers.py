"""What a transport is told of who speaks."""

from __future__ import annotations

from typing import Any

from app_kit import PATIENCE, opened
from ringroom.client import Receiver
from ringroom.events import Event, EventKind
from ringroom.testing import FakeRoom

OPTIONS: dict[str, Any] = {"kinds": ("audio", "event"), "active_speakers": True}


def until_told(receiver: Receiver, speakers: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All that is told until it is that."""
    found: list[tuple[str, ...]] = []
    while not found or found[-1] != speakers:
        event = next(receiver)
        if isinstance(event, Event) and event.kind is EventKind.ACTIVE_SPEAKERS:
            found.append(event.speakers)
            assert event.received_ns
    return found


def test_who_speaks_is_told_the_loudest_first(fake_room: FakeRoom) -> None:
    ann, bob = (fake_room.join(who).publish_audio() for who in ("ann", "bob"))
    with opened(fake_room, **OPTIONS) as transport:
        receiver = transport.recv(kinds=("event",), timeout=PATIENCE)
        for microphone in (ann, bob):
            microphone.wait_for_subscriber()
        ann.tone(seconds=60, level=0.05)
        until_told(receiver, ("ann",))
        bob.tone(seconds=60, level=0.5)
        until_told(receiver, ("bob", "ann"))
        ann.stop()
        until_told(receiver, ("bob",))
        bob.unpublish()
        until_told(receiver, ())


def test_when_the_connection_is_lost_for_good_nobody_speaks(fake_room: FakeRoom) -> None:
    microphone = fake_room.join("ann").publish_audio()
    with opened(fake_room, **OPTIONS) as transport:
        receiver = transport.recv(kinds=("event",), timeout=PATIENCE)
        microphone.wait_for_subscriber()
        microphone.tone(seconds=60)
        until_told(receiver, ("ann",))
        fake_room.break_connection()
        until_told(receiver, ())
        until_told(receiver, ("ann",))


def test_nothing_is_told_that_was_not_asked_for(fake_room: FakeRoom) -> None:
    microphone = fake_room.join("ann").publish_audio()
    with opened(fake_room, kinds=("audio", "event")) as transport:
        microphone.wait_for_subscriber()
        microphone.tone(seconds=1.5, wait=True)
        fake_room.close_room()
        told = [item.kind for item in transport.recv() if isinstance(item, Event)]
        assert EventKind.DISCONNECTED in told
        assert EventKind.ACTIVE_SPEAKERS not in told
