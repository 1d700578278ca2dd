"""An opened session with all that belongs to it: what the application's faces share.

A `Connection` waits for two things alone: the provider's hand-over (a token minter), and the end of
the I/O host. Several threads may use a face, so each call here that touches the session is made
under `lock`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from ringroom import messages as m
from ringroom.errors import ConfigurationError
from ringroom.faces.features import check_options
from ringroom.faces.handover import Handed, Renewals, hand_over, pickled_spec
from ringroom.lanes.statistics import SLOTS, LaneCounts, RowPool, StatisticsTable
from ringroom.link import Link, close_descriptors
from ringroom.options import TransportConfig
from ringroom.processes.hosts import Where, choose_host
from ringroom.processes.spawning import pickle_by_value
from ringroom.processes.waiting import Wait, Waiter, always_waiting
from ringroom.providers.provider import ProviderSpec
from ringroom.providers.registry import build
from ringroom.sessions.accounts import LaneStatistics
from ringroom.sessions.outgoing import Outgoing
from ringroom.sessions.session import Session, Side

IO_ROWS = SLOTS // 2
# The I/O role keeps the application's time limits itself. If it says nothing for so many seconds
# more, it is given up.
CONNECT_GRACE = 10.0
CLOSE_GRACE = 1.0
# Of a message, what may tell which worker had whom: remotes choose how long their names are.
MAX_PLACES_BYTES = m.MAX_MESSAGE_BYTES // 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatistics:
    """What became of a pool's workers so far."""

    seated: int = 0
    """Workers that have a place, now."""
    vacant: int = 0
    """Places whose worker has died, and that wait for the next, now."""
    spares: int = 0
    """Workers that have started and wait for a place, now."""
    deaths: int = 0
    """How often a worker that had a place has died."""
    replaced: int = 0
    """How often another has taken its place."""
    problems: Mapping[str, int] = field(default_factory=dict)
    """How often ``on_error`` was called, or would have been, by `Problem.where`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What happened so far; for each lane sent = done + dropped + lost + in flight."""

    lanes: tuple[LaneStatistics, ...]
    in_room: bool = False
    """Whether we are in the room, now."""
    connection_losses: int = 0
    """How often the connection to the room was lost, also by the death of the I/O process. The end
    of the room itself, or our removal from it, is no such loss."""
    io_deaths: int = 0
    """How often the I/O process has died."""
    workers: WorkerStatistics | None = None
    """Of a pool; None of a transport."""

    @property
    def received(self) -> LaneCounts:
        """The counts of all lanes from the room."""
        return _total(lane.counts for lane in self.lanes if lane.direction == "in")

    @property
    def sent(self) -> LaneCounts:
        """The counts of all lanes to the room."""
        return _total(lane.counts for lane in self.lanes if lane.direction == "out")


def _total(counts: Iterable[LaneCounts]) -> LaneCounts:
    return sum(counts, start=LaneCounts())


def rows_for(place: int, readers: int) -> tuple[int, int]:
    """The statistics rows (first, count) that one writer may hand out, by its place."""
    share = (SLOTS - IO_ROWS) // (readers + 1)
    return IO_ROWS + (place - m.APPLICATION) * share, share


def configured(
    provider: str | ProviderSpec, config: TransportConfig | None, options: dict[str, Any]
) -> dict[str, Any]:
    """The options as keywords, from those that were given and a neutral `TransportConfig`. Raises
    `ConfigurationError`."""
    if config is None:
        return options
    if not isinstance(config, TransportConfig):
        raise ConfigurationError(
            f"the second argument is a {type(config).__name__}, expected a TransportConfig; "
            "other options are keywords"
        )
    if not isinstance(provider, str):
        raise ConfigurationError("a TransportConfig goes with a provider's name, not with a spec")
    merged = {"sample_rate": config.sample_rate, "channels": config.channels, **config.extra}
    access = {"url": config.url, "token": config.token}
    merged.update({name: value for name, value in access.items() if value})
    return merged | options


@dataclass(frozen=True, slots=True)
class Prepared:
    """A link to a new session, and what is to be said there."""

    link: Link
    blob: bytes
    descriptors: tuple[int, ...]
    """They are duplicated when they are sent."""

    def discard(self) -> None:
        """Nothing will be said there."""
        self.link.close()
        close_descriptors(self.descriptors)


class Connection:
    """See the module's docstring."""

    def __init__(
        self,
        provider: str | ProviderSpec,
        options: dict[str, Any],
        io: Where = "process",
        *,
        readers: int = 0,
        route: str = "participant",
        beside: Collection[str] = (),
    ) -> None:
        self.spec, self.options = build(provider, options, beside)
        check_options(self.spec, self.options)
        self.host, self._own_host = choose_host(io)
        self.machine = self.host.machine
        self.lock = self.machine.lock()
        self.opened = False
        """Whether an application may use the connection. The face that opens it sets this, for all
        faces."""
        self.closed = False
        self.readers = readers
        self._route = route
        # Before anything is started: a predicate may refer to what cannot travel.
        for name, plain in (("participants", "identities"), ("tracks", "sources")):
            chosen = getattr(self.options, name)
            pickle_by_value(f"{name}=", chosen, f"give {plain}, or a function without them")
        self._renewals: Renewals | None = None
        self.table: StatisticsTable
        self.session: Session
        self.outgoing: Outgoing

    def open(self, readers: Sequence[Link] = ()) -> None:
        """Start the host and ask the session to connect; `session.joined` tells when it did.
        ``readers`` are the far ends of the workers' links, by place."""
        handed = hand_over(self.machine, self.spec, self.options.connect_timeout)
        try:
            self._open(readers, handed)
        except BaseException:
            try:
                if hasattr(self, "session"):
                    self.session.close()
                if hasattr(self, "table"):
                    self.table.close()
            finally:
                self._close_helpers()
            raise
        finally:
            close_descriptors(handed[1])

    def _open(self, readers: Sequence[Link], handed: Handed) -> None:
        spec, descriptors = handed
        if self.options.reconnect.retries and (spec is not self.spec or descriptors):
            # A spec that travels as it is can be opened there again.
            self._renewals = Renewals(self.machine, self.spec, self.options)
        blob = pickled_spec(handed, self.options)
        self.table = StatisticsTable.create()
        link = self.host.open_session()
        side = Side(self.spec.name, keeps_accounts=True, how_it_died=self.host.how_it_died)
        self.session = Session(link, self.table, self.options, self.host.clock, side)
        self.outgoing = Outgoing(
            self.session, RowPool(self.table, *rows_for(m.APPLICATION, self.readers))
        )
        self._ask(blob, readers, descriptors)

    def _ask(self, blob: bytes, readers: Sequence[Link], descriptors: tuple[int, ...]) -> None:
        for place, reader in enumerate(readers):
            self.session.send(m.Attach(place=place), (reader.fileno(),))
        if self._renewals is not None:
            with self._renewals.open() as far:
                self.session.send(m.Renewals(), (far.fileno(),))
        message = m.Connect(
            blob=blob,
            rows_first=0,
            rows_count=IO_ROWS,
            readers=self.readers,
            route=self._route,
            places=self._places(),
        )
        self.session.send(message, (self.table.fd, *descriptors))

    def _places(self) -> dict[str, int]:
        """Whose tracks which worker has had: another I/O process leaves them there, where the
        tracks that answer them are. Of too many the latest."""
        lanes = [
            lane
            for lane in self.session.statistics()
            if lane.participant and lane.place != m.APPLICATION
        ]
        by_track = self._route == "track"
        latest: dict[str, int] = {}
        room = MAX_PLACES_BYTES
        for lane in reversed(lanes[-m.MAX_PLACES :]):
            key = f"{lane.participant}/{lane.track}" if by_track else lane.participant
            if key in latest:
                continue
            room -= len(json.dumps(key))
            if room < 0:
                break
            latest[key] = lane.place
        return dict(reversed(latest.items()))

    def prepare(self) -> Prepared:
        """What `reopen` needs: a running I/O process, and a fresh hand-over. It may take a while,
        and holds no lock."""
        self.host.start()
        handed = hand_over(self.machine, self.spec, self.options.connect_timeout)
        try:
            blob = pickled_spec(handed, self.options)
            return Prepared(self.host.open_session(), blob, handed[1])
        except BaseException:
            close_descriptors(handed[1])
            raise

    def reopen(self, prepared: Prepared, readers: Sequence[Link]) -> None:
        """Join again, after the I/O process has died: `session.joined` tells when it did, and then
        comes `resume`. Counts go on, for those from before are kept."""
        with self.lock, contextlib.ExitStack() as made:
            made.callback(prepared.discard)
            self.session.check_unfailed()  # another thread may have closed it
            table = StatisticsTable.create()
            before, self.table = self.table, table
            before.close()
            self.session.restart(prepared.link, table)
            made.pop_all()
            try:
                self._ask(prepared.blob, readers, prepared.descriptors)
            finally:
                close_descriptors(prepared.descriptors)

    def resume(self) -> None:
        """The room is joined again: our tracks go on there, under their names."""
        with self.lock:
            self.outgoing.restart(RowPool(self.table, *rows_for(m.APPLICATION, self.readers)))
            self.session.notify()

    def statistics(self) -> Statistics:
        """The counts so far; the caller holds the lock."""
        session = self.session
        return Statistics(
            lanes=tuple(session.statistics()),
            in_room=session.in_room,
            connection_losses=session.connection_losses,
            io_deaths=session.io_deaths,
        )

    @property
    def can_be_mended(self) -> bool:
        """Whether a transport goes on with another I/O process, by `SessionOptions.reconnect`."""
        wanted = self.options.reconnect.retries > 0
        return wanted and self.spec.joins_anew and self.host.replaces_dead

    @property
    def joining_seconds(self) -> float:
        """How long a face waits for the room to be joined, or to be told why it is not."""
        return self.options.connect_timeout + CONNECT_GRACE

    @property
    def leaving_seconds(self) -> float:
        """How long a face waits for the room to be left."""
        return self.options.close_timeout + CLOSE_GRACE

    def waiter(self) -> Waiter:
        """A waiter for the calling thread, to be entered. Raises `StartupError`."""
        return Waiter(self.machine, self.lock, self.session)

    def always_waiting(self) -> AbstractContextManager[Wait]:
        """The same, also where no descriptor is left for it."""
        return always_waiting(self.machine, self.lock, self.session)

    def leave(self) -> None:
        """Ask the session to close; the link's end tells that it did."""
        with self.lock:
            self.session.pump()
            self.session.leave()

    def left(self) -> bool:
        """Whether the session has closed."""
        with self.lock:
            self.session.pump()
            return self.session.link.closed

    def close(self) -> None:
        """Idempotent: free all that is ours on this side."""
        try:
            with self.lock:
                self.session.close()
                self.outgoing.close()
                self.table.close()
        finally:
            self._close_helpers()

    def _close_helpers(self) -> None:
        try:
            if self._renewals is not None:
                self._renewals.close()
        finally:  # also where a caller does not want to wait for a token function (Ctrl-C)
            self.close_host()

    def keep_standby(self) -> bool:
        """Have another I/O process ready, if the one that is there is ours alone; whether there is
        one. Raises `StartupError`."""
        return self._own_host and self.host.keep_standby(self.spec.preload)

    def close_host(self) -> None:
        if self._own_host:
            self.host.close()


__all__ = ["Connection", "Statistics", "WorkerStatistics", "configured", "rows_for"]
