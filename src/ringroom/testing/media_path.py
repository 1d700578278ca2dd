"""The way of media from a source to the applications, and what goes wrong on it.

Without faults a piece goes straight through. Free of sockets and threads; all of it runs under
`Wire.changed`. What a stage still holds when it ends goes on at once, in order, so that nothing
overtakes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from ringroom.providers.fake import messages

if TYPE_CHECKING:
    from ringroom.testing.state import Publication

__all__ = ["Bursts", "Late", "Layers", "MediaPath", "OutOfOrder", "SourceClock", "Stage", "Timers"]

T = TypeVar("T")
Media: TypeAlias = messages.Audio | messages.AudioPause | messages.Video | messages.Reading
Onward: TypeAlias = "Callable[[Publication, Media], None]"
# Times are sums of floating-point durations.
_SAME = 1e-9


class Timers(Protocol):
    """Where stages get their time from: `Wire`."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None]) -> None: ...


class Layers(Generic[T]):
    """A value, and those that faults lay over it: the newest that has not ended counts."""

    def __init__(self, base: T) -> None:
        self.base = base
        self._over: list[tuple[object, T]] = []

    @property
    def value(self) -> T:
        return self._over[-1][1] if self._over else self.base

    def lay(self, value: T) -> Callable[[], None]:
        """Lays the value over the others. Returns what takes it away again."""
        entry = (object(), value)
        self._over.append(entry)
        return lambda: self._over.remove(entry)


class SourceClock:
    """The clock of microphones and cameras, which may run faster or slower than the room's.

    Its reading never jumps when its rate changes.
    """

    def __init__(self) -> None:
        self.rate = 1.0
        self._ahead = 0.0
        self._since = 0.0

    def read(self, now: float) -> float:
        """Its time when the room's is ``now``."""
        return now + self._ahead + (now - self._since) * (self.rate - 1.0)

    def set_rate(self, rate: float, now: float) -> None:
        self._ahead, self._since = self.read(now) - now, now
        self.rate = rate


class Stage(ABC):
    """One fault on the way. ``identity`` None: the media of everybody."""

    def __init__(self, identity: str | None) -> None:
        self._identity = identity
        self.onward: Onward

    def concerns(self, publication: Publication) -> bool:
        return self._identity in (None, publication.info.participant)

    @abstractmethod
    def take(self, publication: Publication, message: Media) -> None:
        """Takes the next piece, and gives it to `onward` now or later."""

    @abstractmethod
    def release(self) -> None:
        """Gives on everything that is still held."""


class _Queue(Stage):
    """Pieces that wait for their time, in order."""

    def __init__(self, identity: str | None, timers: Timers, seconds: float) -> None:
        super().__init__(identity)
        self._timers = timers
        self._seconds = seconds
        self._held: deque[tuple[float, Publication, Media]] = deque()

    def _hold(self, due: float, publication: Publication, message: Media) -> None:
        self._held.append((due, publication, message))

    def _give_due(self) -> None:
        now = self._timers.time() + _SAME
        while self._held and self._held[0][0] <= now:
            self.onward(*self._held.popleft()[1:])

    def release(self) -> None:
        while self._held:
            self.onward(*self._held.popleft()[1:])


class Late(_Queue):
    """Every piece arrives that many seconds later."""

    def take(self, publication: Publication, message: Media) -> None:
        due = self._timers.time() + self._seconds
        self._hold(due, publication, message)
        self._timers.call_at(due, self._give_due)


class Bursts(_Queue):
    """Nothing arrives for that many seconds, then all of it at once, and so on."""

    def take(self, publication: Publication, message: Media) -> None:
        if self._held:
            self._hold(self._held[0][0], publication, message)
            return
        due = self._timers.time() + self._seconds
        self._hold(due, publication, message)
        self._timers.call_at(due, self._give_due)


class OutOfOrder(Stage):
    """Of each ``every`` pieces of a track the last two change places. Nothing is lost."""

    def __init__(self, identity: str | None, every: int) -> None:
        super().__init__(identity)
        self._every = every
        self._counts: dict[Publication, int] = {}
        self._held: dict[Publication, Media] = {}

    def take(self, publication: Publication, message: Media) -> None:
        if isinstance(message, messages.AudioPause):
            self._give(publication)
            self.onward(publication, message)
            return
        place = self._counts.get(publication, 0)
        self._counts[publication] = (place + 1) % self._every
        if place == self._every - 2:
            self._held[publication] = message
            return
        self.onward(publication, message)
        self._give(publication)

    def _give(self, publication: Publication) -> None:
        held = self._held.pop(publication, None)
        if held is not None:
            self.onward(publication, held)

    def release(self) -> None:
        for publication in list(self._held):
            self._give(publication)


class MediaPath:
    """The stages in the order in which they began; behind them the applications."""

    def __init__(self, deliver: Onward) -> None:
        self._deliver = deliver
        self._stages: list[Stage] = []

    def carry(self, publication: Publication, message: Media) -> None:
        """A piece from its source."""
        self._from(0, publication, message)

    def add(self, stage: Stage) -> Callable[[], None]:
        """Puts a stage at the end of the way. Returns what takes it away again."""

        def onward(publication: Publication, message: Media) -> None:
            self._from(self._stages.index(stage) + 1, publication, message)

        stage.onward = onward
        self._stages.append(stage)

        def remove() -> None:
            stage.release()
            self._stages.remove(stage)

        return remove

    def _from(self, first: int, publication: Publication, message: Media) -> None:
        for stage in self._stages[first:]:
            if stage.concerns(publication):
                stage.take(publication, message)
                return
        self._deliver(publication, message)
