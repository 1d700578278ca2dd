"""The room as a test uses it: waiting, looking at what came, faults, and its own end."""

from __future__ import annotations

import asyncio
import gc
import pickle
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

import ringroom
from ringroom.errors import ClosedError, ConfigurationError, FrameError, UnknownProviderError
from ringroom.frames import AudioFrame, DataFrame, Kind, VideoFrame
from ringroom.providers import registry
from ringroom.providers.fake import messages, wire
from ringroom.providers.livekit.tokens import mint
from ringroom.testing import DeadlinePassed, FakeRoom, sources
from ringroom.testing import wire as room_wire
from ringroom.testing.state import Publication

M = TypeVar("M", bound=messages.Message)


class App:
    """An application without a provider: a socket that says what the test says."""

    def __init__(self, room: FakeRoom, identity: str = "app") -> None:
        self.socket = room.dial()
        self.socket.settimeout(10)
        self._decoder = wire.Decoder()
        self._received: list[messages.Message] = []
        self.say(messages.Join(identity=identity))
        self.joined = self.next(messages.Joined)

    def say(self, message: messages.Message) -> None:
        self.socket.sendall(wire.encode(message))

    def hear(self) -> messages.Message | None:
        while not self._received:
            data = self.socket.recv(65_536)
            if not data:
                return None
            self._received.extend(self._decoder.feed(data))
        return self._received.pop(0)

    def next(self, kind: type[M]) -> M:
        while not isinstance(message := self.hear(), kind):
            assert message is not None, f"the end came before {kind.__name__}"
        return message

    def publish(self, name: str = "out", kind: Kind = Kind.AUDIO, track: str = "1") -> None:
        self.say(messages.Publish(request=1, track=track, name=name, kind=kind, source="x"))
        self.next(messages.Done)

    def play(self, pcm: bytes, time_ns: int = 0, rate: int = 8_000, channels: int = 1) -> None:
        self.say(
            messages.Audio(
                track="1", sample_rate=rate, channels=channels, time_ns=time_ns, payload=pcm
            )
        )


@contextmanager
def joined(room: FakeRoom, identity: str = "app") -> Iterator[App]:
    app = App(room, identity)
    with app.socket:
        yield app


@pytest.fixture
def room() -> Iterator[FakeRoom]:
    with FakeRoom() as room:
        yield room


class ManualClock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        self._calls.append((when, callback))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [callback for when, callback in self._calls if when <= self.now]
        self._calls = [call for call in self._calls if call[0] > self.now]
        for callback in due:
            callback()


# Waiting.


def test_a_deadline_tells_what_did_arrive(room: FakeRoom) -> None:
    room.join("alice")
    with pytest.raises(DeadlinePassed, match="no application has joined"):
        room.wait_for_app(timeout=0.01)
    with joined(room) as app:
        app.publish()
        app.play(bytes(1_600))
        app.publish("screen", Kind.VIDEO, "2")
        app.say(
            messages.Data(
                request=9, participant="", topic="t", reliable=True, to=(), payload=b"hello"
            )
        )
        app.next(messages.Done)
        with pytest.raises(TimeoutError) as raised:
            room.wait_for_audio("out", 1.0, timeout=0.01)
    assert isinstance(raised.value, AssertionError)
    text = str(raised.value)
    assert "waited 0.01 s for 1.0 s of sound on 'out'" in text
    assert "in it: 'alice', 'app'" in text
    assert "audio 'out': 0.100 s, longest gap 0.000 s" in text
    assert "video 'screen': 0 pictures" in text
    assert "data: 1 messages, newest topics ['t']" in text


@pytest.mark.parametrize(
    "wait",
    [
        lambda room: room.wait_for_app(timeout=0.01),
        lambda room: room.wait_for_app_gone(timeout=0.01),
        lambda room: room.wait_for_track("a", timeout=0.01),
        lambda room: room.wait_for_audio(timeout=0.01),
        lambda room: room.wait_for_quiet(timeout=0.01),
        lambda room: room.wait_for_video(timeout=0.01),
        lambda room: room.wait_for_data(timeout=0.01),
        lambda room: room.wait_until(lambda: False, "doomsday", 0.01),
        lambda room: room.join("a").publish_audio().wait_for_subscriber(timeout=0.01),
    ],
)
def test_every_wait_has_a_deadline(room: FakeRoom, wait: Callable[[FakeRoom], object]) -> None:
    with pytest.raises(DeadlinePassed, match=r"waited 0\.01 s for"):
        wait(room)


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), "1"])
def test_a_deadline_that_never_comes_is_none(room: FakeRoom, timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout is"):
        room.wait_for_app(timeout=timeout)


def test_waits_end_as_soon_as_it_comes(room: FakeRoom) -> None:
    with joined(room) as app:
        timer = threading.Timer(0.05, app.publish, ["late"])
        timer.start()
        assert room.wait_for_track("late").name == "late"
        timer.join()


def test_waiting_in_an_asyncio_test(room: FakeRoom) -> None:
    async def test() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(room.wait_for_app, timeout=0.01)

    asyncio.run(test())


# What applications sent.


def test_a_recording_knows_its_gaps(room: FakeRoom) -> None:
    with joined(room) as app:
        app.publish()
        for number, start_ms in enumerate((0, 10, 20, 130, 140)):
            pcm = np.full(80, number, "<i2").tobytes()
            app.play(pcm, start_ms * 1_000_000)
        heard = room.wait_for_audio("out", 0.05)
    assert heard.samples.shape == (400, 1)
    assert heard.samples[::80, 0].tolist() == [0, 1, 2, 3, 4]
    assert heard.duration == 0.05
    assert [(round(g.position, 6), g.seconds, g.started_ns) for g in heard.gaps()] == [
        (0.03, 0.1, 30_000_000)
    ]
    assert heard.longest_gap == 0.1
    assert heard.gaps(longer_than=0.2) == []
    assert [frame.received_ns for frame in heard.frames][:2] == [0, 10_000_000]
    assert "0.050 s" in repr(heard)


def test_quiet_is_waited_for_by_the_rooms_clock() -> None:
    clock = ManualClock()
    with FakeRoom(clock=clock) as room, joined(room) as app:
        app.publish()
        with pytest.raises(DeadlinePassed, match=r"0\.3 s of quiet after sound on 'out'"):
            room.wait_for_quiet("out", timeout=0.01)  # nothing was heard yet
        app.play(bytes(1_600))
        room.wait_for_audio("out", 0.1)
        clock.advance(60)
        with pytest.raises(DeadlinePassed):
            room.wait_for_quiet("out", timeout=0.01)  # it has more to say
        app.say(messages.AudioPause(track="1"))
        app.say(
            messages.Data(request=2, participant="", topic="", reliable=True, to=(), payload=b"")
        )
        app.next(messages.Done)
        with pytest.raises(DeadlinePassed):
            room.wait_for_quiet("out", timeout=0.01)
        timer = threading.Timer(0.05, clock.advance, [0.3])
        timer.start()
        assert room.wait_for_quiet("out").duration == 0.1
        timer.join()
        app.play(bytes(1_600))
        room.wait_for_audio("out", 0.2)
        with pytest.raises(DeadlinePassed):
            room.wait_for_quiet("out", timeout=0.01)


@pytest.mark.parametrize(
    "end",
    [
        lambda room, app: app.say(messages.Unpublish(track="1")),
        lambda room, app: app.socket.close(),
        lambda room, app: room.lose_connection(),
    ],
)
def test_quiet_is_also_what_does_not_get_through(
    room: FakeRoom, end: Callable[[FakeRoom, App], object]
) -> None:
    with joined(room) as app:
        app.publish()
        app.play(bytes(1_600))
        room.wait_for_audio("out", 0.1)
        end(room, app)
        assert room.wait_for_quiet("out", 0.01).duration == 0.1


def test_looking_for_what_is_not_there(room: FakeRoom) -> None:
    with pytest.raises(LookupError, match="0 applications"):
        room.heard()
    with joined(room) as app:
        with pytest.raises(LookupError, match="expected one audio track"):
            room.heard()
        app.publish()
        assert room.heard().samples.shape == (0, 1)
        assert room.heard().longest_gap == 0
        with pytest.raises(LookupError, match="the audio track 'x' of 'app'"):
            room.heard("x")
        with pytest.raises(LookupError, match="video"):
            room.seen()


def test_a_change_of_format_starts_the_recording_anew(room: FakeRoom) -> None:
    with joined(room) as app:
        app.publish()
        app.play(bytes(1_600))
        room.wait_for_audio("out", 0.1)
        app.play(bytes(160), rate=16_000, channels=2)
        heard = room.wait_until(lambda: room.heard("out").channels == 2 and room.heard("out"))
    assert isinstance(heard, object)
    assert room.heard("out").samples.shape == (40, 2)


def test_a_second_publication_of_a_name_has_a_recording_of_its_own(room: FakeRoom) -> None:
    with joined(room) as app:
        app.publish()
        app.play(bytes(160))
        room.wait_for_audio("out", 0.01)
        app.publish(track="2")
        assert room.heard("out").duration == 0


def test_the_newest_pictures_are_kept() -> None:
    with FakeRoom(kept_pictures=3) as room, joined(room) as app:
        app.publish("screen", Kind.VIDEO)
        for number in range(5):
            picture = sources.picture(number, 32, 32)
            app.say(
                messages.Video(
                    track="1",
                    width=32,
                    height=32,
                    rotation=0,
                    timestamp_us=number,
                    time_ns=number,
                    payload=picture.data.tobytes(),
                )
            )
        seen = room.wait_for_video("screen", 5)
        assert seen.count == 5
        assert [frame.sequence for frame in seen.frames] == [2, 3, 4]
        assert [sources.picture_number(frame) for frame in seen.frames] == [2, 3, 4]
        assert "5 pictures" in repr(seen)


# What the test says.


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


# A peer that misbehaves.


def test_an_application_that_does_not_read_holds_up_nobody(
    room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_wire, "MAX_MEDIA_BYTES", 1 << 16)
    alice = room.join("alice")
    microphone = alice.publish_audio(sample_rate=8_000)
    with joined(room, "frozen") as frozen, joined(room, "lively") as lively:
        for number in range(20):
            microphone.noise(10.0, seed=number, realtime=False)
            alice.send_data(b"%d" % number)
            # What the lively one has read shows that the room goes on.
            assert lively.next(messages.Data).payload == b"%d" % number
        dropped = room.applications["frozen"].dropped
        assert dropped > 0
        received = 0
        for number in range(20):
            while not isinstance(message := frozen.hear(), messages.Data):
                received += isinstance(message, messages.Audio)
            assert message.payload == b"%d" % number
        assert received + dropped == 20 * 500


def test_an_application_that_never_reads_is_cut_off(
    room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_wire, "MAX_EVENTS", 50)
    alice = room.join("alice")
    with joined(room):
        while not room.application.left:
            alice.send_data(bytes(60_000))
        assert room.application.left == "connection timeout"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "starts with"),
        (wire.encode(messages.Ended(reason="x")), "Ended, which is ours to send"),
        (
            wire.encode(
                messages.Publish(request=1, track="1", name="", kind=Kind.AUDIO, source="")
            ),
            "published already",
        ),
        (
            wire.encode(
                messages.Video(
                    track="1",
                    width=2,
                    height=2,
                    rotation=0,
                    timestamp_us=0,
                    time_ns=0,
                    payload=bytes(6),
                )
            ),
            "Video on a track of kind audio",
        ),
    ],
)
def test_nonsense_cuts_its_own_connection_only(room: FakeRoom, said: bytes, why: str) -> None:
    with joined(room, "other") as other, joined(room) as app:
        app.publish()
        app.socket.sendall(said)
        room.wait_for_app_gone("app")
        assert why in room.applications["app"].summary()
        while app.hear() is not None:
            pass
        other.publish()


def test_joining_comes_first(room: FakeRoom) -> None:
    with room.dial() as socket:
        socket.settimeout(10)
        socket.sendall(wire.encode(messages.Leave()))
        assert socket.recv(1) == b""
    assert not room.applications


@pytest.mark.parametrize("identity", ["", "x" * 1_025])
def test_nobody_joins_whom_no_server_lets_in(room: FakeRoom, identity: str) -> None:
    """Else their first message, whose sender has no such identity, would end the room's thread."""
    with room.dial() as socket:
        socket.settimeout(10)
        socket.sendall(wire.encode(messages.Join(identity=identity)))
        assert socket.recv(1) == b""
    assert not room.applications


def test_late_media_and_unknown_tracks_are_ignored(room: FakeRoom) -> None:
    with joined(room) as app:
        app.play(bytes(160))
        app.say(messages.Unpublish(track="7"))
        app.say(messages.Subscription(track="TR_99", wanted=True))
        app.publish()
        assert room.heard("out").duration == 0


# The room's own life.


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
        assert time.monotonic() - started < 20


def test_a_room_that_is_forgotten_warns_and_ends() -> None:
    rooms = [FakeRoom("forgotten")]
    alice = rooms[0].join("alice")

    def forget() -> None:
        rooms.clear()
        gc.collect()

    with pytest.warns(ResourceWarning, match="<FakeRoom 'forgotten' open"):
        forget()
    assert alice.identity == "alice"


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
