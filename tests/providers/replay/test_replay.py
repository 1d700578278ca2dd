"""The provider replay, as an application meets it: in a thread and in a process."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from replay_kit import (
    ANN,
    BASE,
    BOT,
    CAMERA,
    EVERYTHING,
    MIC,
    RATE,
    a_call,
    audio,
    content,
    event,
    message,
    only,
    recorded,
    video,
)

import ringroom
from app_kit import PATIENCE, until
from ringroom import (
    AudioFrame,
    ConfigurationError,
    DataFrame,
    Event,
    FileFrame,
    Replay,
    TextFrame,
    VideoFrame,
)
from ringroom.dtmf import DtmfFrame
from ringroom.errors import ClosedError
from ringroom.events import EventKind, Participant, RoomInfo
from ringroom.frames import Item
from ringroom.options import SessionOptions
from ringroom.processes.io import inbound_lanes
from ringroom.providers.provider import Joined
from ringroom.providers.replay.connection import ReplayProvider
from ringroom.testing.virtual import VirtualClock

IO = pytest.mark.parametrize("io", ["thread", "process"])


def check_nothing_dropped(statistics: ringroom.Statistics) -> None:
    for lane in statistics.lanes:
        if lane.direction == "in":
            assert (lane.counts.dropped, lane.counts.lost) == (0, 0), lane
            assert lane.counts.sent == lane.counts.done, lane


def played(path: Path, **options: Any) -> list[Item]:
    """All of a recording."""
    options = {"io": "thread", "speed": None, "kinds": EVERYTHING, **options}
    with ringroom.transport("replay", path=path, **options) as transport:
        items = list(transport.recv())
        assert transport.ended == "recording ended"
    if options["speed"] is None:
        check_nothing_dropped(transport.stats())
    return items


# As fast as the reader.


@IO
def test_a_slow_reader_gets_everything_in_order(tmp_path: Path, io: str) -> None:
    """Far slower than max_age allows, and far more than the lanes hold."""
    items: list[Item] = []
    for number in range(300):
        items.append(audio(number))
        if number % 3 == 0:
            items.append(video(number, size=(160, 120)))
            items.append(message(number, nbytes=20_000))
    path = recorded(tmp_path / "call.mcap", items)
    back: list[Item] = []

    async def read(io: Any) -> ringroom.Statistics:
        options = {"kinds": EVERYTHING, "max_age": 0.02, "io": io}
        async with ringroom.aio.transport("replay", path=path, speed=None, **options) as transport:
            await asyncio.sleep(0.2)
            async for item in transport.recv():
                back.append(item)
                if len(back) % 20 == 0:
                    await asyncio.sleep(0.05)
        return transport.stats()

    if io == "process":  # its time is the machine's
        statistics = asyncio.run(read(io))
    else:
        with VirtualClock() as clock:
            statistics = clock.run(read(clock.io))
    for kind in (AudioFrame, VideoFrame, DataFrame):
        assert only(back, kind) == only(items, kind)
    check_nothing_dropped(statistics)


@IO
def test_a_call_comes_back(tmp_path: Path, io: str) -> None:
    call = a_call()
    before = time.monotonic_ns()
    back = played(recorded(tmp_path / "call.mcap", call), io=io)
    for kind in (AudioFrame, VideoFrame, DataFrame):
        assert only(back, kind) == only(call, kind)
    assert all(item.received_ns >= before for item in back if not isinstance(item, Event))
    # Events of the room are in order, and so are those of a track with its frames.
    track = [i for i in back if getattr(i, "track", None) == MIC and not is_room_event(i)]
    names = [i.kind.value if isinstance(i, Event) else "frame" for i in track]
    half = ["frame"] * 25
    assert names == ["track_started", *half, "track_muted", "track_unmuted", *half, "track_ended"]
    room = [content(item) for item in back if is_room_event(item)]
    bob = {"participant": Participant(identity="bob")}
    assert room == [
        content(event(EventKind.CONNECTED)),
        content(event(EventKind.PARTICIPANT_JOINED, participant=ANN)),
        content(event(EventKind.TRACK_PUBLISHED, participant=ANN, track=MIC)),
        content(event(EventKind.PARTICIPANT_JOINED, **bob)),
        content(event(EventKind.TRACK_PUBLISHED, **bob, track=CAMERA)),
        content(event(EventKind.TRACK_UNPUBLISHED, participant=ANN, track=MIC)),
        content(event(EventKind.PARTICIPANT_LEFT, participant=ANN)),
        content(event(EventKind.DISCONNECTED, reason="recording ended")),
    ]


def is_room_event(item: Item) -> bool:
    tracks = (
        EventKind.TRACK_STARTED,
        EventKind.TRACK_ENDED,
        EventKind.TRACK_MUTED,
        EventKind.TRACK_UNMUTED,
    )
    return isinstance(item, Event) and item.kind not in tracks


def test_a_replay_that_is_recorded_is_the_same(tmp_path: Path) -> None:
    first = played(recorded(tmp_path / "call.mcap", a_call()))
    second = played(recorded(tmp_path / "again.mcap", first))
    for kind in (AudioFrame, VideoFrame, DataFrame):
        assert only(first, kind) == only(second, kind)
    assert Counter(map(repr, only(first, Event))) == Counter(map(repr, only(second, Event)))


def test_events_that_stand_before_the_frames_they_follow(tmp_path: Path) -> None:
    """The room's events and the tracks come by different lanes: no order holds between them."""
    call = a_call()
    last = (EventKind.TRACK_UNPUBLISHED, EventKind.PARTICIPANT_LEFT)
    early = [item for item in call if isinstance(item, Event) and item.kind in last]
    rest = [item for item in call if item not in early]
    back = played(recorded(tmp_path / "call.mcap", [*rest[:3], *early, *rest[3:]]))
    assert only(back, AudioFrame) == only(call, AudioFrame)
    kinds = Counter(item.kind for item in back if isinstance(item, Event))
    assert kinds[EventKind.PARTICIPANT_JOINED] == kinds[EventKind.TRACK_PUBLISHED] == 2


def test_a_track_tells_its_publisher_as_they_were_when_it_began(tmp_path: Path) -> None:
    """Tracks and events have no order between them: what changed before it may stand after it."""
    before = Participant(identity=ANN.identity, sid=ANN.sid, name="nobody yet")
    items = [
        event(EventKind.PARTICIPANT_JOINED, participant=before),
        event(EventKind.TRACK_STARTED, participant=ANN, track=MIC),
        event(EventKind.PARTICIPANT_CHANGED, participant=ANN),
        event(EventKind.TRACK_PUBLISHED, participant=ANN, track=MIC),
    ]
    back = played(recorded(tmp_path / "call.mcap", items))
    of_tracks = [one for one in back if isinstance(one, Event) and one.track is not None]
    assert all(one.participant == ANN for one in of_tracks), of_tracks
    assert [str(one.kind) for one in of_tracks].count("track_published") == 1


def test_who_is_there_as_the_call_goes_on(tmp_path: Path) -> None:
    """As the recording has told so far, also to an application that receives nothing of it."""
    items = [
        event(EventKind.PARTICIPANT_JOINED, participant=ANN),
        event(EventKind.PARTICIPANT_JOINED, 1_000, participant=BOT),
        event(EventKind.PARTICIPANT_LEFT, 2_000, participant=ANN),
        event(EventKind.DISCONNECTED, 3_000),
    ]
    path = recorded(tmp_path / "call.mcap", items)

    async def main() -> list[tuple[Participant, ...]]:
        found = []
        async with ringroom.aio.transport(
            "replay", path=path, kinds=(), participants=["nobody"], io=clock.io
        ) as transport:
            for _ in range(3):
                await asyncio.sleep(0.5)
                found.append(await transport.participants())
                await asyncio.sleep(0.5)
        return found

    with VirtualClock() as clock:
        assert clock.run(main()) == [(ANN,), (ANN, BOT), (BOT,)]


def test_more_tracks_than_a_reader_keeps_unread(tmp_path: Path) -> None:
    """As many as are kept are over before the first is read; the others wait in the file."""
    items: list[Item] = []
    for number in range(100):
        track = ringroom.TrackInfo(
            sid=f"TR_{number}", name="mic", kind=ringroom.Kind.AUDIO, participant=f"p{number}"
        )
        items.append(audio(number, track=track))
        items.append(event(EventKind.TRACK_ENDED, track=track))
    path = recorded(tmp_path / "call.mcap", items)

    async def read() -> tuple[list[Item], ringroom.Statistics]:
        async with ringroom.aio.transport(
            "replay", path=path, speed=None, io=clock.io
        ) as transport:
            await asyncio.sleep(0.3)
            assert inbound_lanes.MAX_UNREAD_ENDED <= transport.stats().received.sent < 100
            return [item async for item in transport.recv()], transport.stats()

    with VirtualClock() as clock:
        back, statistics = clock.run(read())
    assert sorted(only(back, AudioFrame)) == sorted(only(items, AudioFrame))
    check_nothing_dropped(statistics)


def test_frames_that_grow(tmp_path: Path) -> None:
    sizes = [(64, 48), (64, 48), (640, 480), (1280, 720), (64, 48), (1920, 1080)]
    items: list[Item] = [video(n, size=size) for n, size in enumerate(sizes)]
    back = played(recorded(tmp_path / "call.mcap", items))
    assert only(back, VideoFrame) == only(items, VideoFrame)
    started = [i for i in back if isinstance(i, Event) and i.kind is EventKind.TRACK_STARTED]
    assert len(started) == 1


@IO
def test_answers_do_not_hold_up_the_reader(tmp_path: Path, io: str) -> None:
    """Forty seconds of sound, answered frame by frame."""
    path = recorded(tmp_path / "call.mcap", [audio(number) for number in range(2_000)])
    began = time.monotonic()
    with ringroom.transport("replay", path=path, speed=None, io=io) as transport:
        for frame in transport.recv():
            transport.send(frame)
            transport.send_data("heard")
    assert time.monotonic() - began < 35
    check_nothing_dropped(transport.stats())


def test_a_kind_that_nobody_receives_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inbound_lanes, "STALL_SECONDS", 0.1)
    items: list[Item] = [audio(0), *(video(n, size=(640, 480)) for n in range(40)), audio(1)]
    path = recorded(tmp_path / "call.mcap", items)
    options: dict[str, Any] = {"speed": None, "kinds": ("audio", "video"), "io": "thread"}
    with ringroom.transport("replay", path=path, **options) as transport:
        next(transport.recv(kinds=("audio",), timeout=PATIENCE))
        receiver = transport.recv(kinds=("audio",), timeout=0.5)
        with pytest.raises(TimeoutError):
            next(receiver)
        until(lambda: "something is not received" in caplog.text, "the line in the log")


def test_the_asyncio_face(tmp_path: Path) -> None:
    call = a_call()
    path = recorded(tmp_path / "call.mcap", call)

    async def main() -> list[Item]:
        transport = ringroom.aio.transport("replay", path=path, speed=None, io="thread")
        async with transport as t:
            return [frame async for frame in t.recv()]

    assert only(asyncio.run(main()), AudioFrame) == only(call, AudioFrame)


class Collected(ringroom.Processor):
    """Writes what it saw to a file: it runs in another process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen = 0

    def process(self, frame: Any) -> Any:
        time.sleep(0.002)
        self.seen += 1
        return frame

    def stop(self) -> None:
        self.path.write_text(str(self.seen))


@pytest.mark.once
def test_a_pool_gets_everything(tmp_path: Path) -> None:
    path = recorded(tmp_path / "call.mcap", [audio(number) for number in range(250)])
    ringroom.run(Collected(tmp_path / "seen"), "replay", path=path, speed=None, workers=1)
    assert (tmp_path / "seen").read_text() == "250"


# In time.


@IO
def test_at_a_factor(tmp_path: Path, io: str) -> None:
    call = [audio(number, at_ms=200 * number) for number in range(100)]
    path = recorded(tmp_path / "call.mcap", call)
    began = time.monotonic_ns()
    with ringroom.transport("replay", path=path, speed=40.0, io=io, max_age=5.0) as transport:
        back = list(transport.recv())
    assert only(back, AudioFrame) == only(call, AudioFrame)
    # 99 steps of 200 ms at forty times the speed; not from the first frame on, which may be late.
    assert (back[-1].received_ns - began) / 1e9 >= 0.495
    assert (back[-1].received_ns - back[0].received_ns) / 1e9 < 10.0


def test_in_real_time_by_default(tmp_path: Path) -> None:
    items = [audio(0, at_ms=0), audio(1, at_ms=300), audio(2, at_ms=320)]
    path = recorded(tmp_path / "call.mcap", items)
    began = time.monotonic_ns()
    with ringroom.transport("replay", path=path, io="thread", max_age=20.0) as transport:
        back = list(transport.recv())
    # Beside the first frame's arrival, which may have been late.
    _, second, third = ((frame.received_ns - began) / 1e6 for frame in back)
    assert second >= 300
    assert third >= 320


def test_in_time_the_newest_wins(tmp_path: Path) -> None:
    """As in the room itself."""
    path = recorded(tmp_path / "call.mcap", [audio(number) for number in range(50)])

    async def read() -> tuple[list[int], ringroom.Statistics]:
        options = {"speed": 2.0, "io": clock.io, "max_age": 0.1}
        async with ringroom.aio.transport("replay", path=path, **options) as transport:
            receiver = transport.recv()
            assert (await anext(receiver)).sequence == 0
            await asyncio.sleep(0.4)  # by then 40 have come
            late = []
            async for frame in receiver:
                assert clock.now() - frame.received_ns / 1e9 <= 0.1
                late.append(frame.sequence)
            return late, transport.stats()

    with VirtualClock() as clock:
        late, statistics = clock.run(read())
    assert 30 < late[0] <= 40
    assert late == list(range(late[0], 50))
    assert statistics.received.dropped_stale == late[0] - 1


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 1.0), (60.0, 30.0)])
def test_answers_play_at_the_pace_of_the_replay(
    tmp_path: Path, speed: float, seconds: float
) -> None:
    path = recorded(tmp_path / "call.mcap", [audio(0), audio(1, at_ms=600_000)])
    with ringroom.transport("replay", path=path, speed=speed, io="thread") as transport:
        began = time.monotonic()
        transport.send(AudioFrame(np.ones((int(RATE * seconds), 1), np.int16), RATE))
        transport.wait_playout(timeout=20)
        # Less by what a source may have queued when it counts as played.
        assert time.monotonic() - began > seconds / speed - 0.1


def test_flush_throws_away_what_was_not_played(tmp_path: Path) -> None:
    path = recorded(tmp_path / "call.mcap", [audio(0), audio(1, at_ms=20_000)])
    with (
        VirtualClock() as clock,
        ringroom.transport("replay", path=path, io=clock.io) as transport,
    ):
        transport.send(AudioFrame(np.ones((RATE, 1), np.int16), RATE))
        assert transport.flush() > 0.5
        transport.send(VideoFrame(bytes(64 * 48 * 3 // 2), 64, 48))
        transport.send_data("to nobody")
        transport.set_profile(name="nobody", timeout=PATIENCE)
        transport.send_text("to nobody")
        transport.send_dtmf("123#")
        transport.send_file(b"to nobody")
        transport.wait_playout(timeout=10)


# What is asked for.


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    path = recorded(tmp_path / "call.mcap", a_call())
    assert {type(item) for item in played(path, kinds=("audio",))} == {AudioFrame}
    assert {type(item) for item in played(path, participants=["bob"])} == {VideoFrame, Event}
    named = played(path, kinds=("audio", "video"), participants=lambda p: p.metadata == "guest")
    assert {type(item) for item in named} == {AudioFrame}
    both = ("audio", "video")
    for source, kind in (("microphone", AudioFrame), ("camera", VideoFrame)):
        assert {type(item) for item in played(path, kinds=both, tracks=[source])} == {kind}


def test_sound_comes_as_it_is_asked_for(tmp_path: Path) -> None:
    path = recorded(tmp_path / "call.mcap", [audio(number) for number in range(50)])
    options = {"sample_rate": 48_000, "channels": 2, "frame_ms": 50, "kinds": ("audio",)}
    back = [item for item in played(path, **options) if isinstance(item, AudioFrame)]
    assert {(len(f.samples), f.channels, f.sample_rate) for f in back} == {(2400, 2, 48_000)}
    assert sum(frame.duration for frame in back) == pytest.approx(1.0, abs=0.051)


def test_frames_without_a_track_come_from_somebody(tmp_path: Path) -> None:
    path = recorded(tmp_path / "call.mcap", [audio(0, track=None), audio(1, track="voice")])
    back = played(path, kinds=("audio",))
    assert [
        (f.track.name, f.participant) for f in back if isinstance(f, AudioFrame) and f.track
    ] == [
        ("audio", "recording"),
        ("voice", "recording"),
    ]


# Ends.


def test_a_message_to_many_comes_without_their_names(tmp_path: Path) -> None:
    """They may be more than a record takes; it had ended the replay."""
    many = tuple(f"{number:04}" + "i" * 900 for number in range(300))
    path = recorded(tmp_path / "x.mcap", [DataFrame(b"x", to=many), DataFrame(b"y", to=("us",))])
    with ringroom.transport("replay", path=path, kinds=("data",), speed=None, io="thread") as t:
        frames = list(t.recv(timeout=PATIENCE))
    assert [(frame.payload, frame.to) for frame in frames] == [(b"x", ()), (b"y", ())]


def test_what_the_room_was_comes_back(tmp_path: Path) -> None:
    """Also what it was as the recorder joined."""
    rooms = [RoomInfo(name="hall", sid="RM_1", metadata=text) for text in ("first", "second")]
    kinds = (EventKind.CONNECTED, EventKind.ROOM_CHANGED)
    events = [Event(kind=kind, room=room) for kind, room in zip(kinds, rooms, strict=True)]
    path = recorded(tmp_path / "x.mcap", [*events, Event(kind=EventKind.DISCONNECTED)])
    came = played(path, kinds=("event",))
    assert [item.room for item in came if item.kind is EventKind.ROOM_CHANGED] == rooms
    (connected,) = [item for item in came if item.kind is EventKind.CONNECTED]
    assert connected.room == RoomInfo(name="x")


def test_qualities_come_back_but_for_the_recorders_own(tmp_path: Path) -> None:
    ann, recorder = Participant(identity="ann"), Participant(identity="recorder")
    joined = Event(kind=EventKind.PARTICIPANT_JOINED, participant=ann)
    told = [
        Event(kind=EventKind.CONNECTION_QUALITY, participant=who, quality=quality)
        for who, quality in ((ann, "good"), (recorder, "poor"), (ann, "lost"))
    ]
    path = recorded(tmp_path / "x.mcap", [joined, *told])
    came = played(path, kinds=("event",))
    assert [item.quality for item in came if item.quality] == ["good", "lost"]


def test_digits_come_back_where_they_are_asked_for(tmp_path: Path) -> None:
    digit = DtmfFrame("#", participant="ann")
    path = recorded(tmp_path / "x.mcap", [digit, DataFrame(b"x", participant="ann")])
    options = {"path": path, "kinds": ("data",), "speed": None, "io": "thread"}
    with ringroom.transport("replay", dtmf=True, **options) as t:
        again, data = t.recv(timeout=PATIENCE)
    assert isinstance(again, DtmfFrame)
    assert (again.digit, again.participant, type(data)) == ("#", "ann", DataFrame)
    with ringroom.transport("replay", **options) as t:
        assert [type(frame) for frame in t.recv(timeout=PATIENCE)] == [DataFrame]


def test_texts_come_back_where_they_are_asked_for(tmp_path: Path) -> None:
    text = TextFrame("grüße".encode(), "lk.chat", "ann", attributes={"id": "1"})
    path = recorded(tmp_path / "x.mcap", [text, DataFrame(b"x", "lk.chat", "ann")])
    options = {"path": path, "kinds": ("data",), "speed": None, "io": "thread"}
    with ringroom.transport("replay", text_topics=("lk.chat",), **options) as t:
        again, data = t.recv(timeout=PATIENCE)
    assert isinstance(again, TextFrame)
    assert (again.text, again.topic, again.attributes) == ("grüße", "lk.chat", {"id": "1"})
    assert (again.participant, type(data)) == ("ann", DataFrame)
    with ringroom.transport("replay", text_topics=("lk.transcription",), **options) as t:
        assert [type(frame) for frame in t.recv(timeout=PATIENCE)] == [DataFrame]


def test_files_come_back_where_they_are_asked_for(tmp_path: Path) -> None:
    file = FileFrame(bytes(3 << 20), "photos", "ann", name="a.jpg", attributes={"id": "1"})
    path = recorded(tmp_path / "x.mcap", [file, DataFrame(b"x", "photos", "ann")])
    options = {"path": path, "kinds": ("data",), "speed": None, "io": "thread"}
    with ringroom.transport("replay", file_topics=("photos",), **options) as t:
        again, data = t.recv(timeout=PATIENCE)
    assert isinstance(again, FileFrame)
    assert (again.payload, again.name, again.attributes) == (file.payload, "a.jpg", {"id": "1"})
    assert (again.participant, type(data)) == ("ann", DataFrame)
    with ringroom.transport("replay", **options) as t:
        assert [type(frame) for frame in t.recv(timeout=PATIENCE)] == [DataFrame]


def test_a_loop_begins_again(tmp_path: Path) -> None:
    path = recorded(tmp_path / "call.mcap", [audio(number) for number in range(5)])
    options = {"speed": None, "loop": True, "io": "thread"}
    with ringroom.transport("replay", path=path, **options) as transport:
        receiver = transport.recv()
        numbers = [int(next(receiver).samples[0, 0]) // 7 for _ in range(12)]
    assert numbers == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_a_loop_over_nothing_ends(tmp_path: Path) -> None:
    assert played(recorded(tmp_path / "call.mcap", []), loop=True, kinds=("audio",)) == []


@pytest.mark.parametrize("speed", [None, 1.0])
@IO
def test_closing_in_the_middle(tmp_path: Path, speed: float | None, io: str) -> None:
    path = recorded(tmp_path / "call.mcap", [audio(number) for number in range(1_000)])
    with ringroom.transport("replay", path=path, speed=speed, io=io) as transport:
        next(transport.recv())


def test_what_is_closed_while_it_looks_at_the_file_plays_nothing(tmp_path: Path) -> None:
    path = recorded(tmp_path / "call.mcap", [audio(0)])
    joined = Joined(room="call", identity="app")

    async def scenario() -> None:
        provider = ReplayProvider(str(path), joined, speed=1.0, loop=True)
        connecting = asyncio.create_task(provider.connect(sink, SessionOptions()))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await provider.close()
        with pytest.raises(ClosedError):
            await connecting
        assert asyncio.all_tasks() == {asyncio.current_task()}

    told: list[Event] = []
    sink = SimpleNamespace(event=told.append)
    asyncio.run(scenario())
    assert told == []


def test_a_cut_recording_is_played_up_to_the_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = recorded(tmp_path / "call.mcap", [audio(number) for number in range(50)])
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with caplog.at_level(logging.WARNING):
        assert 15 < len(played(path, kinds=("audio",))) < 35
    assert "cut off at byte" in caplog.text


# The spec.


def test_by_name_and_by_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recorded(tmp_path / "monday.mcap", [audio(0)])
    monkeypatch.chdir(tmp_path)
    ignored = {"token": "secret", "e2ee_key": b"k", "sdk_path": "direct"}
    spec = Replay(path="monday.mcap", speed=None, url="ws://x", **ignored)  # type: ignore[arg-type]
    assert "secret" not in repr(spec)
    assert spec == Replay(path=path, speed=None, url="ws://x")
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(spec)) == spec
    with ringroom.transport(spec, io="thread") as transport:
        assert (transport.room, transport.identity) == ("monday", "app")
        assert len(list(transport.recv())) == 1
    assert "replay" in ringroom.provider_names()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 0}, "speed is 0, expected a number up to 1000, or None"),
        ({"speed": -1.0}, "speed is -1.0"),
        ({"room": 5}, "room is of type int"),
        ({"identity": None}, "identity is of type NoneType"),
        ({"speed": True}, "speed is True"),
        ({"speed": "fast"}, "speed is 'fast'"),
        ({"speed": float("nan")}, "speed is nan"),
        ({"path": ""}, "path is '', expected that of a recording"),
        ({"path": 5}, "path is 5"),
        ({"path": "none.mcap"}, r"replay: .*none\.mcap: cannot be read \(No such file"),
        ({"path": __file__}, r"replay: .*test_replay\.py: is not an MCAP file"),
        ({"pth": "x"}, "replay: unknown option pth"),
    ],
)
def test_wrong_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = recorded(tmp_path / "call.mcap", [audio(0)])
    with pytest.raises(ConfigurationError, match=message):
        ringroom.transport("replay", **{"path": path, **options})


def test_a_recording_that_is_gone_when_it_is_played(tmp_path: Path) -> None:
    spec = Replay(path=recorded(tmp_path / "call.mcap", [audio(0, at_ms=BASE / 1e9)]))
    (tmp_path / "call.mcap").unlink()
    with pytest.raises(ringroom.RingroomError, match="cannot be read"):
        ringroom.transport(spec, io="thread")
