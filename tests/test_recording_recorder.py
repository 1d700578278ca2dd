"""Whoever records is never disturbed: taps hand on what they get, and failures are told."""

from __future__ import annotations

import asyncio
import errno
import gc
import importlib
import io
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import ringroom
import ringroom.lanes.records
from app_kit import PATIENCE, descriptors
from recording_kit import a_call, audio, content, recorded
from ringroom import ConfigurationError, Recorder
from ringroom.errors import StartupError
from ringroom.frames import DataFrame, Item
from ringroom.recording import Reader
from ringroom.recording import recorder as recorder_module
from ringroom.recording.tape import Tape, encoded
from ringroom.rpc import RpcCall
from ringroom.testing import FakeRoom

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
        transport = ringroom.transport("fake", room=room, io="thread", max_age=20.0)
        with transport as t, Recorder(path) as recorder:
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
    with Recorder("/dev/full", overwrite=True) as recorder:
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


def test_what_comes_just_as_the_disk_fails_is_missed_for_the_same_reason() -> None:
    class Overtaken(Tape):
        def miss(self, problem: str, count: int = 1) -> None:
            if count != 1:
                self.put(encoded(audio(1, 100)))  # another thread, before this one comes so far
            super().miss(problem, count)

    tape = Overtaken("call.mcap", 1 << 20)
    tape.broke("No space left on device", 0)
    assert tape.problem == "No space left on device"
    assert tape.missed == 1


class Disk(io.RawIOBase):
    """It takes so many bytes."""

    def __init__(self, room: int) -> None:
        self.room, self.taken = room, 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.taken  # where it stands is all that is asked

    def write(self, data: Any) -> int:
        if self.taken + len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.taken += len(data)
        return len(data)


def test_a_disk_that_is_full_at_the_very_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes the file whole is written as it is closed."""
    importlib.import_module("mcap.writer")  # of Python 3.13 the import opens files in this way, too
    disk = Disk(1 << 20)
    monkeypatch.setattr(Path, "open", lambda *_: io.BufferedWriter(disk))
    for full in (False, True):
        with Recorder("call.mcap") as recorder:
            recorder.add(audio(1))
        assert (recorder.recorded, recorder.missed) == (1, 0)
        assert ("No space left" in recorder.problem) == full
        disk = Disk(disk.taken - 1)


def test_calls_are_left_out(tmp_path: Path) -> None:
    call = RpcCall(b"", "greet", "ann")
    with Recorder(tmp_path / "r.mcap") as recorder:
        assert list(recorder.tap([call, DataFrame(b"x")])) == [call, DataFrame(b"x")]
        recorder.add(call.answer())
    assert (recorder.recorded, recorder.missed) == (1, 0)


def test_what_is_no_frame_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Recorder(tmp_path / "call.mcap") as recorder:
        strange: list[Any] = ["text", None, audio(1)]
        assert list(recorder.tap(strange)) == strange
    assert (recorder.recorded, recorder.missed) == (1, 2)
    assert len(warnings_in(caplog)) == 1
    assert recorder.problem == "a str cannot be recorded: expected a frame or an event"


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


def test_a_recording_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = recorded(tmp_path / "call.mcap", a_call())
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is there already; overwrite=True replaces it"):
        Recorder(path)
    assert path.read_bytes() == before
    with Recorder(path, overwrite=True) as recorder:
        recorder.add(audio(7))
    assert [content(item) for item in Reader(path)] == [content(audio(7))]


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be written \(No such file"):
        Recorder(tmp_path / "no" / "call.mcap")


def test_where_no_thread_is_to_be_had_the_file_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = descriptors()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuses)
        with pytest.raises(StartupError, match="new thread") as refused:
            Recorder(tmp_path / "call.mcap")
    # Its frames keep what they had, so nothing of it is collected.
    assert descriptors() == before
    del refused


def test_a_forgotten_recorder_is_told_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "call.mcap"
    recorder = Recorder(path)
    recorder.add(audio(1))
    with pytest.warns(ResourceWarning, match="Recorder never closed"):
        del recorder
    reader = Reader(path)
    assert len(list(reader)) == 1
    assert reader.cut == ""


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_forgotten_recorder_is_closed_where_warnings_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: told.append(raised.exc_type))
    recorder = Recorder(tmp_path / "call.mcap")
    recorder.add(audio(1))
    del recorder
    assert told == [ResourceWarning]
    assert Reader(tmp_path / "call.mcap").cut == ""


def test_a_forgotten_recorder_that_is_collected_on_its_own_thread_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: told.append(raised.exc_value))
    forgotten, flush = threading.Event(), recorder_module._File.flush

    def collecting(file: Any) -> None:
        flush(file)
        forgotten.wait(PATIENCE)
        gc.collect()

    def collect(thread: threading.Thread) -> None:
        forgotten.set()
        thread.join(PATIENCE)

    monkeypatch.setattr(recorder_module._File, "flush", collecting)
    gc.disable()
    try:
        recorder = Recorder(tmp_path / "call.mcap")
        circle: list[Any] = [recorder]
        circle.append(circle)
        recorder.add(audio(1))
        thread = recorder._thread
        del recorder, circle
        with pytest.warns(ResourceWarning, match="Recorder never closed"):
            collect(thread)
    finally:
        gc.enable()
    assert told == []
    assert not thread.is_alive()
    reader = Reader(tmp_path / "call.mcap")
    assert len(list(reader)) == 1
    assert reader.cut == ""
