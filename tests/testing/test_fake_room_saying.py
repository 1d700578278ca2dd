"""What a test says in the room: paced, waited for, stopped, and who vanishes."""

from __future__ import annotations

import time
import wave
from pathlib import Path

import numpy as np
import pytest
from fake_room_kit import ManualClock, joined

from ringroom.errors import ClosedError, ConfigurationError, FrameError
from ringroom.frames import AudioFrame
from ringroom.providers.fake import messages
from ringroom.testing import FakeRoom


def test_speech_is_paced_by_the_rooms_clock() -> None:
    clock = ManualClock()
    with FakeRoom(clock=clock) as room, joined(room) as app:
        microphone = room.join("alice").publish_audio(sample_rate=8_000)
        microphone.tone(seconds=0.06)
        microphone.tone(seconds=0.02)
        assert app.next(messages.Audio).time_ns == 0
        for step in (1, 2, 3):
            clock.advance(0.02)
            assert app.next(messages.Audio).time_ns == step * 20_000_000
        clock.advance(0.02)
        app.next(messages.AudioPause)


def test_speech_at_another_speed_and_all_at_once() -> None:
    clock = ManualClock()
    with FakeRoom(clock=clock) as room, joined(room) as app:
        microphone = room.join("alice").publish_audio(sample_rate=8_000)
        microphone.tone(seconds=0.04, speed=2)
        app.next(messages.Audio)
        clock.advance(0.01)
        app.next(messages.Audio)
        microphone.tone(seconds=10.0, realtime=False)
        clock.advance(0.01)
        for _ in range(500):
            app.next(messages.Audio)
        app.next(messages.AudioPause)
        with pytest.raises(ConfigurationError, match="speed"):
            microphone.tone(speed=0)


def test_what_is_due_in_ten_thousand_years_holds_up_nobody(room: FakeRoom) -> None:
    with joined(room) as app:
        microphone = room.join("alice").publish_audio()
        microphone.tone(speed=1e-14)
        app.next(messages.Audio)
        app.publish()
        microphone.stop()


def test_speaking_can_be_waited_for(room: FakeRoom) -> None:
    microphone = room.join("alice").publish_audio()
    started = time.monotonic()
    microphone.tone(seconds=0.1, wait=True)
    assert time.monotonic() - started >= 0.1
    camera = room.join("bob").publish_video(width=32, height=32)
    camera.test_picture(10.0, fps=5, realtime=False, wait=True)


def test_what_can_be_spoken(room: FakeRoom, tmp_path: Path) -> None:
    microphone = room.join("alice").publish_audio(sample_rate=8_000, channels=2)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(320))
    with joined(room) as app:
        app.next(messages.TrackPublished)
        forms = []
        for speak in (
            lambda: microphone.speak(bytes(40), realtime=False),
            lambda: microphone.speak(np.zeros(20), realtime=False),
            lambda: microphone.speak(np.zeros((10, 2), np.int16), realtime=False),
            lambda: microphone.speak(AudioFrame(bytes(40), 48_000), realtime=False),
            lambda: microphone.silence(0.01, realtime=False),
            lambda: microphone.noise(0.01, realtime=False),
            lambda: microphone.wav(tmp_path / "a.wav", realtime=False),
        ):
            speak()
            audio = app.next(messages.Audio)
            forms.append((audio.sample_rate, audio.channels, len(audio.payload)))
        assert forms == [
            (8_000, 2, 40),
            (8_000, 2, 40),
            (8_000, 2, 40),
            (48_000, 1, 40),
            (8_000, 2, 320),
            (8_000, 2, 320),
            (16_000, 1, 320),
        ]
    with pytest.raises(FrameError):
        microphone.speak(b"odd")
    with pytest.raises(FrameError):
        room.join("bob").publish_audio(sample_rate=1)


def test_what_is_still_to_be_spoken_can_be_stopped() -> None:
    clock = ManualClock()
    with FakeRoom(clock=clock) as room, joined(room) as app:
        microphone = room.join("alice").publish_audio()
        microphone.tone(seconds=100)
        app.next(messages.Audio)
        microphone.stop()
        clock.advance(1)
        app.next(messages.AudioPause)


def test_a_message_may_be_text(room: FakeRoom) -> None:
    ann, ben = room.join("ann"), room.join("ben")
    ann.send_data("hällo", to=["ben"])
    assert [message.payload for message in ben.received] == ["hällo".encode()]
    with pytest.raises(FrameError, match="expected bytes or text"):
        ann.send_data(5)  # type: ignore[arg-type]


def test_who_vanishes_is_missed_later() -> None:
    clock = ManualClock()
    with FakeRoom(clock=clock) as room, joined(room) as app:
        alice = room.join("alice")
        microphone = alice.publish_audio()
        app.next(messages.TrackPublished)
        microphone.tone(seconds=1)
        app.next(messages.Audio)
        alice.vanish(noticed_after=15)
        microphone.tone(seconds=0.1, realtime=False)
        clock.advance(14.9)
        assert "alice" in [participant.identity for participant in room.participants]
        clock.advance(0.2)
        told = app.hear()
        assert isinstance(told, messages.TrackUnpublished)
        left = app.hear()
        assert isinstance(left, messages.Happened)
        assert left.reason == "connection timeout"


def test_the_same_identity_puts_the_earlier_one_out(room: FakeRoom) -> None:
    first = room.join("alice")
    second = room.join("alice")
    assert [participant.sid for participant in room.participants] == [second.info.sid]
    with pytest.raises(ClosedError, match="duplicate identity"):
        first.send_data(b"x")
    with pytest.raises(FrameError):
        room.join("")
    assert "alice" in repr(second)
