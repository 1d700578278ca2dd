"""A session in the I/O role: the test is its provider, its application and its workers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, ClassVar

import dill
import numpy as np
from io_kit import RATE, Outside, until

from ringroom import messages as m
from ringroom.errors import ClosedError
from ringroom.events import Event, Kind, Participant, TrackInfo
from ringroom.lanes.lane import LaneDescriptors
from ringroom.lanes.live import LiveReader
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import StatisticsTable
from ringroom.link import Link, open_links
from ringroom.options import SessionOptions
from ringroom.processes.io.rooms import RoomSession
from ringroom.providers.provider import Provider, ProviderSpec

ALL = (Kind.AUDIO, Kind.VIDEO, Kind.DATA, Kind.EVENT)
BOB = Participant(identity="bob")
ROWS = 100


@dataclass(frozen=True, kw_only=True)
class Played(ProviderSpec):
    """The provider that the test has laid ready."""

    name: ClassVar[str] = "played"
    ready: ClassVar[list[Any]] = []

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        made = self.ready[-1]
        if isinstance(made, Exception):
            raise made
        provider: Provider = made
        return provider


class End:
    """The far end of a link to the session: the application's, or a worker's."""

    def __init__(self, link: Link, table: StatisticsTable) -> None:
        self.link = link
        self.table = table
        self.messages: list[m.Message] = []
        self.readers: dict[int, Any] = {}
        self.writers: dict[int, ReliableWriter] = {}

    def listen(self) -> None:
        with contextlib.suppress(ClosedError):
            while (received := self.link.receive_nowait()) is not None:
                message, descriptors = received
                self.messages.append(message)
                if isinstance(message, m.LaneOpened):
                    self.readers[message.lane] = self._reader(message, descriptors)

    def _reader(self, message: m.LaneOpened, descriptors: tuple[int, ...]) -> Any:
        handles, row = LaneDescriptors.from_flat(descriptors), self.table.row(message.row)
        if not message.live:
            return ReliableReader(handles, row)
        return LiveReader(handles, row, None, max_age_ns=10**12, clock=lambda: 0)

    def of(self, *kinds: type[m.Message]) -> list[Any]:
        self.listen()
        return [message for message in self.messages if isinstance(message, kinds)]

    def items(self) -> list[Any]:
        """All that lies in its lanes."""
        self.listen()
        found = []
        for reader in self.readers.values():
            while (item := reader.receive_nowait()) is not None:
                found.append(item)
        return found

    def open(
        self,
        lane: int,
        name: str = "voice",
        row: int | None = None,
        descriptors: tuple[int, ...] | None = None,
        **fields: Any,
    ) -> ReliableWriter:
        """``fields`` of the message that differ: of what is wrong, say."""
        index = ROWS + lane if row is None else row
        writer = self.writers[lane] = ReliableWriter(Geometry(1 << 16), self.table.row(index))
        opened = m.PlayoutOpen(
            lane=lane,
            row=index,
            name=name,
            kind="audio",
            live=False,
            publish={},
            sample_rate=RATE,
            channels=1,
        )
        self.link.send(opened.replace(**fields), descriptors or writer.descriptors().flat())
        return writer

    def close(self) -> None:
        for end in (*self.readers.values(), *self.writers.values()):
            end.close()
        self.readers.clear()
        self.writers.clear()
        self.link.close()


class There(End):
    """The application's end, and the session itself."""

    def __init__(self, outside: Any, options: SessionOptions) -> None:
        ours, theirs = open_links()
        super().__init__(ours, StatisticsTable.create())
        self.outside = outside
        self.options = options
        self.ends: list[End] = []
        self.session = RoomSession(theirs, lambda: 5)

    def connect(self, readers: int = 0, route: str = "participant", *fds: int) -> None:
        Played.ready.append(self.outside)
        message = m.Connect(
            blob=dill.dumps((Played(), self.options)),
            rows_first=0,
            rows_count=ROWS,
            readers=readers,
            route=route,
            places={},
        )
        self.link.send(message, (self.table.fd, *fds))

    async def joined(self) -> None:
        await until(lambda: self.of(m.Connected))

    def attach(self, place: int) -> End:
        ours, theirs = open_links()
        self.link.send(m.Attach(place=place), (theirs.fileno(),))
        theirs.close()
        self.ends.append(End(ours, self.table))
        return self.ends[-1]

    @property
    def sink(self) -> RoomSession:
        return self.session


@contextlib.asynccontextmanager
async def there(outside: Any = None, **options: Any) -> AsyncIterator[Any]:
    made = There(outside or Outside(), SessionOptions(**({"kinds": ALL} | options)))
    try:
        yield made
    finally:
        made.session.leave()
        async with asyncio.timeout(20):
            await made.session.done.wait()
        for end in (*made.ends, made):
            end.close()
        made.ends.clear()
        made.table.close()
        Played.ready.clear()


def track(sid: str, who: str = "ann") -> TrackInfo:
    return TrackInfo(sid=sid, name="mic", kind=Kind.AUDIO, participant=who)


def hear(sink: Any, value: int) -> None:
    sink.audio(memoryview(np.full(320, value, np.int16)), RATE, 1)


def texts(items: list[Any]) -> list[Any]:
    return [i.kind if isinstance(i, Event) else getattr(i, "payload", None) for i in items]
