"""An `Outgoing` against a link and lanes that the test reads."""

from __future__ import annotations

import os

import numpy as np

from ringroom import messages as m
from ringroom.frames import AudioFrame, DataFrame, Samples
from ringroom.lanes.lane import LaneDescriptors
from ringroom.lanes.reliable import ReliableReader
from ringroom.lanes.statistics import RowPool, StatisticsTable
from ringroom.link import open_links
from ringroom.options import PublishOptions, SessionOptions
from ringroom.sessions.outgoing import Outgoing
from ringroom.sessions.session import Session

LIVE = PublishOptions(mode="live")


class Bench:
    """An `Outgoing`, and the far end of its link."""

    def __init__(self, rows: int = 8) -> None:
        ours, self.link = open_links()
        self.table = StatisticsTable.create()
        self.now = 10**9
        self.session = Session(ours, self.table, SessionOptions(), lambda: self.now)
        self.outgoing = Outgoing(self.session, RowPool(self.table, 0, rows))
        self.readers: list[ReliableReader] = []

    def received(self) -> list[m.Message]:
        found = []
        while (received := self.link.receive_nowait()) is not None:
            message, descriptors = received
            found.append(message)
            if isinstance(message, m.PlayoutOpen) and not message.live:
                row = self.table.row(message.row)
                self.readers.append(ReliableReader(LaneDescriptors.from_flat(descriptors), row))
            else:
                for fd in descriptors:
                    os.close(fd)
        return found

    def tell(self, message: m.Message) -> None:
        self.link.send(message)
        self.session.pump()

    def close(self) -> None:
        self.outgoing.close()
        self.outgoing.close()
        self.session.close()
        for reader in self.readers:
            reader.close()
        self.readers.clear()  # pytest keeps the fixture's value a little longer
        self.link.close()
        self.table.close()


def push(bench: Bench, frame: AudioFrame | DataFrame) -> None:
    lane = bench.outgoing.lane_for(frame)
    lane.unsent.put(frame)
    bench.outgoing.write_unsent(lane)


def heard(bench: Bench) -> Samples:
    """All that the first track has taken since the last look, read."""
    bench.received()
    taken = iter(bench.readers[0].receive_nowait, None)
    parts = [frame.samples for frame in taken if isinstance(frame, AudioFrame)]
    return np.concatenate(parts or [np.empty((0, 1), np.int16)])[:, 0]
