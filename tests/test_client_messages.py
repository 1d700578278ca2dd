"""A transport's messages, both ways, and its events."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest

import ringroom
from app_kit import (
    PATIENCE,
    microphone,
    opened,
    say,
    until,
)
from ringroom.checks import MAX_DATA_BYTES, MAX_TEXT_BYTES
from ringroom.errors import ConfigurationError, FrameError
from ringroom.events import EventKind
from ringroom.frames import AudioFrame, TextFrame
from ringroom.providers.fake import Fake
from ringroom.providers.provider import Provider
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


# Texts.

CHAT = {"kinds": ("data", "event"), "text_topics": ("lk.chat",)}


def test_texts_to_all_and_to_some(fake_room: FakeRoom) -> None:
    alice, bob = fake_room.join("alice"), fake_room.join("bob")
    with opened(fake_room) as transport:
        transport.send_text("grüße", topic="lk.chat", to=["alice"], attributes={"a": "é"})
        transport.send_data(b"between")
        transport.send_text("")
        first, between, last = fake_room.wait_for_data(count=3)
        assert isinstance(first, TextFrame)
        assert (first.text, first.topic, first.attributes) == ("grüße", "lk.chat", {"a": "é"})
        assert (first.to, first.participant) == (("alice",), "app")
        assert not isinstance(between, TextFrame)
        assert isinstance(last, TextFrame)
        assert (last.text, last.attributes) == ("", {})
        assert [type(m) for m in alice.received] == [TextFrame, ringroom.DataFrame, TextFrame]
        assert [type(m) for m in bob.received] == [ringroom.DataFrame, TextFrame]


def test_a_text_may_be_long_and_no_longer(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        longest = "ü" * (MAX_TEXT_BYTES // 2)
        transport.send_text(longest, attributes={"a": "v" * 11_999})
        [frame] = fake_room.wait_for_data()
        assert isinstance(frame, TextFrame)
        assert frame.text == longest
        with pytest.raises(FrameError, match="a text has 200001 bytes, at most 200000"):
            transport.send_text(longest + "x")
        with pytest.raises(FrameError, match="type bytes, expected text; bytes go with send_data"):
            transport.send_text(b"x")  # type: ignore[arg-type]
        with pytest.raises(FrameError, match="not valid Unicode"):
            transport.send_text("\ud800")
        with pytest.raises(FrameError, match="the attribute is of type int"):
            transport.send_text("x", attributes={"a": 1})  # type: ignore[dict-item]
        with pytest.raises(FrameError, match="expected a tuple of identities"):
            transport.send_text("x", to="alice")


def test_a_text_is_a_frame_that_any_sender_takes(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(TextFrame(b"x", "t", attributes={"a": "b"}))
        transport.send_nowait(TextFrame(b"y", "t"))
        texts = fake_room.wait_for_data("t", count=2)
    assert [type(text) for text in texts] == [TextFrame, TextFrame]
    assert [text.payload for text in texts] == [b"x", b"y"]


def test_texts_of_the_topics_that_are_asked_for_arrive_whole(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with opened(fake_room, kinds=("data",), text_topics=("lk.chat",)) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        fake_room.wait_for_app()
        alice.send_text("of no interest", topic="lk.transcription")
        alice.send_data(b"a message", topic="lk.chat")
        long = "é" * (MAX_TEXT_BYTES // 2)
        alice.send_text(long, topic="lk.chat", attributes={"id": "1"})
        alice.send_text("not for us", topic="lk.chat", to=["bob"])
        alice.send_text("", topic="lk.chat")
        message, text, last = (next(receiver) for _ in range(3))
        assert type(message) is ringroom.DataFrame, "it comes as what it was sent as"
        assert isinstance(text, TextFrame)
        assert (text.text, text.participant) == (long, "alice")
        assert (text.topic, text.attributes) == ("lk.chat", {"id": "1"})
        assert isinstance(last, TextFrame)
        assert last.text == ""
        assert text.received_ns > 0
        assert last.sequence == text.sequence + 1
    assert transport.stats().received.dropped == 0


def test_texts_are_not_received_unless_they_are_asked_for(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with opened(fake_room, kinds=("data",)) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        fake_room.wait_for_app()
        alice.send_text("hello", topic="lk.chat")
        alice.send_data(b"x")
        assert next(receiver).payload == b"x"


def test_a_text_that_breaks_off_is_counted_and_told(
    fake_room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    alice = fake_room.join("alice", attributes={"seat": "4"})
    with opened(fake_room, **CHAT) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        fake_room.wait_for_app()
        with fake_room.faults.texts_broken_off("alice"):
            alice.send_text("half", topic="lk.chat")
            alice.send_text("of no interest", topic="lk.transcription")
        alice.send_text("whole", topic="lk.chat")
        items = iter(receiver)
        failed = next(item for item in items if getattr(item, "kind", "") == "text_failed")
        assert failed.participant.identity == "alice"
        assert failed.participant.attributes == {"seat": "4"}
        assert "the text broke off" in failed.reason
        until(lambda: transport.stats().received.sent == 2)
        received = transport.stats().received
        assert (received.sent, received.dropped) == (2, 1)
    assert caplog.text.count("of 'alice' something is not received") == 1


def test_a_text_that_breaks_off_of_somebody_else_is_no_business_of_ours(
    fake_room: FakeRoom,
) -> None:
    alice, bob = fake_room.join("alice"), fake_room.join("bob")
    with opened(fake_room, **CHAT, participants=["bob"]) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        fake_room.wait_for_app()
        with fake_room.faults.texts_broken_off():
            alice.send_text("half", topic="lk.chat")
            bob.send_text("half", topic="lk.chat")
        failed = next(item for item in receiver if getattr(item, "kind", "") == "text_failed")
        assert failed.participant.identity == "bob"
    assert transport.stats().received.dropped == 1


@dataclass(frozen=True, kw_only=True)
class WithoutTexts(Fake):
    """A provider of before there were texts."""

    texts = False

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        provider = super().open(descriptors)
        provider.send_text = partial(Provider.send_text, provider)  # type: ignore[method-assign]
        return provider


def test_a_provider_without_texts_says_so(fake_room: FakeRoom) -> None:
    spec = WithoutTexts(room=fake_room)
    with pytest.raises(ConfigurationError, match="fake: not supported: text_topics"):
        ringroom.transport(spec, kinds=("data",), text_topics=("lk.chat",), io="thread")
    with ringroom.transport(spec, kinds=("event",), io="thread") as transport:
        with pytest.raises(ConfigurationError, match="fake: not supported: send_text"):
            transport.send_text("x")
        transport.send(TextFrame(b"x"))
        events = transport.recv(timeout=PATIENCE)
        failed = next(event for event in events if event.kind is EventKind.DATA_FAILED)
        assert "not supported: send_text" in failed.reason
