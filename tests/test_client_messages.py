"""A transport's messages, both ways, and its events."""

from __future__ import annotations

import pytest

import ringroom
from app_kit import (
    PATIENCE,
    microphone,
    opened,
    say,
)
from ringroom.checks import MAX_DATA_BYTES
from ringroom.errors import (
    FrameError,
)
from ringroom.frames import AudioFrame, EventKind
from ringroom.testing import FakeRoom


def test_messages_to_all_and_to_some(fake_room: FakeRoom) -> None:
    alice, bob = fake_room.join("alice"), fake_room.join("bob")
    with opened(fake_room) as transport:
        transport.send_data("grüße", topic="t", to=["alice"])
        transport.send_data(b"\x00\xff", reliable=False)
        messages = fake_room.wait_for_data(count=2)
        assert messages[0].payload.decode() == "grüße"
        assert (messages[0].topic, messages[0].to, messages[0].reliable) == ("t", ("alice",), True)
        assert (messages[1].to, messages[1].reliable) == ((), False)
        assert [m.payload for m in alice.received] == [messages[0].payload, b"\x00\xff"]
        assert [m.payload for m in bob.received] == [b"\x00\xff"]
        transport.send_data(b"x" * MAX_DATA_BYTES)
        with pytest.raises(FrameError, match=str(MAX_DATA_BYTES)):
            transport.send_data(b"x" * (MAX_DATA_BYTES + 1))
        with pytest.raises(FrameError, match="expected a tuple of identities"):
            transport.send_data(b"x", to="alice")


def test_a_refused_message_is_told_as_an_event(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("event",)) as transport:
        fake_room.refuse_data()
        transport.send_data(b"x")
        events = transport.recv(timeout=PATIENCE)
        kinds = [next(events).kind for _ in range(2)]
        assert EventKind.DATA_FAILED in kinds
        fake_room.refuse_data(False)
        transport.send_data(b"y")
        fake_room.wait_for_data()
    assert transport.stats().sent.problems == 1


def test_messages_that_are_refused_do_not_fill_the_log(
    fake_room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(fake_room, kinds=("event",)) as transport:
        fake_room.refuse_data()
        for _ in range(20):
            transport.send_data(b"x")
        transport.wait_playout(timeout=PATIENCE)
        failed = 0
        for event in transport.recv(timeout=PATIENCE):
            failed += event.kind is EventKind.DATA_FAILED
            if failed == 20:
                break
    assert caplog.text.count("a message was not sent") == 1


def test_a_tracks_life_in_events(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("audio", "event")) as transport:
        events = transport.recv(timeout=PATIENCE)
        mic = microphone(fake_room)
        mic.wait_for_subscriber()
        mic.mute()
        mic.unmute()
        spoken = say(mic, 0.04)
        mic.unpublish()
        fake_room.remove("alice")
        track: list[str] = []
        whole: list[str] = []
        while EventKind.PARTICIPANT_LEFT not in whole or EventKind.TRACK_ENDED not in whole:
            item = next(events)
            name = item.kind if isinstance(item, ringroom.Event) else "sound"
            whole.append(name)
            if name in ("sound", *_LIFE):
                track.append(name)
            if name in _LIFE:
                assert item.participant.identity == "alice"
                assert item.track.name == "mic"
        assert track == [*_LIFE[:3], *["sound"] * 2, _LIFE[3]]
        room_events = [name for name in whole if name not in ("sound", *_LIFE)]
        assert room_events == [
            EventKind.CONNECTED,
            EventKind.PARTICIPANT_JOINED,
            EventKind.TRACK_PUBLISHED,
            EventKind.TRACK_UNPUBLISHED,
            EventKind.PARTICIPANT_LEFT,
        ]
        assert len(spoken) == 640


_LIFE = (
    EventKind.TRACK_STARTED,
    EventKind.TRACK_MUTED,
    EventKind.TRACK_UNMUTED,
    EventKind.TRACK_ENDED,
)


def test_events_apart_from_frames(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room, kinds=("audio", "event")) as transport:
        sounds = transport.recv(kinds=("audio",), timeout=PATIENCE)
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        mic.wait_for_subscriber()
        say(mic, 0.02)
        assert isinstance(next(sounds), AudioFrame)
        kinds = {next(events).kind for _ in range(4)}
        assert kinds == {
            EventKind.CONNECTED,
            EventKind.PARTICIPANT_JOINED,
            EventKind.TRACK_PUBLISHED,
            EventKind.TRACK_STARTED,
        }
