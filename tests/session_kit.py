"""What the tests of a session share: its far side, played by hand."""

from __future__ import annotations

import contextlib
import gc
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType, FunctionType
from typing import Any

import pytest

from app_kit import sound
from ringroom import messages as m
from ringroom.events import Event, Kind, Participant, TrackInfo
from ringroom.frames import AudioFrame
from ringroom.lanes.lane import ring_for
from ringroom.lanes.live import LiveWriter
from ringroom.lanes.records import participant_to_json, track_to_json
from ringroom.lanes.reliable import ReliableWriter
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import RowPool, StatisticsTable
from ringroom.link import Link, open_links
from ringroom.options import SessionOptions
from ringroom.sessions.inbox import Inbox
from ringroom.sessions.session import Session

ALL = (Kind.AUDIO, Kind.VIDEO, Kind.DATA, Kind.EVENT)


@dataclass
class Far:
    """The other side: it writes lanes and messages."""

    link: Link
    table: StatisticsTable
    session: Session
    rows: RowPool
    writers: list[Any]

    def open(
        self,
        who: str,
        number: int,
        follows: int = 0,
        row: Any = None,
        *,
        sid: str = "",
        heard: bool = True,
    ) -> LiveWriter:
        track = TrackInfo(sid=sid or f"T{number}", name="mic", kind=Kind.AUDIO, participant=who)
        row = row or self.rows.acquire()
        writer = LiveWriter(ring_for(2_000, 50), row)
        self.writers.append(writer)
        self.link.send(
            m.LaneListed(
                row=row.index,
                direction="in",
                track="mic",
                kind="audio",
                participant=who,
                place=m.APPLICATION,
            )
        )
        self.link.send(
            m.LaneOpened(
                lane=number,
                row=row.index,
                kind="audio",
                live=True,
                track=track_to_json(track),
                participant=participant_to_json(Participant(identity=who)),
                follows=follows,
            ),
            writer.descriptors().flat(),
        )
        if heard:
            self.session.pump()
        return writer

    def open_mailbox(self, kind: Kind, number: int) -> ReliableWriter:
        row = self.rows.acquire()
        writer = ReliableWriter(Geometry(1 << 16), row)
        self.writers.append(writer)
        self.link.send(
            m.LaneOpened(
                lane=number,
                row=row.index,
                kind=kind.value,
                live=False,
                track={},
                participant={},
                follows=0,
            ),
            writer.descriptors().flat(),
        )
        self.session.pump()
        return writer

    def tell(self, message: m.Message) -> None:
        self.link.send(message)
        self.session.pump()

    def heard(self) -> list[m.Message]:
        found = []
        while (received := self.link.receive_nowait()) is not None:
            found.append(received[0])
        return found


# A test module takes it by assignment: ruff takes a fixture that is imported for unused.
@pytest.fixture
def far() -> Iterator[Far]:
    ours, theirs = open_links()
    table = StatisticsTable.create()
    options = SessionOptions(kinds=ALL, max_age=60)
    session = Session(ours, table, options, time.monotonic_ns)
    far = Far(theirs, table, session, RowPool(table, 0, 100), [])
    yield far
    session.close()
    for writer in far.writers:
        writer.close()
    far.writers.clear()  # pytest keeps the fixture's value a little longer
    theirs.close()
    table.close()


def send(writer: LiveWriter, seed: int = 0) -> AudioFrame:
    frame = sound(0.02, seed)
    assert writer.send(frame, time.monotonic_ns())
    return frame


def everything(inbox: Inbox) -> list[Any]:
    found = []
    while (arrival := inbox.receive_nowait()) is not None:
        arrival.done()
        item = arrival.item
        found.append(item.kind if isinstance(item, Event) else item)
    return found


def readable(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


def forget(inbox: Inbox) -> None:
    """Its receiver is garbage from here on, which only the collector finds."""
    Receiver(inbox)


class Receiver:
    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.cycle = self

    def __del__(self) -> None:
        self.inbox.close()


@contextlib.contextmanager
def collected_in(method: FunctionType) -> Iterator[None]:
    """The collector runs as the method begins, and at no other time."""

    def look(frame: FrameType, what: str, _: object) -> None:
        if what == "call" and frame.f_code is method.__code__:
            gc.collect()

    before = sys.getprofile()
    gc.disable()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
        gc.enable()
