"""A pool's workers, their places in the session, and what is told of them, under one lock.

The crew takes one caller at a time: the supervision thread, or the thread that starts, drains or
closes the pool; and `close` may overtake `drain` from another thread. News for the application
waits for `turn`, which calls the application back once the lock is free.
"""

from __future__ import annotations

from ringroom.errors import ClosedError
from ringroom.events import Event, EventKind
from ringroom.faces.connection import Connection, WorkerStatistics
from ringroom.link import Link
from ringroom.pool.options import PoolOptions
from ringroom.pool.places import Places
from ringroom.pool.telling import Telling
from ringroom.processes.supervision.crew import Crew, CrewCalls, Progress
from ringroom.processes.waiting import shortest
from ringroom.system import interrupts_at_the_end

__all__ = ["Staff"]


class Staff:
    """See the module's docstring. Any thread may call it."""

    def __init__(self, connection: Connection, options: PoolOptions, blob: bytes) -> None:
        """``blob`` is the pickled processor, with the options of its session."""
        self._name = connection.spec.name
        self._machine = connection.machine
        self._lock = self._machine.lock()
        self._telling = Telling(options, self._machine.now_ns)
        self._places = Places(connection, options.workers)
        calls = CrewCalls(
            seat=self._places.seat,
            settled=self._places.settled,
            progress=self._places.progress,
            problem=self._telling.problem,
            lost=self._telling.lost,
            replaced=self._telling.replaced,
        )
        self._crew = Crew(connection.host, blob, options.care, calls)
        self._closed = False

    @property
    def failure(self) -> Exception | None:
        """Why the pool cannot go on."""
        return self._crew.failure

    @property
    def ready(self) -> bool:
        """Whether there is a worker for each place."""
        return self._crew.ready

    @property
    def over(self) -> bool:
        """Whether no worker is left."""
        return self._crew.over

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers' process numbers by place; of a place that waits for another, the last
        one's."""
        return tuple(self._crew.pids)

    @property
    def spares(self) -> int:
        """How many workers have started and wait for a place."""
        return self._crew.spares

    @property
    def generation(self) -> int:
        """How many I/O processes have taken over so far."""
        return self._places.generation

    def progress(self, place: int) -> Progress:
        """What the worker of a place has done so far."""
        with self._lock:
            return self._places.progress(place)

    def statistics(self) -> WorkerStatistics:
        """What became of the workers so far."""
        told, crew = self._telling, self._crew
        return WorkerStatistics(
            seated=0 if self._closed else crew.filled,
            vacant=0 if self._closed else crew.vacant,
            spares=0 if self._closed else crew.spares,
            deaths=told.deaths,
            replaced=told.replacements,
            problems=told.problems.copy(),
        )

    def start(self) -> None:
        """Start a worker for each place; `ready` tells when they have started."""
        with self._lock:
            self._crew.start()

    def renew_places(self) -> list[Link]:
        """Begin a session's places: the far ends of their links, which the caller closes. Raises
        `ClosedError` once it is closed, for nobody would close the near ends."""
        with self._lock:
            if self._closed:
                raise ClosedError(f"{self._name}: the pool is closed")
            return self._places.renew(self._crew.occupied)

    def seat(self) -> None:
        """Give the workers their places, and keep spares from here on."""
        with self._lock:
            try:
                self._crew.seat()
            finally:
                self._places.close()

    def rejoin(self) -> None:
        """The room is joined again, in another I/O process: the workers go on there."""
        with self._lock:
            self._crew.rejoin(self._places.linked)
            self._places.settle_past()

    def watched(self) -> tuple[list[int], float | None]:
        """The descriptors that are readable when `turn` has something to do, and the seconds until
        it has in any case; None: not before."""
        with self._lock:
            return self._crew.fds, self._crew.patience()

    def turn(self, seconds: float | None) -> None:
        """Hear what the workers say within that time, and do what follows; then call back."""
        fds, patience = self.watched()
        ready = self._machine.wait(fds, shortest(seconds, patience))
        with self._lock:
            self._crew.turn(ready)
        self._telling.tell_all()

    def stop(self, drain: float) -> None:
        """All are to end, after what waits, within that many seconds. May be said again."""
        with self._lock:
            self._crew.stop(drain)

    def close(self) -> None:
        """Idempotent: the workers that are left are killed."""
        # The lock is held for moments only: what interrupts us (Ctrl-C) is raised at the end.
        with interrupts_at_the_end(), self._lock:
            self._closed = True
            try:
                self._crew.close()
            finally:
                self._places.close()

    def note(self, kind: EventKind, text: str) -> None:
        """Something has happened to the pool itself: the next `turn` tells it."""
        self._telling.event(kind, text)

    def tell(self, event: Event) -> None:
        """Tell what has happened in the room, at once."""
        self._telling.tell_event(event)
