"""What the synchronous and the asyncio face share: all that does not wait.

Each call that touches the session is made under the connection's lock, which nobody holds while
waiting. A face for one event loop's thread takes it too: it is closed on another thread, and its
receivers are collected on any.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from typing import ClassVar

from ringroom import messages as m
from ringroom.checks import as_items, shown
from ringroom.errors import BusyError, ClosedError, ConfigurationError
from ringroom.faces.connection import Connection, Statistics
from ringroom.frames import Frame, Kind
from ringroom.options import PublishOptions
from ringroom.sessions.inbox import Arrival, Inbox
from ringroom.sessions.outgoing_lane import OutgoingLane
from ringroom.sessions.sendable import DEFAULT_AUDIO, track_name
from ringroom.sessions.session import Session


class Face:
    """An application's side of a connection."""

    _noun: ClassVar[str] = "transport"
    _entered_by: ClassVar[str] = "with"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pid = os.getpid()
        self._sending: set[str] = set()
        self._opened = False
        self._closed = False

    @property
    def room(self) -> str:
        """The room's name, as the provider reports it."""
        return self._joined.room

    @property
    def identity(self) -> str:
        """Who we are in the room."""
        return self._joined.identity

    @property
    def io_pid(self) -> int | None:
        """The I/O process's number, for monitoring; None when it does not run, or is a thread."""
        return self._connection.host.pid

    @property
    def _joined(self) -> m.Connected:
        joined = self._connection.session.last_joined if self._opened else None
        if joined is None:
            raise ClosedError(f"{self._connection.spec.name}: not connected")
        return joined

    @property
    def ended(self) -> str | None:
        """Why the room ended, in a word or two; None while it goes on."""
        self._check_process()  # it reads from the link, which is the original's
        if not self._opened:
            return None
        with self._connection.lock:
            self._connection.session.pump()
            ending = self._connection.session.end
        return None if ending is None else ending.reason

    def _lane_for(self, frame: Frame, publish: PublishOptions | None) -> OutgoingLane | None:
        """The frame's lane; None once the room has ended and a receiver is still to learn it: a
        loop that answers what it receives ends by its receiver, not by an error."""
        connection = self._connection
        connection.session.pump()
        self._check_free(track_name(frame))
        connection.session.check_unfailed()
        if connection.session.end is not None:
            if connection.session.incoming.inboxes:
                return None
            check_going_on(connection.session)
        return connection.outgoing.lane_for(frame, publish)

    def _check_free(self, name: str) -> None:
        if name in self._sending:
            raise BusyError(f"somebody else sends on track {name!r}; a track has one writer")

    @contextlib.contextmanager
    def _writer(
        self, frame: Frame, publish: PublishOptions | None
    ) -> Iterator[OutgoingLane | None]:
        """The frame's track as `_lane_for` gives it, on which nobody else sends while the frame is
        written; what is not written then is given up."""
        lane = None
        try:
            with self._connection.lock:
                lane = self._lane_for(frame, publish)
                if lane is not None:
                    self._sending.add(lane.name)
                    lane.unsent.put(frame)
            yield lane
        except ClosedError:
            self._check_open()
            if lane is None or not self._connection.session.incoming.inboxes:
                raise
        finally:
            if lane is not None:
                with self._connection.lock:
                    lane.unsent.clear()
                    self._sending.discard(lane.name)

    @contextlib.contextmanager
    def _last_writer(self, track: str | None) -> Iterator[OutgoingLane]:
        """The track, on which nobody else sends; what its resampler still holds is to be sent."""
        connection = self._connection
        outgoing = connection.outgoing
        lane = None
        try:
            with connection.lock:
                connection.session.check_unfailed()
                wanted = DEFAULT_AUDIO if track is None else track
                found = outgoing.find(wanted)
                if found is None:
                    ours = shown(sorted(lane.name for lane in outgoing.lanes if lane.name))
                    raise ConfigurationError(
                        f"we publish no track {shown(wanted)}; our tracks are {ours}"
                    )
                self._check_free(found.name)
                lane = found
                self._sending.add(lane.name)
                lane.unsent.put(*lane.tail())
            yield lane
        finally:
            if lane is not None:
                with connection.lock:
                    self._sending.discard(lane.name)

    def _put_tail(self, lane: OutgoingLane) -> None:
        """What the track's resampler still holds is to be sent, unless somebody is sending more."""
        with self._connection.lock:
            if lane.name not in self._sending:
                lane.unsent.put(*lane.tail())

    def _ask_drain(self, lane: OutgoingLane, requests: list[int]) -> None:
        """Add to what is waited for."""
        with self._connection.lock:
            requests.append(self._connection.outgoing.drain(lane))

    def _end_track(self, lane: OutgoingLane, requests: list[int]) -> None:
        """End the track, all of which is written; add to what is waited for."""
        with self._connection.lock:
            self._connection.session.check_unclosed()
            self._connection.outgoing.refresh(lane)
            requests.append(self._connection.outgoing.end(lane))

    def _check_played(self, lane: OutgoingLane) -> None:
        """Raises what made the track fail, so that nothing of it was played."""
        with self._connection.lock:
            self._connection.outgoing.refresh(lane)

    def _is_ready(self, lane: OutgoingLane) -> bool | None:
        self._connection.outgoing.refresh(lane)
        return lane.ready or None

    def _ask_flush(self, track: str | None, requests: list[int]) -> float:
        """Add to what is waited for; the seconds of sound that nobody has written yet."""
        with self._connection.lock:
            outgoing = self._connection.outgoing
            lanes = outgoing.sounding(track)
            seconds = sum(lane.forget_unsent() for lane in lanes)
            requests += [outgoing.flush(lane) for lane in lanes]
            self._connection.session.notify()
        return seconds

    def _notify(self) -> None:
        with self._connection.lock:
            self._connection.session.notify()

    @contextlib.contextmanager
    def _requests(self) -> Iterator[list[int]]:
        """Those whose answers are waited for. At the end nobody does any more, answered or not."""
        requests: list[int] = []
        try:
            yield requests
        finally:
            with self._connection.lock:
                for request in requests:
                    self._connection.session.requests.forget(request)

    def played(self, track: str | None = None) -> float:
        """Seconds of the track's sound that were really played; 0.0 if we publish none of that
        name. Of a track it never falls; another under its name begins at 0.0. None: the only track
        of ours with sound, or `audio` of several."""
        self._check_open()
        with self._connection.lock:
            self._connection.session.check_unclosed()
            self._connection.session.pump()  # an I/O process that has died plays nothing more
            lane = self._connection.outgoing.find(track)
            return 0.0 if lane is None else lane.played()

    def stats(self) -> Statistics:
        """Counts of every lane so far. Also after close."""
        self._check_process()  # likewise
        if not self._opened:
            return Statistics(lanes=())
        return self._connection.statistics()

    @property
    def _forked(self) -> bool:
        """Whether this is a copy that a fork has made: what it holds belongs to the original."""
        return os.getpid() != self._pid

    def _check_process(self) -> None:
        if self._forked:
            raise ClosedError(
                f"{self._connection.spec.name}: this {type(self).__name__} was made in another "
                "process, and a fork does not take it along; open one here"
            )

    def _check_open(self) -> None:
        self._check_process()
        name = self._connection.spec.name
        if self._closed:
            raise ClosedError(f"{name}: {self._noun} is closed")
        if not self._opened:
            raise ClosedError(f"{name}: not connected; use `{self._entered_by}`")

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if ending():  # what it would use may be gone
            return
        if getattr(self, "_opened", False) and not self._closed and not self._forked:
            self._closed = True
            try:
                self._connection.close()
            finally:
                # Last: where warnings are errors, nothing comes after it.
                warnings.warn(f"{type(self).__name__} never closed", ResourceWarning, 2)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "not connected"
        if self._opened and not self._closed and self._connection.session.joined is not None:
            state = f"in {self.room!r} as {self.identity!r}"
        return f"<{type(self).__name__} {self._connection.spec.name} {state}>"


def wanted_kinds(connection: Connection, kinds: Collection[str] | None) -> frozenset[Kind]:
    """The kinds to receive. Raises `ConfigurationError` for none, and for one that was not asked
    for."""
    asked = connection.options.kinds
    items = as_items(asked if kinds is None else kinds)
    if items == ():
        raise ConfigurationError(
            "recv of no kinds would only wait for the room's end; name some, here and where the "
            f"transport is opened (kinds={tuple(map(str, asked))})"
        )
    if items is None or not all(isinstance(kind, str) and kind in asked for kind in items):
        raise ConfigurationError(
            f"recv of {shown(kinds)}, but the transport was opened with "
            f"kinds={tuple(map(str, asked))}"
        )
    return frozenset(map(Kind, items))


def take_arrival(session: Session, inbox: Inbox) -> Arrival | None:
    """The next arrival, counted as done; closes the inbox when the room has ended by itself."""
    if inbox.closed:
        return None
    if inbox.woken:
        session.pump()  # also where frames never run out: somebody has come, or the room is over
    arrival = inbox.receive_nowait()
    if arrival is None and session.pump():
        arrival = inbox.receive_nowait()
    if arrival is not None:
        arrival.done()
        return arrival
    if session.end is not None:
        inbox.close()
        session.check_unfailed()
    return None


def check_going_on(session: Session) -> None:
    """Raises what a wait must end with when the session is over, however it has ended."""
    session.check_unfailed()
    if session.end is not None:
        raise ClosedError(f"the room has ended: {session.end.reason}")
