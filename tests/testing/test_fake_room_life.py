"""The room's own life: its end, what stays of it, what is forgotten."""

from __future__ import annotations

import gc
import pickle
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_room_kit import joined

import ringroom
from ringroom.errors import (
    ClosedError,
    ConfigurationError,
    FrameError,
    RoomError,
    UnknownProviderError,
)
from ringroom.frames import AudioFrame, DataFrame, VideoFrame
from ringroom.providers import registry
from ringroom.providers.fake import messages
from ringroom.providers.livekit.tokens import mint
from ringroom.testing import FakeRoom
from ringroom.testing.state import Publication


def test_what_was_heard_stays_after_the_end() -> None:
    with FakeRoom("tidy") as room:
        with joined(room) as app:
            app.publish()
            app.play(bytes(160))
            room.wait_for_audio("out", 0.01)
            room.close_room()
            assert app.next(messages.Ended).reason == "room closed"
        with joined(room):
            assert room.application.joins == 2
    room.close()
    assert room.heard("out").duration == 0.01
    assert repr(room) == "<FakeRoom 'tidy' closed, 0 participants>"
    with pytest.raises(ClosedError):
        room.join("late")


def test_closing_does_not_wait_for_who_does_not_listen() -> None:
    room = FakeRoom()
    silent = room.dial()
    with silent, joined(room):
        started = time.monotonic()
        room.close()
        assert time.monotonic() - started < 5


def test_a_room_that_is_forgotten_warns_and_ends() -> None:
    rooms = [FakeRoom("forgotten")]
    alice = rooms[0].join("alice")

    def forget() -> None:
        rooms.clear()
        gc.collect()

    with pytest.warns(ResourceWarning, match="<FakeRoom 'forgotten' open"):
        forget()
    assert alice.identity == "alice"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_room_that_is_forgotten_where_warnings_are_errors_ends_all_the_same() -> None:
    rooms = [FakeRoom("unheard of")]
    (thread,) = (one for one in threading.enumerate() if one.name == "fake room unheard of")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        rooms.clear()
        gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_a_room_stands_in_for_a_real_one() -> None:
    token = mint("key", "secret " * 8, room="voice-room", identity="robot")
    real = {"url": "wss://example.invalid", "token": token}
    with FakeRoom("voice-room") as room:
        with room.stand_in():
            with ringroom.transport("livekit", room="voice-room", io="thread", **real):
                assert room.wait_for_app().identity == "robot"
            with ringroom.transport(ringroom.LiveKit(**real), io="thread"):
                assert room.wait_for_app().joins == 2
            with pytest.raises(ConfigurationError, match="livekit: unknown option sped"):
                ringroom.transport("livekit", sped=3, **real)
            with pytest.raises(ConfigurationError, match="stands in"), room.stand_in():
                pass
        spec, _ = registry.build("livekit", real)
        assert isinstance(spec, ringroom.LiveKit)
        with pytest.raises(UnknownProviderError), room.stand_in("nobody"):
            pass


def test_a_room_does_not_travel(room: FakeRoom) -> None:
    with pytest.raises(TypeError, match="stays in its process"):
        pickle.dumps(room)


def test_what_was_taken_is_forgotten_and_counts_go_on(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with ringroom.transport("fake", room=fake_room, io="thread") as t:
        for number in (1, 2):
            t.send(AudioFrame(np.full(1_600, number, np.int16), 16_000, track="voice"))
            t.send(VideoFrame(np.full(16 * 24, 90, np.uint8), 16, 16))
            t.send_data(f"{number}")
            t.wait_playout()
            fake_room.wait_for_audio("voice", 0.1 * number)
            fake_room.wait_for_data(count=1)
            fake_room.wait_for_video(count=number)
            taken = fake_room.application.take()
            (recording,) = taken.sounds
            assert set(recording.samples[:, 0]) == {number}
            assert [message.payload for message in taken.messages] == [f"{number}".encode()]
            assert len(ann.received) == 1
            ann.forget()
            assert ann.received == []
        assert fake_room.seen().count == 2
        assert fake_room.seen().frames == ()
    assert fake_room.application.take().messages == ()


def test_of_texts_those_that_are_being_written_are_kept(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with ringroom.transport("fake", room=fake_room, io="thread") as t:
        with t.open_text(topic="open") as text:
            with t.open_text(topic="ended") as other:
                other.write("x")
            text.write("half")
            fake_room.wait_until(lambda: ann.texts and ann.texts[0].text == "half")
            assert [one.topic for one in ann.texts] == ["open", "ended"]
            fake_room.application.take()
            ann.forget()
            assert [one.topic for one in ann.texts] == ["open"]
            assert [one.topic for one in fake_room.application.texts] == ["open"]
            text.write(" and half")
        fake_room.wait_for_data("open")
        assert ann.texts[0].text == "half and half"


def test_of_who_was_there_nothing_is_kept(fake_room: FakeRoom) -> None:
    """For runs of hours: neither what they published nor what they said to the application."""

    def kept() -> list[object]:
        gc.collect()
        return [
            thing
            for thing in gc.get_objects()
            if isinstance(thing, Publication)
            or (isinstance(thing, DataFrame) and thing.topic == "for the application")
        ]

    before = len(kept())
    with ringroom.transport("fake", room=fake_room, io="thread", kinds=("audio", "data")):
        host = fake_room.join("host")
        for number in range(3):
            guest = fake_room.join(f"guest-{number}")
            guest.send_data(b"x", topic="for the application", to=("app",))
            for who in (guest, host):
                microphone = who.publish_audio()
                microphone.wait_for_subscriber()
                microphone.unpublish()
            guest.leave()
        del guest, who, microphone
        host.publish_audio()
        fake_room.wait_until(lambda: len(kept()) <= before + 1, "the room forgetting them")


@pytest.mark.parametrize("reason", [None, 5, b"gone", "long" * 100, "\ud800"], ids=str)
def test_a_reason_that_is_none_is_refused_and_nothing_happens(
    fake_room: FakeRoom, reason: Any
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: fake_room.refuse_connects(reason),
        lambda: fake_room.lose_connection(reason=reason),
        lambda: fake_room.remove("app", reason),
        lambda: fake_room.close_room(reason),
        lambda: fake_room.faults.connects_refused(reason),
        lambda: fake_room.faults.connection_lost(reason=reason),
        lambda: fake_room.faults.room_closed(reason),
    ]
    with joined(fake_room):
        for call in calls:
            with pytest.raises(FrameError, match="the reason"):
                call()
        assert [one.identity for one in fake_room.participants] == ["app"]
    with joined(fake_room, "another"):
        pass


def test_nobody_is_let_in_as_the_room_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """He would take the end of his connection for a loss, and look for the room."""
    room = FakeRoom()
    close = room._floor.wire.close

    def late(grace: float) -> None:
        try:
            with pytest.raises(RoomError, match="the room is closed"):
                room.dial().close()
        finally:
            close(grace)

    monkeypatch.setattr(room._floor.wire, "close", late)
    room.close()
