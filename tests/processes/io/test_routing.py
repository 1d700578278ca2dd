"""Which worker a track belongs to: sticky and even."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ringroom.messages import APPLICATION
from ringroom.processes.io import routing
from ringroom.processes.io.routing import Routing

KEYS = st.sampled_from(["", *(f"p{number}" for number in range(11))])


@given(places=st.integers(1, 5), keys=st.lists(KEYS, unique=True))
def test_new_keys_are_spread_evenly(places: int, keys: list[str]) -> None:
    table = Routing(places)
    at = Counter(table.opened(key) for key in keys)
    counts = [at[place] for place in range(places)]
    assert max(counts) - min(counts) <= 1


class Machine(RuleBasedStateMachine):
    """A key keeps its place; a new one goes to one of the least busy."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Routing(3)
        self.places: dict[str, int] = {}
        self.open: Counter[str] = Counter()

    def _check(self, key: str, place: int) -> None:
        assert 0 <= place < 3
        assert self.places.setdefault(key, place) == place

    def _busy(self) -> Counter[int]:
        busy: Counter[int] = Counter(dict.fromkeys(range(3), 0))
        for key, count in self.open.items():
            busy[self.places[key]] += count
        return busy

    @rule(key=KEYS)
    def opened(self, key: str) -> None:
        least = min(self._busy().values())
        new = key not in self.places
        place = self.table.opened(key)
        self._check(key, place)
        if new:
            assert self._busy()[place] == least
        self.open[key] += 1

    @rule(key=KEYS)
    def asked(self, key: str) -> None:
        self._check(key, self.table.place(key))

    @rule(key=KEYS)
    def closed(self, key: str) -> None:
        if self.open[key]:
            self.open[key] -= 1
            self.table.closed(key)

    @invariant()
    def counts_what_is_open(self) -> None:
        assert +self.table._open_at == +self._busy()


TestRouting = Machine.TestCase
TestRouting.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_keys_without_a_track_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MAX_PLACES", 4)
    table = Routing(2)
    table.opened("kept")
    for number in range(100):
        table.place(f"p{number}")
        table.place("kept")
    assert len(table._place_of) <= 4
    assert "kept" in table._place_of
    assert sum(table._keys_at.values()) == len(table._place_of)


def test_more_open_tracks_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MAX_PLACES", 4)
    table = Routing(2)
    for number in range(10):
        table.opened(f"p{number}")
    for number in range(10):
        table.closed(f"p{number}")
    assert not +table._open_at
    assert not table._open, "what has ended takes no memory"


def test_who_was_asked_for_lately_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MAX_PLACES", 4)
    table = Routing(2)
    for number in range(10):
        table.place("talks")
        table.place(f"p{number}")
        assert "talks" in table._place_of


def test_who_was_there_before_finds_the_same_place() -> None:
    routing = Routing(3, {"ann": 2, "bob": 2, "gone": 7})
    assert [routing.opened(who) for who in ("bob", "ann", "gone", "new")] == [2, 2, 0, 1]
    assert routing.opened("TR_9", "ann") == routing.place("TR_9") == 2


def test_without_workers_all_is_for_the_application() -> None:
    table = Routing()
    assert [table.opened("ann"), table.opened("ann"), table.place("bob")] == [APPLICATION] * 3
    table.closed("ann")
    assert +table._open_at == Counter({APPLICATION: 1})
    table.closed("ann")
    assert not +table._open_at
    assert not table._open
    assert not table._place_of, "there is nothing to remember"


def test_what_names_no_sender_goes_to_the_first() -> None:
    assert (Routing(3).of_sender(""), Routing().of_sender("")) == (0, APPLICATION)


def test_who_has_a_track_left_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MAX_PLACES", 2)
    table = Routing(2)
    place = table.opened("ann")
    assert table.opened("ann") == place
    table.closed("ann")
    for other in ("bob", "eve", "joe"):
        table.place(other)
    assert table.place("ann") == place
    table.closed("ann")
    for other in ("bob", "eve", "joe"):
        table.place(other)
    assert "ann" not in table._place_of
