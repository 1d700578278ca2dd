"""Metrics for Prometheus: what `stats()` of transports and pools tells, read when it is scraped.

    prometheus_client.REGISTRY.register(ringroom.metrics.Collector({"support": pool}))

No thread runs for it and nothing is counted twice. What remote participants choose is in no label,
so there are as many series as directions, kinds of frames, workers and causes make, whoever comes
and goes. Needs the package prometheus-client, which the extra ``metrics`` brings.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from ringroom.checks import shown
from ringroom.errors import ConfigurationError, RingroomError
from ringroom.faces.connection import Statistics, WorkerStatistics
from ringroom.lanes.statistics import LaneCounts
from ringroom.messages import APPLICATION

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.registry import Collector as _Base
else:  # a registry asks for no more, and the module is imported without the package too
    _Base = object

__all__ = ["Collector", "Counted"]

T = TypeVar("T")
_Labels: TypeAlias = tuple[str, ...]


class Counted(Protocol):
    """What is scraped: a transport, of `ringroom.aio` too, or a pool."""

    def stats(self) -> Statistics:
        """Its counts. Any thread may ask."""


@dataclass(frozen=True, slots=True)
class _Figure(Generic[T]):
    """A metric, and how it is read. One whose name ends with ``_total`` only grows."""

    name: str
    text: str
    read: Callable[[T], float]


_LANES: tuple[_Figure[LaneCounts], ...] = (
    _Figure(
        "ringroom_frames_sent_total",
        "Frames (of sound, pictures, messages) offered to a lane: sent = done + dropped + lost + "
        "in flight",
        lambda counts: counts.sent,
    ),
    _Figure(
        "ringroom_frames_taken_total",
        "Frames handed on to their reader",
        lambda counts: counts.taken,
    ),
    _Figure(
        "ringroom_frames_done_total",
        "Frames processed, or played; those that raised too",
        lambda counts: counts.done,
    ),
    _Figure(
        "ringroom_frames_lost_total",
        "Frames under way as a process died or their track ended",
        lambda counts: counts.lost,
    ),
    _Figure(
        "ringroom_frames_in_flight",
        "Frames that are neither done nor dropped nor lost yet",
        lambda counts: counts.in_flight,
    ),
    _Figure(
        "ringroom_frame_problems_total",
        "Frames among the done whose processing or playing raised",
        lambda counts: counts.problems,
    ),
    _Figure(
        "ringroom_sent_bytes_total",
        "Payloads, with the headers of their records",
        lambda counts: counts.bytes,
    ),
    _Figure(
        "ringroom_waited_seconds_total",
        "Ages of the taken frames of live lanes, added up",
        lambda counts: counts.waited_ns / 1e9,
    ),
    _Figure(
        "ringroom_oldest_seconds",
        "Age of the oldest frame that was ever taken from a live lane",
        lambda counts: counts.oldest_ns / 1e9,
    ),
)
_DROPPED: _Figure[int] = _Figure(
    "ringroom_frames_dropped_total",
    "Frames dropped: their ring was full, they were stale, or they were flushed",
    float,
)
_CAUSES: dict[str, Callable[[LaneCounts], int]] = {
    "full": lambda counts: counts.dropped_full,
    "stale": lambda counts: counts.dropped_stale,
    "flushed": lambda counts: counts.dropped_flushed,
}
_CONNECTION: tuple[_Figure[Statistics], ...] = (
    _Figure(
        "ringroom_in_room",
        "1 while we are in the room, else 0",
        lambda statistics: statistics.in_room,
    ),
    _Figure(
        "ringroom_connection_losses_total",
        "Losses of the connection to the room, also by the death of the I/O process",
        lambda statistics: statistics.connection_losses,
    ),
    _Figure(
        "ringroom_io_process_deaths_total",
        "Deaths of the I/O process",
        lambda statistics: statistics.io_deaths,
    ),
)
_WORKERS: tuple[_Figure[WorkerStatistics], ...] = (
    _Figure("ringroom_workers", "Workers that have a place", lambda workers: workers.seated),
    _Figure(
        "ringroom_places_vacant",
        "Places whose worker has died, and that wait for the next",
        lambda workers: workers.vacant,
    ),
    _Figure(
        "ringroom_spares",
        "Workers that have started and wait for a place",
        lambda workers: workers.spares,
    ),
    _Figure(
        "ringroom_worker_deaths_total",
        "Deaths of workers that had a place",
        lambda workers: workers.deaths,
    ),
    _Figure(
        "ringroom_worker_replacements_total",
        "Places taken by another worker after a death",
        lambda workers: workers.replaced,
    ),
)
_PROBLEMS: _Figure[int] = _Figure(
    "ringroom_worker_problems_total",
    "What user code raised in workers, by the call; workers that were stuck",
    float,
)


class Collector(_Base):
    """A collector for a registry of prometheus_client.

    ``sources`` are transports and pools by the names that tell them apart in the label ``name``.
    The mapping is read at each scrape, so what is put in or taken out later counts too. Of one that
    is closed the final counts are told; one that belongs to another process (a fork's parent) is
    left out.

    Raises `ConfigurationError`, also where prometheus-client is not installed.
    """

    def __init__(self, sources: Mapping[str, Counted]) -> None:
        _require_package()
        self._sources = _checked(sources)

    def describe(self) -> Iterable[Metric]:
        """All metrics without values: a registry asks for their names."""
        return _families({})

    def collect(self) -> Iterable[Metric]:
        """All metrics as they are now. Any thread may ask."""
        read = {}
        for name, source in tuple(self._sources.items()):
            with contextlib.suppress(RingroomError):  # the others are told all the same
                read[_label(name)] = source.stats()
        return _families(read)


def _require_package() -> None:
    """Raises `ConfigurationError` when the package is missing."""
    if importlib.util.find_spec("prometheus_client") is None:
        raise ConfigurationError(
            "metrics need the package prometheus-client: install the extra `metrics` of ringroom"
        )


def _checked(sources: Mapping[str, Counted]) -> Mapping[str, Counted]:
    if not isinstance(sources, Mapping):
        raise ConfigurationError(
            f"the sources of metrics are {shown(sources)}, expected transports and pools by name: "
            "{'calls': pool}"
        )
    for name, source in sources.items():
        if not isinstance(name, str) or not callable(getattr(source, "stats", None)):
            raise ConfigurationError(
                f"a source of metrics is {shown(name)}: {shown(source)}, expected a name and a "
                "transport or pool"
            )
    return sources


def _label(name: str) -> str:
    """What can be encoded: one bad name must not keep the others from being scraped."""
    return name.encode(errors="replace").decode()


def _families(read: Mapping[str, Statistics]) -> Iterator[Metric]:
    """All metrics, of the statistics by name."""
    connections: dict[_Labels, Statistics] = {(name,): one for name, one in read.items()}
    lanes: dict[_Labels, LaneCounts] = {}
    workers: dict[_Labels, WorkerStatistics] = {}
    for labels, statistics in connections.items():
        lanes |= {(*labels, *more): counts for more, counts in _sums(statistics).items()}
        if statistics.workers is not None:
            workers[labels] = statistics.workers
    dropped: dict[_Labels, int] = {
        (*labels, cause): count(counts)
        for labels, counts in lanes.items()
        for cause, count in _CAUSES.items()
    }
    problems: dict[_Labels, int] = {
        (*labels, where): count
        for labels, one in workers.items()
        for where, count in one.problems.items()
    }
    of_lanes = ("name", "direction", "kind", "place")
    yield from (_family(figure, of_lanes, lanes) for figure in _LANES)
    yield _family(_DROPPED, (*of_lanes, "cause"), dropped)
    yield from (_family(figure, ("name",), connections) for figure in _CONNECTION)
    yield from (_family(figure, ("name",), workers) for figure in _WORKERS)
    yield _family(_PROBLEMS, ("name", "where"), problems)


def _family(figure: _Figure[T], names: _Labels, values: Mapping[_Labels, T]) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    made = CounterMetricFamily if figure.name.endswith("_total") else GaugeMetricFamily
    family = made(figure.name, figure.text, labels=names)
    for labels, value in values.items():
        family.add_metric(labels, float(figure.read(value)))
    return family


def _sums(statistics: Statistics) -> dict[_Labels, LaneCounts]:
    """The counts by direction, kind and place, which are few."""
    sums: dict[_Labels, LaneCounts] = {}
    for lane in statistics.lanes:
        place = "app" if lane.place == APPLICATION else str(lane.place)
        labels = (lane.direction, lane.kind.value, place)
        sums[labels] = sums.get(labels, LaneCounts()) + lane.counts
    return sums
