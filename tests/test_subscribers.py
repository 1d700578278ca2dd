"""Who may subscribe to our tracks: what changes make of it, and how it travels."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroom.errors import ConfigurationError
from ringroom.subscribers import MAX_TRACKS, Allowance, Subscribers

IDENTITIES = st.none() | st.frozensets(st.sampled_from(["ann", "bob", "zoë"]))
ALLOWANCES = st.builds(Allowance, IDENTITIES, st.sampled_from(["", "a", "b"]))


@given(changes=st.lists(ALLOWANCES, max_size=6))
def test_the_last_word_counts(changes: list[Allowance]) -> None:
    allowed = Subscribers()
    for change in changes:
        allowed = allowed.after(change)
    for track in ("a", "b", "c"):
        said = [one.who for one in changes if one.track in ("", track)]
        for who in ("ann", "bob", "cid"):
            expected = not said or said[-1] is None or who in said[-1]
            assert allowed.allows(who, track) is expected


@given(changes=st.lists(ALLOWANCES, max_size=6))
def test_they_come_back(changes: list[Allowance]) -> None:
    allowed = again = Subscribers()
    for change in changes:
        allowed = allowed.after(change)
    assert Subscribers.from_json(json.loads(json.dumps(allowed.to_json()))) == allowed
    for change in allowed.changes():
        again = again.after(change)
    assert again == allowed


def test_who_is_named() -> None:
    allowed = Subscribers(frozenset({"ann"}), {"a": None, "b": frozenset({"bob"})})
    assert allowed.named == {"ann", "bob"}
    assert Subscribers().named == frozenset()


def test_there_are_only_so_many_tracks() -> None:
    allowed = Subscribers()
    for number in range(MAX_TRACKS):
        allowed = allowed.after(Allowance(None, f"t{number}"))
    assert allowed.after(Allowance(frozenset(), "t0")).tracks["t0"] == frozenset()
    with pytest.raises(ConfigurationError, match="257 tracks would have subscribers of their own"):
        allowed.after(Allowance(None, "another"))
    assert allowed.after(Allowance(None)) == Subscribers()


def test_only_so_many_can_be_named_altogether() -> None:
    allowed, many = Subscribers(), [f"{number}" for number in range(1_000)]
    for track in "abcd":
        allowed = allowed.after(Allowance(frozenset(many), track))
    with pytest.raises(ConfigurationError, match="would be 4001 identities, at most 4000 can be"):
        allowed.after(Allowance(frozenset({"one more"}), "e"))
    assert len(allowed.after(Allowance(frozenset(many), "d")).named) == 1_000


@pytest.mark.parametrize(
    "fields",
    [{}, {"everywhere": 5, "tracks": {}}, {"everywhere": None, "tracks": 5}, {"everywhere": [""]}],
)
def test_what_are_no_subscribers(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Subscribers.from_json(fields)
