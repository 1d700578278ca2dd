"""Recordings that are cut or damaged lose only what lies behind that; and what is no recording."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ringroom
import ringroom.lanes.records
from recording_kit import a_call, content, recorded
from ringroom import AudioFrame, ConfigurationError, DataFrame, Recorder
from ringroom.recording import Reader
from ringroom.recording import recorder as recorder_module

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


@pytest.mark.parametrize(
    ("chunk", "zeros", "told"), [(1 << 20, 200, "cut off"), (300, 5_000, "damaged")]
)
def test_a_tail_of_zeros_is_a_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, zeros: int, told: str
) -> None:
    """As a file system leaves it when the power fails: within a chunk, and beyond it."""
    monkeypatch.setattr(recorder_module, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(recorder_module, "FLUSH_SECONDS", 3600)  # however long it takes here
    items = a_call()
    path = recorded(tmp_path / "call.mcap", items)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2] + bytes(zeros))
    reader = Reader(path)
    got = [content(item) for item in reader]
    assert len(items) // 2 <= len(got) < len(items)
    assert got == [content(item) for item in items[: len(got)]]
    assert told in reader.cut


@pytest.mark.parametrize("rest", [b"", bytes(200)])
def test_a_damaged_chunk_is_left_out_also_where_the_file_ends_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: bytes
) -> None:
    """Its checksum is wrong, and it was written to its end."""
    monkeypatch.setattr(recorder_module, "FLUSH_SECONDS", 3600)
    path = recorded(tmp_path / "call.mcap", [DataFrame(b"damaged"), DataFrame(b"whole")])
    raw = path.read_bytes()
    end = raw.index(b"whole") + len(b"whole")
    path.write_bytes(raw[:end].replace(b"damaged", b"Damaged") + rest)
    reader = Reader(path)
    assert list(reader) == []
    assert f"damaged before byte {end}" in reader.cut


def test_zeros_instead_of_what_was_not_written_are_no_part_of_an_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever they begin, also where they make up what a chunk or a record lacks."""
    monkeypatch.setattr(recorder_module, "FLUSH_SECONDS", 3600)
    expected = [content(item) for item in a_call()]
    path = recorded(tmp_path / "call.mcap", a_call())
    raw, before = path.read_bytes(), 0
    for cut in range(100, len(raw), 7):
        path.write_bytes(raw[:cut] + bytes(200))
        reader = Reader(path)
        got = [content(item) for item in reader]
        assert got == expected[: len(got)], cut
        assert before <= len(got), cut
        assert reader.cut
        before = len(got)
    assert before == len(expected)


KILLED = """
import sys, time
import numpy as np
from ringroom import AudioFrame, Recorder
from ringroom.recording import recorder as recorder_module
recorder_module.FLUSH_SECONDS = 0.02
recorder = Recorder(sys.argv[1])
for number in range(100_000):
    recorder.add(AudioFrame(np.full((320, 1), number % 30_000, np.int16), 16_000))
    print(recorder.recorded, flush=True)
    time.sleep(0.001)
"""


def test_a_killed_writer_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "killed.mcap"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        told = 0
        while told <= 50:
            told = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
    reader = Reader(path)
    numbers = [int(frame.samples[0, 0]) for frame in reader if isinstance(frame, AudioFrame)]
    assert len(numbers) >= told
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
        with pytest.raises(ConfigurationError, match="the extra `recording` of ringroom"):
            use(tmp_path / "call.mcap")
    with pytest.raises(ConfigurationError, match="the extra `recording` of ringroom"):
        ringroom.Replay(path=tmp_path / "call.mcap")


def test_importing_it_loads_no_mcap() -> None:
    code = "import ringroom.recording, sys; print([n for n in sys.modules if n.startswith('mcap')])"
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert got.stdout == "[]\n"
