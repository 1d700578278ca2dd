"""What the tests of metrics share: scrapes, read by Prometheus's parser, and the laws they keep."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app_kit import Call

Labels: TypeAlias = tuple[tuple[str, str], ...]


class Scrape:
    """The samples of one scrape, by name and labels."""

    def __init__(self, text: str) -> None:
        self.samples: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                assert key not in self.samples, f"twice: {key}"
                self.samples[key] = sample.value

    def __getitem__(self, name: str) -> float:
        """The sum of all samples of that name."""
        return sum(value for (found, _), value in self.samples.items() if found == name)

    def where(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that have these labels."""
        wanted = labels.items()
        return sum(
            value
            for (found, has), value in self.samples.items()
            if found == name and wanted <= dict(has).items()
        )

    def labels(self, name: str) -> set[str]:
        """All values of the label of that name."""
        return {value for _, has in self.samples for label, value in has if label == name}

    def check_law(self, *, over: bool = False) -> None:
        """sent = done + dropped + lost + in flight, for each set of labels."""
        rest: Counter[Labels] = Counter()
        for (name, labels), value in self.samples.items():
            if name == "ringroom_frames_sent_total":
                rest[labels] += int(value)
            elif name in (
                "ringroom_frames_done_total",
                "ringroom_frames_dropped_total",
                "ringroom_frames_lost_total",
                "ringroom_frames_in_flight",
            ):
                assert value >= 0
                rest[tuple(one for one in labels if one[0] != "cause")] -= int(value)
        assert not any(rest.values()), rest
        assert not over or not self["ringroom_frames_in_flight"]

    def check_after(self, before: Scrape) -> None:
        """No counter falls, and none that was there is missing."""
        for key, value in before.samples.items():
            if key[0].endswith("_total"):
                assert self.samples[key] >= value, key


def scrape(collector: Any) -> Scrape:
    registry = CollectorRegistry()
    registry.register(collector)
    return Scrape(generate_latest(registry).decode())


class Watch:
    """Scrapes one after the other, of which each keeps the laws."""

    def __init__(self, collector: Any) -> None:
        self._collector = collector
        self.last = scrape(collector)

    def look(self, *, over: bool = False) -> Scrape:
        now = scrape(self._collector)
        now.check_law(over=over)
        now.check_after(self.last)
        self.last = now
        return now

    def shows(self, **expected: float) -> bool:
        """Whether the last scrape has these sums."""
        return all(self.last[f"ringroom_{name}"] == value for name, value in expected.items())

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """On a thread, one look after the other."""
        enough = threading.Event()

        def look() -> None:
            while not enough.wait(0.01):  # whoever never stops holds up those that it looks at
                self.look()

        looking = Call(look)
        try:
            yield
        finally:
            enough.set()
            looking.result()
