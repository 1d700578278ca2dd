"""A worker in this process: the test writes its lanes, reads its replies, and turns its loop."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from io_kit import ANN, RATE

from ringroom import messages as m
from ringroom.errors import ClosedError
from ringroom.events import Kind, TrackInfo
from ringroom.frames import AudioFrame
from ringroom.lanes.lane import LaneDescriptors, ring_for
from ringroom.lanes.live import LiveWriter
from ringroom.lanes.records import participant_to_json, track_to_json
from ringroom.lanes.reliable import ReliableReader
from ringroom.lanes.statistics import RowPool, StatisticsTable
from ringroom.link import open_links
from ringroom.options import SessionOptions
from ringroom.processes.worker.answering import Answering
from ringroom.processes.worker.worker import Worker
from ringroom.processor import Processor

LONG = m.WorkerFailed(error="x" * 1_000_000)
"""More than the socket of a link takes at once."""


def sound(value: int, seconds: float = 0.02, track: str | None = None) -> AudioFrame:
    return AudioFrame(np.full(int(RATE * seconds), value, np.int16), RATE, track=track)


class Scripted(Processor):
    """Does what the test says with each frame, and remembers what was called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.answer: Callable[[AudioFrame], Any] = lambda _: None

    def open(self, track: TrackInfo) -> None:
        self.calls.append(f"open {track.sid}")

    def process(self, frame: Any) -> Any:
        self.calls.append(int(frame.samples[0, 0]))
        return self.answer(frame)

    def close(self, track: TrackInfo) -> None:
        self.calls.append(f"close {track.sid}")

    def stop(self) -> None:
        self.calls.append("stop")


class Bench:
    """The worker, and the far ends of its two links."""

    def __init__(self) -> None:
        self.control, theirs = open_links()
        self.link, session = open_links()
        self.table = StatisticsTable.create()
        self.rows = RowPool(self.table, 0, 50)
        self.processor = Scripted()
        options = SessionOptions(kinds=(Kind.AUDIO,), max_age=60)
        self.answering = Answering(theirs)
        self.worker = Worker(self.answering, self.processor, options)
        self.writers: list[LiveWriter] = []
        self.replies: dict[str, ReliableReader] = {}
        self.heard: list[m.Message] = []
        start = m.Start(place=3, rows_first=100, rows_count=20)
        self.control.send(start, (session.fileno(), self.table.fd))
        session.close()
        self.link.send(m.Attached(rows=[], tracks=[]))
        self.worker._pump()

    def open(self, sid: str, name: str = "", number: int = 0) -> LiveWriter:
        track = TrackInfo(sid=sid, name=name or sid, kind=Kind.AUDIO, participant="ann")
        row = self.rows.acquire()
        writer = LiveWriter(ring_for(2_000, 50), row)
        self.writers.append(writer)
        opened = m.LaneOpened(
            lane=number or len(self.writers),
            row=row.index,
            kind="audio",
            live=True,
            track=track_to_json(track),
            participant=participant_to_json(ANN),
            follows=0,
        )
        self.link.send(opened, writer.descriptors().flat())
        return writer

    def work(self) -> None:
        """Until nothing is to be done."""
        self.worker._pump()
        while self.worker._step():
            self.worker._pump()

    def listen(self) -> list[m.Message]:
        """What the worker has told its session since the last call."""
        new = []
        while (received := self.link.receive_nowait()) is not None:
            message, descriptors = received
            new.append(message)
            if isinstance(message, m.PlayoutOpen) and not message.live:
                handles = LaneDescriptors.from_flat(descriptors)
                row = self.table.row(message.row)
                self.replies[message.name] = ReliableReader(handles, row)
            else:
                for fd in descriptors:
                    os.close(fd)
        self.heard += new
        return new

    def take(self, name: str) -> int:
        """Read all that the reply track holds now; how many samples."""
        self.listen()
        samples = 0
        while (frame := self.replies[name].receive_nowait()) is not None:
            assert isinstance(frame, AudioFrame)
            samples += len(frame.samples)
        return samples

    def told(self) -> list[m.Message]:
        """What the worker has told the application."""
        found = []
        while (received := self.control.receive_nowait()) is not None:
            found.append(received[0])
        return found

    def close(self) -> None:
        self.worker.close()
        self.answering.control.close()
        for end in (*self.writers, *self.replies.values()):
            end.close()
        self.writers.clear()
        self.replies.clear()
        self.listen_to_the_end()
        self.link.close()
        self.control.close()
        self.table.close()

    def listen_to_the_end(self) -> None:
        with contextlib.suppress(ClosedError):
            self.listen()
        for reader in self.replies.values():
            reader.close()
        self.replies.clear()


def send(writer: LiveWriter, *values: int) -> None:
    for value in values:
        assert writer.send(sound(value), time.monotonic_ns())


def frames_of(bench: Bench) -> list[int]:
    return [call for call in bench.processor.calls if isinstance(call, int)]
