"""The places of a pool's workers in its session. There is another generation of them whenever an
I/O process has taken over from one that died.

Owns, for each place, our end of a link between the I/O process and the worker that takes the
place, until it is taken. Not thread-safe: all calls come under the lock of the crew.
"""

from __future__ import annotations

import contextlib

from ringroom import messages as m
from ringroom.errors import StartupError
from ringroom.faces.connection import Connection, rows_for
from ringroom.link import Link, open_links
from ringroom.processes.supervision.crew import Progress

__all__ = ["Places"]


class Places:
    """See the module's docstring."""

    def __init__(self, connection: Connection, count: int) -> None:
        self._connection = connection
        self._count = count
        self._links: dict[int, Link] = {}
        self.generation = -1
        """0 from the first I/O process on."""
        self._unsettled: set[int] = set()

    def renew(self, occupied: set[int]) -> list[Link]:
        """Begin another generation, with a link for each place; returns the far ends. The workers
        of the ``occupied`` places use the lanes of the generation before until they are `settled`.
        """
        with contextlib.ExitStack() as made:
            pairs: list[tuple[Link, Link]] = []
            for _ in range(self._count):
                pairs.append(open_links())
                for link in pairs[-1]:
                    made.callback(link.close)
            made.pop_all()
        self.close()
        self._links.update(enumerate(ours for ours, _ in pairs))
        self.generation += 1
        self._unsettled = occupied
        return [theirs for _, theirs in pairs]

    @property
    def linked(self) -> set[int]:
        """The places that no worker has taken in this generation."""
        return set(self._links)

    def close(self) -> None:
        """Idempotent: closes the links of places that no worker has taken."""
        while self._links:
            self._links.popitem()[1].close()

    def seat(self, place: int) -> tuple[m.Start, tuple[int, ...], Link]:
        """A worker takes a place: the message that tells it so, the descriptors that go with it,
        and the link, which the caller closes when they are sent."""
        link = self._links.pop(place, None) or self._attach(place)
        first, count = rows_for(place, self._count)
        message = m.Start(
            place=place, rows_first=first, rows_count=count, generation=self.generation
        )
        return message, (link.fileno(), self._connection.table.fd), link

    def _attach(self, place: int) -> Link:
        """A link between the I/O process and the worker that takes the place."""
        link, theirs = open_links()
        with theirs:
            try:
                with self._connection.lock:
                    self._connection.session.send(m.Attach(place=place), (theirs.fileno(),))
            except StartupError:
                link.close()
                raise
        return link

    def settled(self, place: int, generation: int | None) -> None:
        """The worker of a place does not use lanes from before that generation any more; None: it
        uses no lanes any more."""
        if generation in (None, self.generation):
            self._unsettled.discard(place)
            # Until the connection is resumed the application counts what it drops there.
            if self.generation > 0 and not self._connection.outgoing.is_away:
                self.settle_past()

    def settle_past(self) -> None:
        """What the lanes of earlier generations have counted is final, once no worker uses one."""
        if not self._unsettled:
            with self._connection.lock:
                self._connection.session.settle_past()

    def progress(self, place: int) -> Progress:
        """What a worker has done so far."""
        with self._connection.lock:
            self._connection.session.pump()
            counts = self._connection.session.counts_at(place)
        # These the reader counts. What a full ring does not take the writer counts.
        return Progress(
            count=counts.taken + counts.done + counts.dropped_stale + counts.dropped_flushed,
            within=counts.taken > counts.done + counts.lost,
            waiting=counts.in_flight > 0,
        )
