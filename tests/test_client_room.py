"""What a transport is told of the room itself."""

from __future__ import annotations

import os
import signal

import pytest

import ringroom
from app_kit import PATIENCE, opened
from ringroom.client import Receiver
from ringroom.errors import FrameError
from ringroom.events import Event, EventKind, RoomInfo
from ringroom.testing import FakeRoom


def until_told(receiver: Receiver, kind: EventKind) -> list[Event]:
    """What comes, up to an event of that kind."""
    came: list[Event] = []
    while not came or came[-1].kind is not kind:
        came.append(next(receiver))
    return came


def test_the_room_is_told_as_we_join_and_whenever_it_changes(fake_room: FakeRoom) -> None:
    fake_room.set_metadata("before")
    with opened(fake_room, kinds=("event",)) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        first = next(receiver)
        assert first.kind is EventKind.CONNECTED
        name = fake_room.name
        assert first.room == RoomInfo(name=name, sid=f"RM_{name}", metadata="before")
        fake_room.set_metadata("before")  # nothing has changed
        for metadata in ("grüße", ""):
            fake_room.set_metadata(metadata)
            event = next(receiver)
            assert (event.kind, event.room) == (
                EventKind.ROOM_CHANGED,
                RoomInfo(name=name, sid=f"RM_{name}", metadata=metadata),
            )
            assert event.received_ns > 0
        with pytest.raises(FrameError, match="metadata"):
            fake_room.set_metadata("x" * (1 << 20))


@pytest.mark.parametrize("resume", [True, False])
def test_what_the_room_became_during_a_loss_is_told_behind_it(
    fake_room: FakeRoom, resume: bool
) -> None:
    with opened(fake_room, kinds=("event",)) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        with fake_room.faults.connection_lost(resume=resume):
            until_told(receiver, EventKind.CONNECTION_LOST)
            fake_room.set_metadata("meanwhile")
        assert EventKind.ROOM_CHANGED not in [
            event.kind for event in until_told(receiver, EventKind.CONNECTION_BACK)
        ]
        changed = until_told(receiver, EventKind.ROOM_CHANGED)[-1]
        assert changed.room is not None
        assert changed.room.metadata == "meanwhile"


@pytest.mark.parametrize("metadata", ["before", "meanwhile"])
def test_what_the_room_is_when_it_is_joined_anew_is_told(
    fake_room: FakeRoom, metadata: str
) -> None:
    fake_room.set_metadata("before")
    again = ringroom.Reconnect(backoff=0.01, longest=0.01)
    with opened(fake_room, kinds=("event",), reconnect=again) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        with fake_room.faults.server_gone():
            until_told(receiver, EventKind.CONNECTION_LOST)
            fake_room.set_metadata(metadata)
        back = until_told(receiver, EventKind.CONNECTION_BACK)[-1]
        assert back.room is not None
        assert back.room.metadata == metadata
        fake_room.join("ann")
        came = [event.kind for event in until_told(receiver, EventKind.PARTICIPANT_JOINED)]
        assert came.count(EventKind.ROOM_CHANGED) == (metadata != "before")


def test_another_io_process_tells_what_the_room_is(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("event",), io="process") as transport:
        receiver = transport.recv(timeout=PATIENCE)
        until_told(receiver, EventKind.CONNECTED)
        assert transport.io_pid is not None
        os.kill(transport.io_pid, signal.SIGKILL)
        fake_room.set_metadata("meanwhile")
        came = iter(receiver)
        told = next(event.room for event in came if event.room is not None)
        assert told.metadata == "meanwhile"


def test_metadata_that_no_record_takes_is_left_out(fake_room: FakeRoom) -> None:
    """What a server lets pass, but for one that is configured otherwise, is told."""
    with opened(fake_room, kinds=("event",)) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        until_told(receiver, EventKind.CONNECTED)
        for metadata, told in (
            ("m" * 65_536, "m" * 65_536),
            ("m" * 65_537, ""),  # as of a participant
            ("n" * 60_000, "n" * 60_000),
            ("\U0001f600" * 65_536, ""),  # written down it is twelve times as long
        ):
            fake_room.set_metadata(metadata)
            room = until_told(receiver, EventKind.ROOM_CHANGED)[-1].room
            assert room is not None
            assert room.metadata == told
