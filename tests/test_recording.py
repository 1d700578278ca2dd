"""Recordings: every frame comes back equal, cuts lose only what lies behind them, and whoever
records is never disturbed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import ringroom
import ringroom.lanes.records
from ringroom import AudioFrame, ConfigurationError, DataFrame, Event, Recorder, VideoFrame
from ringroom.cli import recording as cli_recording
from ringroom.colour import i420_size
from ringroom.frames import EventKind, Item, Kind, Participant, TrackInfo
from ringroom.recording import Reader
from ringroom.recording import recorder as recorder_module
from ringroom.testing import FakeRoom

ANN = Participant(identity="ann", name="Ann", attributes={"seat": "4"})
MIC = TrackInfo(sid="TR_1", name="mic", kind=Kind.AUDIO, participant="ann", source="microphone")
CAMERA = TrackInfo(sid="TR_2", name="", kind=Kind.VIDEO, participant="zoë")


def audio(number: int, samples: int = 8, track: Any = MIC) -> AudioFrame:
    pcm = np.arange(number, number + samples, dtype=np.int16)[:, None]
    return AudioFrame.received(pcm, 16_000, track, (number, 1_000_000 * number + 1))


def content(item: Item) -> tuple[Any, ...]:
    """All that is to come back."""
    if isinstance(item, Event):
        return (item.kind, item.participant, item.track, item.reason, item.received_ns)
    stamp = (item.sequence, item.received_ns)
    if isinstance(item, AudioFrame):
        return (item.samples.shape, item.samples.tobytes(), item.sample_rate, item.track, *stamp)
    if isinstance(item, VideoFrame):
        size = (item.width, item.height, item.rotation, item.timestamp_us)
        return (item.data.tobytes(), *size, item.track, *stamp)
    return (item.payload, item.topic, item.participant, item.reliable, item.to, *stamp)


def a_call(count: int = 12) -> list[Item]:
    call: list[Item] = [Event(kind=EventKind.PARTICIPANT_JOINED, participant=ANN, received_ns=5)]
    for number in range(count):
        call.append(audio(number))
        if number % 3 == 0:
            picture = np.full(i420_size(4, 2), number, np.uint8)
            stamp = (number, 1_000_000 * number + 2)
            call.append(VideoFrame.received(picture, (4, 2), (90, -number), CAMERA, stamp))
            call.append(DataFrame(b"%d" % number, "chat", "ann", received_ns=number))
    call.append(Event(kind=EventKind.TRACK_ENDED, participant=ANN, track=MIC))
    return call


def recorded(path: Path, items: list[Item]) -> Path:
    with Recorder(path) as recorder:
        for item in items:
            recorder.add(item)
    assert (recorder.recorded, recorder.missed) == (len(items), 0), recorder.problem
    return path


# There and back.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
U64 = st.integers(0, (1 << 64) - 1)
STAMPS = st.tuples(U64, U64)
TRACKS = (
    st.none()
    | TEXT
    | st.builds(
        TrackInfo,
        sid=TEXT,
        name=TEXT,
        kind=st.sampled_from([Kind.AUDIO, Kind.VIDEO]),
        participant=TEXT,
        source=TEXT,
    )
)


@st.composite
def any_audio(draw: st.DrawFn) -> AudioFrame:
    channels = draw(st.sampled_from([1, 2]))
    samples = draw(st.lists(st.integers(-32768, 32767), min_size=1, max_size=20))
    pcm = np.repeat(np.array(samples, np.int16)[:, None], channels, axis=1)
    rate = draw(st.integers(8_000, 192_000))
    return AudioFrame.received(pcm, rate, draw(TRACKS), draw(STAMPS))


@st.composite
def any_video(draw: st.DrawFn) -> VideoFrame:
    size = draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    data = np.full(i420_size(*size), draw(st.integers(0, 255)), np.uint8)
    rotation = draw(st.sampled_from([0, 90, 180, 270]))
    origin = (rotation, draw(st.integers(-(1 << 63), (1 << 63) - 1)))
    return VideoFrame.received(data, size, origin, draw(TRACKS), draw(STAMPS))


ITEMS = st.one_of(
    any_audio(),
    any_video(),
    st.builds(
        DataFrame,
        payload=st.binary(max_size=50),
        topic=TEXT,
        participant=TEXT,
        reliable=st.booleans(),
        to=st.lists(TEXT, max_size=3).map(tuple),
        sequence=U64,
        received_ns=U64,
    ),
    st.builds(
        Event,
        kind=st.sampled_from(EventKind),
        participant=st.none()
        | st.builds(
            Participant,
            identity=TEXT,
            sid=TEXT,
            name=TEXT,
            metadata=TEXT,
            attributes=st.dictionaries(TEXT, TEXT, max_size=2),
        ),
        track=st.none()
        | st.builds(TrackInfo, sid=TEXT, name=TEXT, kind=st.just(Kind.AUDIO), participant=TEXT),
        reason=TEXT,
        received_ns=U64,
    ),
)


@given(items=st.lists(ITEMS, max_size=8))
@settings(deadline=None, max_examples=60)
def test_any_item_comes_back_in_order(items: list[Item]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(recorded(Path(folder) / "any.mcap", items))
        assert [content(item) for item in reader] == [content(item) for item in items]
        assert reader.cut == ""
        # Each iteration begins anew.
        assert len(list(reader.entries())) == len(items)


def test_times_are_on_the_wall_clock(tmp_path: Path) -> None:
    frame = AudioFrame.received(np.ones((8, 1), np.int16), 16_000, MIC, (0, time.monotonic_ns()))
    before = time.time_ns()
    (entry,) = Reader(recorded(tmp_path / "now.mcap", [frame])).entries()
    assert abs(entry.time_ns - before) < 1e9
    assert entry.item.received_ns == frame.received_ns


def test_any_mcap_reader_finds_tracks_and_times(tmp_path: Path) -> None:
    from mcap.reader import make_reader

    path = recorded(tmp_path / "call.mcap", a_call())
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == len(a_call())
        channels = {channel.topic: channel for channel in summary.channels.values()}
        assert set(channels) == {"ann/mic", "zoë/TR_2", "data", "event"}
        assert channels["ann/mic"].metadata["participant"] == "ann"
        assert channels["ann/mic"].metadata["source"] == "microphone"
        assert {channel.message_encoding for channel in channels.values()} == {"ringroom.record.v1"}
        assert len(list(reader.iter_messages(topics="ann/mic"))) == 12


# Cuts.


@pytest.mark.once
def test_a_file_cut_at_any_byte_is_read_up_to_the_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "CHUNK_BYTES", 300)  # several chunks
    items = a_call(2)
    raw = recorded(tmp_path / "whole.mcap", items).read_bytes()
    expected = [content(item) for item in items]
    # Where each record ends: behind it, the item must be there.
    ends, at = [], 0
    for item in items:
        head, body = ringroom.lanes.records.encode(
            item, (getattr(item, "sequence", 0), item.received_ns)
        )
        at = raw.index(head + bytes(body), at) + len(head) + len(body)
        ends.append(at)
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(raw)
    for length in reversed(range(len(raw))):
        os.truncate(cut, length)
        reader = Reader(cut)
        got = [content(item) for item in reader]
        assert got == expected[: sum(end <= length for end in ends)], length
        assert reader.cut, length


@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255), data=st.data())
@settings(deadline=None, max_examples=150)
def test_damage_never_makes_up_an_item(position: float, value: int, data: st.DataObject) -> None:
    items = a_call()
    with tempfile.TemporaryDirectory() as folder:
        path = recorded(Path(folder) / "call.mcap", items)
        raw = bytearray(path.read_bytes())
        raw[int(position * len(raw))] ^= value
        path.write_bytes(raw)
        expected = [content(item) for item in items]
        try:
            got = [content(item) for item in Reader(path)]
        except ConfigurationError:
            return  # the damage made it the file of somebody else
        assert got == expected[: len(got)]


def test_a_tail_of_zeros_is_a_cut(tmp_path: Path) -> None:
    """As a file system leaves it when the power fails."""
    path = recorded(tmp_path / "call.mcap", a_call())
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2] + bytes(5_000))
    reader = Reader(path)
    assert all(content(item) for item in reader)
    assert "damaged" in reader.cut or "cut off" in reader.cut


KILLED = """
import sys, time
import numpy as np
from ringroom import AudioFrame, Recorder
recorder = Recorder(sys.argv[1])
for number in range(100_000):
    recorder.add(AudioFrame(np.full((320, 1), number % 30_000, np.int16), 16_000))
    if recorder.recorded:
        print("some", flush=True)
    time.sleep(0.001)
"""


def test_a_killed_writer_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "killed.mcap"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"some\n"
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGKILL)
    reader = Reader(path)
    numbers = [int(frame.samples[0, 0]) for frame in reader if isinstance(frame, AudioFrame)]
    assert len(numbers) > 50
    assert numbers == list(range(len(numbers)))
    assert "cut off at byte" in reader.cut


# What is no recording.


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.mcap: cannot be read \(No such file"):
        Reader(tmp_path / "none.mcap")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Reader(tmp_path)
    (tmp_path / "song.wav").write_bytes(b"RIFF....WAVEfmt ")
    with pytest.raises(ConfigurationError, match=r"song\.wav: is not an MCAP file"):
        Reader(tmp_path / "song.wav")


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("ros1", "no recording of ringroom: its channel '/imu' holds 'ros1'"),
        ("ringroom.record.v9", "this version reads ringroom.record.v1"),
    ],
)
def test_an_mcap_file_of_others(tmp_path: Path, encoding: str, message: str) -> None:
    from mcap.writer import CompressionType, Writer

    path = tmp_path / "other.mcap"
    for compression in CompressionType:
        with path.open("wb") as stream:
            writer = Writer(stream, compression=compression)
            writer.start()
            channel = writer.register_channel("/imu", encoding, 0)
            writer.add_message(channel, 1, b"x", 1)
            writer.finish()
        with pytest.raises(ConfigurationError, match=message):
            Reader(path)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for use in (Recorder, Reader):
        with pytest.raises(ConfigurationError, match=r"install ringroom\[recording\]"):
            use(tmp_path / "call.mcap")
    with pytest.raises(ConfigurationError, match=r"install ringroom\[recording\]"):
        ringroom.Replay(path=tmp_path / "call.mcap")


def test_importing_it_loads_no_mcap() -> None:
    code = "import ringroom.recording, sys; print([n for n in sys.modules if n.startswith('mcap')])"
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert got.stdout == "[]\n"


# The tap.


def test_a_tap_hands_on_what_it_gets_and_ends_with_it(tmp_path: Path) -> None:
    items = a_call()
    with Recorder(tmp_path / "call.mcap") as recorder:
        assert [id(item) for item in recorder.tap(items)] == [id(item) for item in items]
    assert [content(i) for i in Reader(recorder.path)] == [content(i) for i in items]


def test_a_timeout_of_the_receiver_passes_and_does_not_end_it(tmp_path: Path) -> None:
    class Receiver(Iterator[Item]):
        calls = 0
        closed = False

        def __next__(self) -> Item:
            self.calls += 1
            if self.calls == 1:
                raise TimeoutError("nothing received")
            return audio(self.calls)

        def close(self) -> None:
            self.closed = True

    receiver = Receiver()
    with Recorder(tmp_path / "call.mcap") as recorder:
        tap = recorder.tap(receiver)
        with pytest.raises(TimeoutError):
            next(tap)
        assert content(next(tap)) == content(audio(2))
        tap.close()
    assert receiver.closed
    assert recorder.recorded == 1


def test_the_asyncio_face(tmp_path: Path) -> None:
    async def receiver() -> AsyncIterator[Item]:
        for item in a_call():
            yield item

    async def main() -> int:
        with Recorder(tmp_path / "call.mcap") as recorder:
            tap = recorder.tap(receiver())
            return len([item async for item in tap])

    assert asyncio.run(main()) == len(a_call())
    assert len(list(Reader(tmp_path / "call.mcap"))) == len(a_call())


def test_a_transport_is_no_receiver(tmp_path: Path) -> None:
    not_received = pytest.raises(ConfigurationError, match=r"recorder\.tap\(transport\.recv\(\)\)")
    with Recorder(tmp_path / "call.mcap") as recorder, not_received:
        recorder.tap(object())  # type: ignore[call-overload]


def test_a_tap_on_a_transport(tmp_path: Path) -> None:
    with FakeRoom() as room:
        microphone = room.join("ann").publish_audio()
        path = tmp_path / "call.mcap"
        with ringroom.transport("fake", room=room, io="thread") as t, Recorder(path) as recorder:
            received = recorder.tap(t.recv(timeout=10))
            microphone.tone(seconds=0.2)
            live = [next(received) for _ in range(10)]
    back = list(Reader(recorder.path))
    assert [content(item) for item in back] == [content(item) for item in live]


# Failures.


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_stops_the_recording_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    items = [audio(number, 40_000) for number in range(60)]
    with Recorder("/dev/full") as recorder:
        assert len(list(recorder.tap(items))) == 60
        end = time.monotonic() + 10
        while not recorder.problem:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert len(list(recorder.tap(items))) == 60
    assert recorder.recorded + recorder.missed == 120
    assert recorder.missed
    assert "No space left" in recorder.problem
    assert len(warnings_in(caplog)) == 1


def test_what_is_no_frame_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Recorder(tmp_path / "call.mcap") as recorder:
        strange: list[Any] = ["text", None, audio(1)]
        assert list(recorder.tap(strange)) == strange
    assert (recorder.recorded, recorder.missed) == (1, 2)
    assert len(warnings_in(caplog)) == 1
    assert "a str cannot be recorded" in recorder.problem


def test_a_slow_disk_costs_frames_and_not_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written = recorder_module._File.add

    def slow(self: Any, entry: Any) -> None:
        time.sleep(0.05)
        written(self, entry)

    monkeypatch.setattr(recorder_module._File, "add", slow)
    began = time.monotonic()
    with Recorder(tmp_path / "call.mcap", queue_bytes=4_000) as recorder:
        for number in range(1_000):
            recorder.add(audio(number, 200))
        assert time.monotonic() - began < 25  # half of what writing them takes
    assert 0 < recorder.recorded < 500
    assert recorder.recorded + recorder.missed == 1_000
    assert "the disk is behind" in recorder.problem
    assert len(warnings_in(caplog)) == 1
    assert len(list(Reader(recorder.path))) == recorder.recorded


def test_after_close_everything_is_missed(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.mcap")
    tap = recorder.tap([audio(1), audio(2)])
    next(tap)
    recorder.close()
    recorder.close()
    assert content(next(tap)) == content(audio(2))
    assert (recorder.recorded, recorder.missed) == (1, 1)
    assert recorder.problem == "the recorder is closed"


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be written \(No such file"):
        Recorder(tmp_path / "no" / "call.mcap")


def test_a_forgotten_recorder_is_told_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "call.mcap"
    recorder = Recorder(path)
    recorder.add(audio(1))
    with pytest.warns(ResourceWarning, match="Recorder never closed"):
        del recorder
    reader = Reader(path)
    assert len(list(reader)) == 1
    assert reader.cut == ""


# The command.

COMMAND = """
import os, signal, sys, threading, time
from ringroom.cli import main
from ringroom.providers import registry
from ringroom.testing import FakeRoom

registry._BUILT_IN["livekit"] = registry._BUILT_IN["fake"]
with FakeRoom("r") as room:
    room.join("ann").publish_audio().tone(seconds=60)
    def watch():
        room.wait_for_app(timeout=30)
        time.sleep(1.0)
        {then}
    threading.Thread(target=watch, daemon=True).start()
    print("exit", main(["record", "call.mcap", "--room", "r", *sys.argv[1:]]), flush=True)
"""


@pytest.mark.parametrize(
    ("then", "words", "code"),
    [
        ("room.close_room()", [], 0),
        ("os.kill(os.getpid(), signal.SIGINT)", [], 130),
        ("os.kill(os.getpid(), signal.SIGTERM)", [], 0),
        ("pass", ["--seconds", "1"], 0),
    ],
    ids=["room ends", "Ctrl-C", "SIGTERM", "seconds"],
)
@pytest.mark.once
def test_the_command_leaves_a_whole_file(
    tmp_path: Path, then: str, words: list[str], code: int
) -> None:
    script = textwrap.dedent(COMMAND).replace("{then}", then)
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert f"exit {code}" in done.stdout, done.stdout + done.stderr
    assert "in room 'r' as 'app'; Ctrl-C ends it" in done.stdout
    assert "Traceback" not in done.stderr
    reader = Reader(tmp_path / "call.mcap")
    items = list(reader)
    assert reader.cut == ""
    assert sum(isinstance(item, AudioFrame) for item in items) > 10
    joined = [i for i in items if isinstance(i, Event) and i.kind is EventKind.PARTICIPANT_JOINED]
    assert [event.participant.identity for event in joined if event.participant] == ["ann"]
    assert f"call.mcap: {len(items)} frames and events" in done.stdout


def test_the_command_does_not_write_over_a_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ringroom.cli import main

    path = recorded(tmp_path / "call.mcap", a_call())
    before = path.read_bytes()
    assert main(["record", str(path), "--url", "ws://127.0.0.1:1", "--room", "r"]) == 1
    assert "is there already; --overwrite replaces it" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("where", "why"), [("", "is a folder"), ("no/call.mcap", "no folder"), ("file/x", "no folder")]
)
def test_where_nothing_can_be_recorded_no_room_is_joined(
    where: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ringroom.cli import main

    (tmp_path / "file").touch()
    out = str(tmp_path / where)
    assert main(["record", out, "--overwrite", "--url", "ws://127.0.0.1:1", "--room", "r"]) == 1
    assert f"{Path(out)}" in (told := capsys.readouterr().err)
    assert why in told


def test_a_file_that_is_moved_away_meanwhile_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_recording, "_PLAIN_SECONDS", 0.0)
    file, moved = tmp_path / "call.mcap", tmp_path / "yesterday.mcap"
    with ringroom.Recorder(file) as recorder:
        progress = cli_recording._Progress(recorder, Console())
        file.rename(moved)
        progress.tick()
        recorder.add(ringroom.AudioFrame(bytes(640), 16_000))
    assert "moved away" in capsys.readouterr().out
    assert len([*Reader(moved)]) == 1
