"""A recorded call, played by people of a fake room: what was heard once is heard again."""

from __future__ import annotations

import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ringroom
from recording_kit import recorded
from ringroom import AudioFrame, DataFrame, Event, EventKind, TrackInfo, VideoFrame
from ringroom.errors import ClosedError, ConfigurationError, FrameError
from ringroom.events import Kind, Participant
from ringroom.frames import Item
from ringroom.testing import DeadlinePassed, FakeRoom, VirtualClock, counting

pytestmark = pytest.mark.usefixtures("no_leaks")

ALL = ("audio", "video", "data", "event")
Live = Callable[[FakeRoom, VirtualClock], object]


def heard(live: Live, path: Path | None = None, **options: Any) -> list[Item]:
    """What an application hears of a call in virtual time, which it may record."""
    options = {"kinds": ALL, **options}
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:

        def play() -> None:
            live(room, clock)
            room.close_room()

        with ringroom.transport("fake", room=room, io=clock.io, **options) as t:
            playing = clock.start_thread("live", play)
            items = list(t.recv())
            playing.join()
    if path is not None:
        recorded(path, items)
    return items


def again(path: Path, **options: Any) -> list[Item]:
    """What an application hears of the recording."""

    def live(room: FakeRoom, clock: VirtualClock) -> None:
        room.wait_for_app()
        room.replay(path).wait()
        clock.sleep(1)

    return heard(live, **options)


# A call as a list of steps; who does what is settled by what is there when its turn comes.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "mic", "camera", "end", "mute", "say", "show", "send"]),
        st.sampled_from(["ann", "bob"]),
        st.integers(1, 7),
        st.sampled_from([0.0, 0.05, 0.4, 2.0]),
    ),
    max_size=14,
)


class Troupe:
    """The people of such a call."""

    def __init__(self, room: FakeRoom, clock: VirtualClock) -> None:
        self.room, self.clock = room, clock
        self.people: dict[str, Any] = {}
        self.tracks: dict[tuple[str, str], Any] = {}
        self.muted: set[tuple[str, str]] = set()

    def play(self, steps: list[tuple[str, str, int, float]]) -> None:
        self.room.wait_for_app()
        for what, who, number, seconds in steps:
            if what == "join" and who not in self.people:
                self.people[who] = self.room.join(who, f"{who} {number}", attributes={"n": "1"})
            elif who in self.people:
                self.step(what, who, number)
            self.clock.sleep(seconds)
        for who in list(self.people):
            self.step("leave", who, 1)
        self.clock.sleep(1)

    def step(self, what: str, who: str, number: int) -> None:
        person = self.people[who]
        mic, camera = self.tracks.get((who, "mic")), self.tracks.get((who, "camera"))
        match what:
            case "leave":
                person.leave()
                del self.people[who]
                self.tracks = {key: track for key, track in self.tracks.items() if key[0] != who}
                self.muted -= {(who, "mic")}
            case "mic" if mic is None:
                self.tracks[who, "mic"] = mic = person.publish_audio("mic", 16_000)
                mic.wait_for_subscriber()
            case "camera" if camera is None:
                self.tracks[who, "camera"] = camera = person.publish_video("camera", 32, 32)
                camera.wait_for_subscriber()
            case "end" if mic is not None:
                mic.unpublish()
                del self.tracks[who, "mic"]
                self.muted -= {(who, "mic")}
            case "mute" if mic is not None:
                key = (who, "mic")
                (mic.unmute if key in self.muted else mic.mute)()
                self.muted ^= {key}
            case "say" if mic is not None:
                mic.speak(np.arange(100 * number, dtype=np.int16) + 500 * number, wait=True)
            case "show" if camera is not None:
                camera.test_picture(number / 10, fps=10, wait=True)
            case "send":
                person.send_data(f"{number}", topic="chat", reliable=number > 3)
                person.set_attributes({"n": f"{number}"})


def facts(items: list[Item]) -> dict[Any, list[float]]:
    """Everything that was heard but what the room calls it, and when."""
    found = defaultdict(list)
    began = next(item.received_ns for item in items if is_of_a_person(item))
    for item in items:
        if is_of_a_person(item):
            found[fact(item)].append((item.received_ns - began) / 1e9)
    return found


def is_of_a_person(item: Item) -> bool:
    return not isinstance(item, Event) or item.participant is not None


def fact(item: Item) -> tuple[Any, ...]:
    if isinstance(item, Event):
        who = item.participant
        assert who is not None
        name = "" if item.track is None else (item.track.name, item.track.source)
        # Where the track's own end was heard first, nobody has said yet why it is unpublished.
        reason = item.reason if item.kind is not EventKind.TRACK_UNPUBLISHED else ""
        return (item.kind, who.identity, who.name, tuple(who.attributes.items()), name, reason)
    if isinstance(item, DataFrame):
        return (item.participant, item.payload, item.topic, item.reliable)
    assert isinstance(item.track, TrackInfo)
    body = item.samples if isinstance(item, AudioFrame) else item.data
    return (item.track.reply_name, item.sequence, body.tobytes())


@given(STEPS)
@settings(max_examples=20, deadline=None)
def test_what_was_heard_is_heard_again(steps: list[tuple[str, str, int, float]]) -> None:
    """Law: an application like the one that recorded a call hears the same of its recording: each
    frame, sample by sample, each message and each event, at the same distance from the first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "call.mcap"
        steps = [("join", "ann", 1, 0.0), *steps]
        first = facts(heard(lambda room, clock: Troupe(room, clock).play(steps), path))
        second = facts(again(path))
    assert second.keys() == first.keys()
    for what, times in first.items():
        assert second[what] == pytest.approx(times, abs=1e-3), what


def a_call(room: FakeRoom, clock: VirtualClock) -> None:
    """Ann counts for a second, Bob for half of one, in the middle of it."""
    room.wait_for_app()
    ann, bob = room.join("ann"), room.join("bob")
    mics = [one.publish_audio("mic", 16_000) for one in (ann, bob)]
    for mic in mics:
        mic.wait_for_subscriber()
    mics[0].count(50)
    clock.sleep(0.2)
    mics[1].count(25)
    bob.send_data("hello", topic="chat")
    clock.sleep(1)


@pytest.fixture
def call(tmp_path: Path) -> Path:
    path = tmp_path / "call.mcap"
    heard(a_call, path)
    return path


def numbers(items: list[Item], who: str) -> list[int]:
    found = [item for item in items if isinstance(item, AudioFrame) and item.participant == who]
    return [number for frame in found for number in counting.numbers(frame)]


def test_an_application_answers_a_recorded_call(call: Path, fake_room: FakeRoom) -> None:
    """In real time, with workers."""
    options: dict[str, Any] = {"workers": 1, "max_age": 60}
    with ringroom.Pool(lambda frame: frame.gain(0.5), "fake", room=fake_room, **options):
        playback = fake_room.replay(call)
        assert 1.2 <= playback.duration <= 1.3
        assert "playing" in repr(playback)
        playback.wait()
        assert playback.done
        assert "through" in repr(playback)
        said = fake_room.wait_for_audio("ann/mic", seconds=0.98, timeout=20)
        assert counting.numbers(said.samples, said.sample_rate, gain=0.5)[:40] == [*range(1, 41)]
        fake_room.wait_for_audio("bob/mic", seconds=0.4, timeout=20)
    assert {one.identity for one in fake_room.participants} >= {"ann", "bob"}


def test_it_may_play_faster(call: Path) -> None:
    def live(room: FakeRoom, clock: VirtualClock) -> None:
        room.wait_for_app()
        before = clock.now()
        playback = room.replay(call, speed=4)
        playback.wait()
        assert clock.now() - before == pytest.approx(playback.duration) == pytest.approx(1.2 / 4)
        clock.sleep(1)

    assert numbers(heard(live), "ann") == [*range(1, 51)]


def test_some_of_them_may_be_left_out(call: Path) -> None:
    def live(room: FakeRoom, clock: VirtualClock) -> None:
        room.wait_for_app()
        room.replay(call, participants=["bob"]).wait()
        clock.sleep(1)

    items = heard(live)
    assert numbers(items, "bob") == [*range(1, 26)]
    assert numbers(items, "ann") == []
    joined = [
        e.participant for e in items if isinstance(e, Event) and e.kind == "participant_joined"
    ]
    assert [who.identity for who in joined if who] == ["bob"]


def test_an_application_is_not_put_out_by_its_recording(call: Path, fake_room: FakeRoom) -> None:
    with ringroom.transport("fake", room=fake_room, identity="bob", io="thread", kinds=()):
        with pytest.raises(ConfigurationError, match=r"'bob', as is .*: participants=\['ann'\]"):
            fake_room.replay(call)
        fake_room.replay(call, participants=["ann"]).stop()
        assert fake_room.application.joined


def test_a_recording_without_events(call: Path, tmp_path: Path) -> None:
    sound = [item for item in heard(a_call) if isinstance(item, AudioFrame)]
    items = again(recorded(tmp_path / "sound.mcap", sound))
    assert numbers(items, "ann") == [*range(1, 51)]
    kinds = [str(item.kind) for item in items if isinstance(item, Event)]
    assert kinds.count("participant_joined") == 2
    assert "participant_left" not in kinds


def test_a_recording_that_is_cut_off(call: Path) -> None:
    call.write_bytes(call.read_bytes()[: call.stat().st_size // 2])
    said = numbers(again(call), "ann")
    assert said == [*range(1, len(said) + 1)]
    assert 0 < len(said) < 50


def test_sound_in_another_form_has_no_holes(tmp_path: Path) -> None:
    """What is held back for a whole frame is let out where the sound pauses, not after each."""
    path = tmp_path / "call.mcap"
    heard(a_call, path, sample_rate=24_000, frame_ms=30)
    items = again(path, sample_rate=16_000, frame_ms=50)
    ann = [one for one in items if isinstance(one, AudioFrame) and one.participant == "ann"]
    said = np.concatenate([frame.samples[:, 0] for frame in ann])
    assert counting.numbers(said, 16_000) == [*range(1, 51)]
    assert 0 <= len(said) - 16_000 <= 0.1 * 16_000
    assert said[100:15_900].min() > 0


MIC = TrackInfo(sid="TR_x", name="mic", kind=Kind.AUDIO, participant="ann", source="microphone")
ANN = Participant(identity="ann", name="Ann")


def event(kind: EventKind, ms: int, reason: str = "", track: TrackInfo | None = None) -> Event:
    return Event(kind=kind, participant=ANN, track=track, reason=reason, received_ns=ms * 10**6)


def sound(number: int, ms: int) -> AudioFrame:
    return AudioFrame.received(counting.numbered(number, 1), 16_000, MIC, (number, ms * 10**6))


def test_who_leaves_is_heard_to_the_end(tmp_path: Path) -> None:
    """Tracks and the room's events have no order: what is told as gone may be heard still."""
    items: list[Item] = [
        sound(1, 1_000),
        event(EventKind.TRACK_UNPUBLISHED, 1_010, "why", MIC),
        event(EventKind.PARTICIPANT_LEFT, 1_010, "bye"),
        sound(2, 1_020),
        event(EventKind.TRACK_ENDED, 1_030, "", MIC),
        DataFrame(b"late", participant="ann", received_ns=2_000 * 10**6),
    ]
    found = again(recorded(tmp_path / "call.mcap", items))
    assert numbers(found, "ann") == [1, 2]
    told = [(str(one.kind), one.reason) for one in found if isinstance(one, Event)]
    assert ("track_unpublished", "why") in told
    assert told.count(("participant_left", "bye")) == 1
    # Who sends is there, though nothing tells of it.
    assert [one[0] for one in told].count("participant_joined") == 2
    assert [one.payload for one in found if isinstance(one, DataFrame)] == [b"late"]


def test_who_leaves_in_a_recording_that_ends_early_leaves(tmp_path: Path) -> None:
    items: list[Item] = [sound(1, 1_000), event(EventKind.PARTICIPANT_LEFT, 1_010, "bye")]
    found = again(recorded(tmp_path / "call.mcap", items))
    assert numbers(found, "ann") == [1]
    assert [e.reason for e in found if isinstance(e, Event) and e.kind == "participant_left"] == [
        "bye"
    ]


def test_who_comes_again_before_the_last_frame(tmp_path: Path) -> None:
    items: list[Item] = [
        sound(1, 1_000),
        event(EventKind.PARTICIPANT_LEFT, 1_010, "bye"),
        event(EventKind.PARTICIPANT_JOINED, 1_020),
        event(EventKind.TRACK_ENDED, 1_030, "", MIC),
    ]
    found = again(recorded(tmp_path / "call.mcap", items))
    kinds = [str(one.kind) for one in found if isinstance(one, Event) and one.participant]
    assert kinds.count("participant_joined") == 2
    assert kinds.count("participant_left") == 1


def test_messages_without_a_sender(tmp_path: Path) -> None:
    nameless = DataFrame(b"who?", received_ns=10**9)
    found = again(recorded(tmp_path / "call.mcap", [nameless]))
    assert [(f.payload, f.participant) for f in found if isinstance(f, DataFrame)] == [
        (b"who?", "")
    ]


def test_whom_the_test_puts_out_stays_out(call: Path) -> None:
    def live(room: FakeRoom, clock: VirtualClock) -> None:
        room.wait_for_app()
        playback = room.replay(call)
        clock.sleep(0.5)
        room.remove("ann")
        playback.wait()
        clock.sleep(1)

    items = heard(live)
    assert 20 <= len(numbers(items, "ann")) <= 30
    assert numbers(items, "bob") == [*range(1, 26)]


def test_it_is_stopped(call: Path) -> None:
    def live(room: FakeRoom, clock: VirtualClock) -> None:
        room.wait_for_app()
        playback = room.replay(call)
        clock.sleep(0.5)
        playback.stop()
        playback.stop()
        playback.wait()
        clock.sleep(5)
        assert "ann" in [one.identity for one in room.participants]

    assert 20 <= len(numbers(heard(live), "ann")) <= 30


def test_a_room_that_closes_meanwhile_lets_go_of_the_file(call: Path) -> None:
    with FakeRoom() as room:
        playback = room.replay(call)
    assert playback.done
    with pytest.raises(ClosedError):
        room.replay(call)


def test_what_takes_too_long_is_told(call: Path, fake_room: FakeRoom) -> None:
    with pytest.raises(DeadlinePassed, match=r"call\.mcap to be through"):
        fake_room.replay(call).wait(timeout=0.01)


def test_what_went_wrong_is_logged_and_raised_by_wait(
    tmp_path: Path, fake_room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    items: list[Item] = [sound(1, 1), event(EventKind.PARTICIPANT_LEFT, 2, "x" * 5_000)]
    playback = fake_room.replay(recorded(tmp_path / "call.mcap", items))
    with pytest.raises(FrameError, match="reason"):
        playback.wait()
    assert "call.mcap was not played to its end: " in caplog.text
    fake_room.join("ann")  # the room goes on


def test_an_empty_recording_is_through_at_once(tmp_path: Path, fake_room: FakeRoom) -> None:
    playback = fake_room.replay(recorded(tmp_path / "call.mcap", []))
    assert (playback.done, playback.duration) == (True, 0.0)
    playback.wait()


def test_several_calls_at_once(call: Path, fake_room: FakeRoom) -> None:
    playbacks = [fake_room.replay(call, participants=[who], speed=5) for who in ("ann", "bob")]
    for playback in playbacks:
        playback.wait()
    assert threading.active_count() < 20
    assert {one.identity for one in fake_room.participants} == {"ann", "bob"}


def test_what_it_refuses(call: Path, tmp_path: Path, fake_room: FakeRoom) -> None:
    (tmp_path / "notes.txt").write_text("no recording")
    for path, options, what in (
        (tmp_path / "none.mcap", {}, "cannot be read"),
        (tmp_path / "notes.txt", {}, "is not an MCAP file"),
        (call, {"speed": 0}, "speed is 0"),
        (call, {"participants": "ann"}, "participants is 'ann', expected identities"),
        (call, {"participants": ["ann", "nobody"]}, "has 'nobody', .* in it are .*'ann'"),
    ):
        with pytest.raises(ConfigurationError, match=what):
            fake_room.replay(path, **options)  # type: ignore[arg-type]


def test_pictures_come_as_recorded(tmp_path: Path) -> None:
    track = TrackInfo(sid="TR_y", name="", kind=Kind.VIDEO, participant="bob", source="camera")
    pictures: list[Item] = []
    for n, size in enumerate([(8, 8), (32, 16), (8, 8)]):
        data = np.full(size[0] * size[1] * 3 // 2, n, np.uint8)
        stamp = (n, 10**9 + n * 10**8)
        pictures.append(VideoFrame.received(data, size, (90, 1_000 + n), track, stamp))
    found = again(recorded(tmp_path / "call.mcap", pictures))
    seen = [one for one in found if isinstance(one, VideoFrame)]
    assert [(f.width, f.height, f.rotation, f.timestamp_us) for f in seen] == [
        (8, 8, 90, 1_000),
        (32, 16, 90, 1_001),
        (8, 8, 90, 1_002),
    ]
    assert [int(f.data[0]) for f in seen] == [0, 1, 2]
    assert {f.track.name for f in seen if isinstance(f.track, TrackInfo)} == {""}
