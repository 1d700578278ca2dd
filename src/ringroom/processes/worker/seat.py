"""What a worker has in its place: its session, what comes in, and the tracks that it answers on.

It outlives an I/O process: the next one gives the place anew, over another link and with another
table. Nothing here waits or locks: all of it runs under the worker's lock.

Ownership: the session, its inbox, the table of statistics, and the reply tracks, which are there
once the I/O role has told what a dead worker has left.
"""

from __future__ import annotations

import contextlib

from ringroom import messages as m
from ringroom.events import Kind
from ringroom.lanes.statistics import RowPool, StatisticsTable
from ringroom.link import Link
from ringroom.options import SessionOptions
from ringroom.processes.machine import Machine
from ringroom.processes.worker.problems import Problems
from ringroom.processes.worker.replies import ReplyTracks
from ringroom.sessions.session import Session


class Seat:
    """See the module's docstring."""

    def __init__(
        self,
        start: m.Start,
        descriptors: tuple[int, ...],
        options: SessionOptions,
        machine: Machine,
        problems: Problems,
    ) -> None:
        self.start = start
        """The place, and the rows of statistics that go with it."""
        self.replies: ReplyTracks | None = None
        self._problems = problems
        self._attaching = True
        with contextlib.ExitStack() as made:
            link = made.enter_context(Link.attach(descriptors[0]))
            self._table = StatisticsTable.attach(descriptors[1])
            made.callback(self._table.close)
            self.session = Session(link, self._table, options, machine.now_ns)
            made.callback(self.session.close)
            self.session.outlive_links()
            self.inbox = self.session.incoming.open_inbox({*options.kinds, Kind.EVENT}, None)
            made.pop_all()

    @property
    def over(self) -> bool:
        """Whether the room is over."""
        return self.session.end is not None

    @property
    def holds(self) -> bool:
        """Whether more comes in than can be read now: a full track holds lanes up, or what a dead
        worker has left is not known yet."""
        return self._attaching or (self.replies is not None and self.replies.holds)

    def restart(self, start: m.Start, descriptors: tuple[int, ...]) -> None:
        """Go on with another I/O process."""
        with contextlib.ExitStack() as made:
            link = made.enter_context(Link.attach(descriptors[0]))
            before, self._table = self._table, StatisticsTable.attach(descriptors[1])
            made.pop_all()
        self.start, self._attaching = start, True
        self.session.restart(link, self._table)
        before.close()

    def pump(self) -> m.Rejoined | None:
        """Handle what the I/O role says. What is returned, the application is to be told."""
        self.session.pump()
        told = None
        if self._attaching and self.session.attached is not None:
            told = self._attach(self.session.attached)
        if self.replies is not None:
            self.replies.take_answers()
            self.replies.tell_busy()
        return told

    def _attach(self, attached: m.Attached) -> m.Rejoined | None:
        """Go on for the worker that was in this place before; with another I/O process, with our
        own tracks."""
        start, self._attaching = self.start, False
        taken = frozenset(attached.rows)
        rows = RowPool(self._table, start.rows_first, start.rows_count, taken=taken)
        if self.replies is None:
            self.replies = ReplyTracks(self.session, rows, self.inbox, self._problems)
        else:
            self.replies.outgoing.restart(rows)
        self.replies.inherited = set(attached.tracks)
        if not self.session.restarts:
            return None
        # Also when the I/O process before had died without a word to us.
        return m.Rejoined(place=start.place, generation=start.generation)

    def send_waiting(self) -> None:
        """Send what waits in the reply tracks, as far as there is room; drop it once the room is
        over."""
        replies = self.replies
        if replies is None or not replies.waits:
            return
        if self.over:
            replies.forget_all()
        replies.send_waiting()

    def close(self) -> None:
        """Idempotent."""
        if self.replies is not None:
            self.replies.close()
        self.session.close()
        self._table.close()
