"""What Prometheus is told: the laws of the statistics, and no label that a stranger has chosen."""

from __future__ import annotations

import asyncio
import os
import warnings
from typing import Any

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import exposition, parser

import ringroom
from app_kit import microphone, noise, opened, say, until
from metrics_kit import Scrape, Watch, scrape
from reconnect_kit import SOON
from ringroom.errors import ConfigurationError
from ringroom.events import Kind
from ringroom.faces.connection import Statistics, WorkerStatistics
from ringroom.lanes.statistics import LaneCounts
from ringroom.metrics import Collector
from ringroom.sessions import accounts
from ringroom.sessions.accounts import LaneStatistics
from ringroom.testing import FakeRoom, faults

LONG = 30.0
SERIES = 12
"""Of the lanes of one direction, kind and place."""


class Told:
    """Has counted what the test says."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    def stats(self) -> Statistics:
        return self._statistics


few = st.integers(0, 1_000)
counts = st.builds(
    LaneCounts,
    sent=st.integers(5_000, 10_000),
    **dict.fromkeys(("done", "dropped_full", "dropped_stale", "dropped_flushed", "lost"), few),
    **dict.fromkeys(("bytes", "taken", "problems", "waited_ns", "oldest_ns"), few),
)
# Whatever people call themselves.
names = st.text(max_size=5)
lanes = st.builds(
    LaneStatistics,
    direction=st.sampled_from(["in", "out"]),
    kind=st.sampled_from([Kind.AUDIO, Kind.VIDEO, Kind.DATA]),
    track=names,
    participant=names,
    place=st.integers(-1, 2),
    counts=counts,
)


@given(lanes=st.lists(lanes, max_size=20))
def test_the_law_holds_among_the_metrics(lanes: list[LaneStatistics]) -> None:
    statistics = Statistics(lanes=tuple(lanes))
    found = scrape(Collector({"room": Told(statistics)}))
    found.check_law()
    for direction, total in (("in", statistics.received), ("out", statistics.sent)):
        for name, expected in (
            ("frames_sent_total", total.sent),
            ("frames_taken_total", total.taken),
            ("frames_done_total", total.done),
            ("frames_dropped_total", total.dropped),
            ("frames_lost_total", total.lost),
            ("frames_in_flight", total.in_flight),
            ("frame_problems_total", total.problems),
            ("sent_bytes_total", total.bytes),
        ):
            assert found.where(f"ringroom_{name}", direction=direction) == expected
        waited = found.where("ringroom_waited_seconds_total", direction=direction)
        assert waited == pytest.approx(total.waited_ns / 1e9)
    for cause in ("full", "stale", "flushed"):
        expected = sum(getattr(lane.counts, f"dropped_{cause}") for lane in lanes)
        assert found.where("ringroom_frames_dropped_total", cause=cause) == expected
    oldest = max((lane.counts.oldest_ns for lane in lanes), default=0) / 1e9
    values = [v for (name, _), v in found.samples.items() if name == "ringroom_oldest_seconds"]
    assert max(values, default=0.0) == oldest
    kinds = {(lane.direction, lane.kind, lane.place) for lane in lanes}
    assert len(found.samples) == SERIES * len(kinds) + 3
    assert found.labels("place") <= {"app", "0", "1", "2"}


def test_each_figure_of_workers_and_connection_has_its_metric() -> None:
    workers = WorkerStatistics(
        seated=2, vacant=3, spares=4, deaths=5, replaced=6, problems={"process": 7, "reply": 8}
    )
    found = scrape(
        Collector(
            {
                "a": Told(Statistics(lanes=(), in_room=True, connection_losses=1, io_deaths=9)),
                "b": Told(Statistics(lanes=(), workers=workers)),
            }
        )
    )
    shown = {
        (name.removeprefix("ringroom_"), *(value for _, value in labels)): value
        for (name, labels), value in found.samples.items()
    }
    assert shown == {
        ("in_room", "a"): 1,
        ("in_room", "b"): 0,
        ("connection_losses_total", "a"): 1,
        ("connection_losses_total", "b"): 0,
        ("io_process_deaths_total", "a"): 9,
        ("io_process_deaths_total", "b"): 0,
        ("workers", "b"): 2,
        ("places_vacant", "b"): 3,
        ("spares", "b"): 4,
        ("worker_deaths_total", "b"): 5,
        ("worker_replacements_total", "b"): 6,
        ("worker_problems_total", "b", "process"): 7,
        ("worker_problems_total", "b", "reply"): 8,
    }


def test_openmetrics_has_the_same(fake_room: FakeRoom) -> None:
    """Prometheus itself asks for that form."""
    with opened(fake_room) as transport:
        transport.send(ringroom.AudioFrame(noise(0.02), 16_000))
    registry = prometheus_client.CollectorRegistry()
    registry.register(collector := Collector({"calls": transport}))
    text = exposition.generate_latest(registry).decode()
    families = parser.text_string_to_metric_families(text)
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
    assert found == scrape(collector).samples
    assert len(found) == SERIES + 3


def half(frame: Any) -> Any:
    return frame.gain(0.5)


@pytest.mark.once
def test_the_laws_while_processes_die(fake_room: FakeRoom) -> None:
    """Scraped on a thread all the time, and also while the pool is drained and closed."""
    options: dict[str, Any] = {"io": "process", "workers": 2, "spares": 1, "max_age": 2.0}
    pool = ringroom.Pool(half, "fake", room=fake_room, standby=False, **options)
    watch = Watch(Collector({"calls": pool}))

    def shows(**expected: float) -> None:
        until(lambda: watch.shows(**expected), str(expected), LONG)

    def goes_on() -> None:
        shows(workers=2, places_vacant=0, in_room=1)
        before = watch.last["ringroom_frames_done_total"]
        until(lambda: watch.last["ringroom_frames_done_total"] > before + 20, timeout=LONG)

    with watch.looking():
        with pool:
            for identity in ("ann", "bob"):
                fake_room.join(identity).publish_audio("mic").tone(seconds=120)
            goes_on()
            faults.killed(pool.pids[0])
            shows(worker_deaths_total=1, worker_replacements_total=1)
            goes_on()
            faults.killed(pool.io_pid or 0)
            shows(io_process_deaths_total=1, connection_losses_total=1)
            goes_on()
            pool.drain()
        shows(in_room=0, workers=0, spares=0)
    last = watch.look(over=True)
    assert watch.shows(worker_deaths_total=1, io_process_deaths_total=1, connection_losses_total=1)
    assert last["ringroom_sent_bytes_total"] > 60 * 640


def test_who_comes_and_goes_makes_no_series_and_takes_no_count_along(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MAX_REMEMBERED", 3)
    with opened(fake_room) as transport:
        watch = Watch(Collector({"calls": transport}))
        sizes = set()
        receiver = transport.recv(timeout=LONG)
        for number in range(8):
            mic = microphone(fake_room, f'eve"{number}\n', f"track {number}")
            mic.wait_for_subscriber()
            say(mic, 0.02)
            next(receiver)
            mic.unpublish()
            until(lambda: sum(lane.counts.in_flight for lane in transport.stats().lanes) == 0)
            sizes.add(len(watch.look().samples))
        assert watch.last["ringroom_frames_done_total"] == 8
        assert len(sizes) == 1
        assert not any("eve" in label or "track" in label for label in _labels(watch.last))


def _labels(found: Scrape) -> set[str]:
    return {value for _, labels in found.samples for _, value in labels}


def test_a_transport_of_asyncio_is_scraped_on_another_thread(fake_room: FakeRoom) -> None:
    async def main() -> Watch:
        transport = ringroom.aio.transport(
            "fake", room=fake_room, io="thread", max_age=20.0, reconnect=SOON
        )
        watch = Watch(Collector({"calls": transport}))
        assert not watch.last["ringroom_in_room"], "not yet"
        async with transport:
            mic = microphone(fake_room)
            await asyncio.to_thread(mic.wait_for_subscriber)
            say(mic, 0.1)
            receiver = transport.recv()
            for _ in range(2):
                await anext(receiver)
            found = await asyncio.to_thread(watch.look)
            assert found["ringroom_in_room"] == 1
            assert found.where("ringroom_frames_taken_total", direction="in", place="app") == 2
            fake_room.lose_connection()
            await asyncio.to_thread(until, lambda: not watch.look()["ringroom_in_room"])
            fake_room.restore_connection()
            await asyncio.to_thread(until, lambda: watch.look()["ringroom_in_room"])
            assert watch.shows(connection_losses_total=1)
        return watch

    watch = asyncio.run(main())
    assert watch.look(over=True)["ringroom_in_room"] == 0


def test_what_is_put_in_or_taken_out_counts_at_the_next_scrape(fake_room: FakeRoom) -> None:
    sources: dict[str, Any] = {}
    collector = Collector(sources)
    assert not scrape(collector).samples
    with opened(fake_room) as transport:
        sources["first"] = transport
        sources["second"] = transport
        assert scrape(collector).labels("name") == {"first", "second"}
        transport.send(ringroom.AudioFrame(noise(0.02), 16_000))
        del sources["first"]
        assert scrape(collector).labels("name") == {"second"}
    assert scrape(collector)["ringroom_frames_sent_total"] > 0, "closed, it is told to the end"


def test_a_fork_tells_nothing_of_what_is_its_parents(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        collector = Collector({"parents": transport})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads about
            child = os.fork()
        if not child:
            code = 1
            try:
                code = 2 if scrape(collector).samples else 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert scrape(collector).samples


@pytest.mark.parametrize("name", ['with "quotes"', "two\nlines", "back\\slash\\n", "é ☎", ""])
def test_a_name_comes_through_whole(name: str) -> None:
    found = scrape(Collector({name: Told(Statistics(lanes=()))}))
    assert found.labels("name") == {name}


def test_a_name_that_cannot_be_encoded_keeps_no_other_from_being_told() -> None:
    nothing = Told(Statistics(lanes=()))
    found = scrape(Collector({"\ud800": nothing, "other": nothing}))
    assert found.labels("name") == {"?", "other"}


def test_a_registry_knows_its_names_without_a_scrape() -> None:
    class Never:
        def stats(self) -> Statistics:
            raise AssertionError("nobody has scraped yet")

    registry = prometheus_client.CollectorRegistry(auto_describe=True)
    registry.register(Collector({"x": Never()}))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(Collector({"y": Never()}))
    for collector in (Collector({}), Collector({"x": Told(Statistics(lanes=()))})):
        described, collected = list(collector.describe()), list(collector.collect())
        assert [(one.name, one.type) for one in described] == [
            (one.name, one.type) for one in collected
        ]
        assert not any(one.samples for one in described)
        assert all(one.name.startswith("ringroom_") and one.documentation for one in described)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (Told(Statistics(lanes=())), "expected transports and pools by name"),
        ({"x": 5}, "'x': 5, expected a name and a transport or pool"),
        ({7: Told(Statistics(lanes=()))}, "is 7: "),
    ],
)
def test_what_has_no_counts_is_refused(sources: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Collector(sources)


def test_without_the_package_an_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="install the extra `metrics` of ringroom"):
        Collector({})
