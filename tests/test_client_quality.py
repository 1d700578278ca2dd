"""What a transport is told of how good connections are."""

from __future__ import annotations

import pytest

from app_kit import PATIENCE, opened
from ringroom.client import Receiver
from ringroom.errors import ConfigurationError
from ringroom.events import EventKind
from ringroom.testing import FakeRoom

Told = tuple[str, str]


def told(receiver: Receiver, count: int) -> list[Told]:
    """The next qualities."""
    found: list[Told] = []
    while len(found) < count:
        event = next(receiver)
        if event.kind is EventKind.CONNECTION_QUALITY:
            found.append((event.participant.identity, event.quality))
    return found


def test_qualities_are_told_of_us_and_of_those_whom_we_hear(fake_room: FakeRoom) -> None:
    """As a LiveKit server does."""
    ann, bob = fake_room.join("ann"), fake_room.join("bob", name="Bob")
    mic = ann.publish_audio()
    with opened(fake_room, kinds=("audio", "event")) as transport:
        receiver = transport.recv(kinds=("event",), timeout=PATIENCE)
        mic.wait_for_subscriber()
        fake_room.set_quality("bob", "lost")
        for who, quality in (("ann", "good"), ("app", "poor"), ("app", "poor"), ("ann", "lost")):
            fake_room.set_quality(who, quality)
        assert told(receiver, 3) == [("ann", "good"), ("app", "poor"), ("ann", "lost")]
        bob.publish_audio()  # what it has been all the time is told now
        assert told(receiver, 1) == [("bob", "lost")]


def test_what_a_quality_became_during_a_loss_is_told_behind_it(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("event",)) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        fake_room.wait_for_app()
        with fake_room.faults.connection_lost():
            fake_room.set_quality("app", "good")
            fake_room.set_quality("app", "poor")
        assert told(receiver, 1) == [("app", "poor")]


def test_what_is_no_quality_and_who_is_not_there(fake_room: FakeRoom) -> None:
    fake_room.join("ann")
    with pytest.raises(ConfigurationError, match="the quality is 'bad', expected 'excellent', 'go"):
        fake_room.set_quality("ann", "bad")
    with pytest.raises(LookupError, match="'bob' is not there"):
        fake_room.set_quality("bob", "good")
