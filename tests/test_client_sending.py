"""A transport sends sound: on which tracks, in which form, how fast, and from whom."""

from __future__ import annotations

import io
import time
import wave
from typing import Any

import pytest

import ringroom
from app_kit import (
    PATIENCE,
    RATE,
    Call,
    check_law,
    microphone,
    noise,
    opened,
    said,
    same,
    say,
    sound,
    until,
)
from ringroom.errors import (
    BusyError,
    ClosedError,
    FrameError,
    RoomError,
    WouldBlock,
)
from ringroom.events import EventKind
from ringroom.frames import AudioFrame
from ringroom.options import PublishOptions
from ringroom.sessions.unsent import Unsent
from ringroom.testing import FakeRoom, sources

LIVE = PublishOptions(mode="live")


def test_the_default_track_named_tracks_and_replies(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room) as transport:
        transport.send(sound(0.04, 1))
        transport.send(sound(0.04, 2, track="music"))
        mic.wait_for_subscriber()
        say(mic, 0.02, 3)
        transport.send(next(transport.recv(timeout=PATIENCE)))
        transport.wait_playout(timeout=PATIENCE)
        app = fake_room.application
        assert set(app.tracks) == {"audio", "music", "alice/mic"}
        assert same(said(fake_room, 0.04, "audio"), noise(0.04, 1))
        assert same(said(fake_room, 0.04, "music"), noise(0.04, 2))
        assert same(said(fake_room, 0.02, "alice/mic"), noise(0.02, 3))


def test_ctrl_c_as_a_send_ends_does_not_keep_the_track(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Unsent) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with opened(fake_room) as transport:
        monkeypatch.setattr(Unsent, "clear", interrupted)
        with pytest.raises(KeyboardInterrupt):
            transport.send(sound(0.02, 1))
        transport.send(sound(0.02, 2), timeout=PATIENCE)
        transport.wait_playout(timeout=PATIENCE)
        assert len(said(fake_room, 0.04, "audio"))


def test_other_rates_and_channels_are_converted(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(sound(0.1, rate=16_000))
        transport.send(AudioFrame(noise(0.1, channels=2, rate=48_000), 48_000))
        transport.send(AudioFrame(noise(0.1, rate=8_000), 8_000))
        stereo = AudioFrame(noise(0.1, 9, channels=2), RATE, track="stereo")
        transport.send(stereo)
        transport.send(sound(0.1, 9, track="stereo"))
        transport.wait_playout(timeout=PATIENCE)
        mono = fake_room.wait_for_audio("audio", 0.298, timeout=PATIENCE)
        assert (mono.sample_rate, mono.channels) == (16_000, 1)
        assert mono.duration == pytest.approx(0.3, abs=0.002)
        both = fake_room.wait_for_audio("stereo", 0.2, timeout=PATIENCE)
        assert both.channels == 2
        assert same(both.samples[:1_600], stereo.samples)
        assert same(both.samples[1_600:], stereo.samples)


def test_long_sound_is_paced_by_the_room(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        started = time.monotonic()
        long = noise(3.2)
        transport.send(AudioFrame(long, RATE))
        took = time.monotonic() - started
        assert took > 0.4  # the lane holds about two seconds, the rest waits
        assert transport.stats().sent.sent == 32
        seconds = transport.flush()
        until(lambda: seconds + fake_room.heard().duration == pytest.approx(3.2, abs=0.03))


def test_a_frame_that_is_not_taken_in_time(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(sound(0.02))  # the track is there, however long that took
        with pytest.raises(TimeoutError, match=r"not taken within 0\.05 s") as raised:
            transport.send(sound(10.0), timeout=0.05)
        taken = 0.1 * (transport.stats().sent.sent - 1)
        assert 0.0 < taken < 10.0
        assert f": {taken:.2f} of its 10.00 s were taken, and are played" in str(raised.value)
        with pytest.raises(WouldBlock):
            transport.send_nowait(sound(20.0))
        transport.flush()
        transport.send(sound(0.02), timeout=PATIENCE)


def test_one_writer_a_track(fake_room: FakeRoom) -> None:
    with opened(fake_room, identity="one") as transport:
        sending = Call(transport.send, sound(30.0))
        until(lambda: transport.stats().sent.sent > 10)
        for call in (transport.send, transport.send_nowait):
            with pytest.raises(BusyError, match="sends on track 'audio'"):
                call(sound(0.02))
        transport.send(sound(0.02, track="other"), timeout=PATIENCE)
        transport.close()
        with pytest.raises(ClosedError):
            sending.result()


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"\0\0", "cannot send a bytes"),
        (None, "cannot send a NoneType"),
        (ringroom.Event(kind=EventKind.CONNECTED), "cannot send a Event"),
    ],
)
def test_what_is_no_frame(fake_room: FakeRoom, frame: Any, says: str) -> None:
    with opened(fake_room) as transport:
        for call in (transport.send, transport.send_nowait):
            with pytest.raises(FrameError, match=says):
                call(frame)


def test_a_track_carries_one_kind(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(sound(0.02, track="x"))
        picture = sources.picture(0, 64, 64)
        picture.track = "x"
        with pytest.raises(FrameError, match="carries audio"):
            transport.send(picture)
        for bad in ("x" * 300, "\ud800"):
            with pytest.raises(FrameError, match="track name"):
                transport.send(sound(0.02, track=bad))


def test_a_refused_track(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("audio", "event")) as transport:
        fake_room.refuse_publish()
        with pytest.raises(RoomError) as refused:
            transport.send(sound(0.02), timeout=PATIENCE)
        assert refused.value.reason == "publish_refused"
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        assert EventKind.PUBLISH_FAILED in [next(events).kind for _ in range(2)]
        fake_room.refuse_publish(False)
        transport.send(sound(0.02), timeout=PATIENCE)  # it was told, and begins anew
        fake_room.wait_for_audio(seconds=0.02)
    check_law(transport)


def test_others_have_the_lock_between_the_pieces_of_a_long_frame(fake_room: FakeRoom) -> None:
    """Of a live one too, which never waits for room."""
    with opened(fake_room) as transport:
        transport.send(sound(0.02, rate=8_000), publish=LIVE)
        long, seen, sent = sound(20.0, rate=48_000), False, 1
        while not seen:  # for a moment we may not get our turn, but not for ever
            sending = Call(transport.send, long)
            while not sending.over:
                seen = seen or sent < transport.stats().sent.sent < sent + 200
            sending.result()
            sent += 200
            assert transport.stats().sent.sent == sent


def test_live_drops_and_speech_waits(fake_room: FakeRoom) -> None:
    with opened(fake_room, max_age=0.1) as transport:
        for seed in range(60):
            transport.send(sound(0.1, seed), publish=LIVE)
        transport.wait_playout(timeout=PATIENCE)
        counts = transport.stats().sent
        assert counts.dropped_full + counts.dropped_stale > 20
        assert counts.sent == 60
    check_law(transport)


def test_a_raw_stream(fake_room: FakeRoom) -> None:
    with opened(fake_room, channels=2) as transport:
        out = transport.audio_out()
        pcm = noise(0.1, channels=2)
        assert out.writable()
        assert out.write(pcm) == pcm.nbytes
        assert out.write(b"") == 0
        with pytest.raises(FrameError, match="3 bytes are no whole number of samples"):
            out.write(b"\0\0\0")
        transport.wait_playout(timeout=PATIENCE)
        assert same(said(fake_room, 0.1), pcm)
        out.close()
        with pytest.raises(ValueError, match="closed stream"):
            out.write(b"\0\0\0\0")
        with io.BufferedWriter(transport.audio_out("other", sample_rate=8_000)) as buffered:
            buffered.write(noise(0.1, channels=2, rate=8_000).tobytes())
        fake_room.wait_for_audio("other", 0.1)
        assert fake_room.heard("other").sample_rate == 8_000


def test_a_raw_stream_takes_what_wave_reads(fake_room: FakeRoom, tmp_path: Any) -> None:
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(noise(0.1).tobytes())
    with opened(fake_room) as transport, wave.open(str(path), "rb") as file:
        transport.audio_out().write(file.readframes(-1))
        assert same(fake_room.wait_for_audio(seconds=0.1).samples, noise(0.1))
