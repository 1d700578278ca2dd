"""What is to change of our profile: what is taken for one, and two changes as one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroom.errors import ConfigurationError
from ringroom.profile import MAX_ATTRIBUTES_BYTES, MAX_METADATA_BYTES, Profile, change_of

KEYS = st.sampled_from("abc")
CHANGES = st.builds(
    Profile,
    name=st.none() | st.sampled_from(["Ann", "Ben"]),
    metadata=st.none() | st.sampled_from(["m", "n"]),
    attributes=st.dictionaries(KEYS, st.sampled_from(["", "1", "2"])),
)


def applied(change: Profile, known: tuple[str, str, dict[str, str]]) -> Any:
    """What a room makes of it."""
    name, metadata, attributes = known
    merged = {**attributes, **change.attributes}
    kept = {key: text for key, text in merged.items() if text}
    return (change.name or name, change.metadata or metadata, kept)


@given(CHANGES, CHANGES, st.dictionaries(KEYS, st.just("0")))
def test_two_changes_as_one_do_the_same(
    first: Profile, second: Profile, known: dict[str, str]
) -> None:
    start = ("", "", known)
    assert applied(first.followed_by(second), start) == applied(second, applied(first, start))


@given(CHANGES)
def test_a_change_travels(change: Profile) -> None:
    assert Profile.from_json(change.to_json()) == change


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": ""}, "the name is empty, expected text, or None to leave it"),
        ({"name": 5}, "the name is of type int, expected text"),
        ({"name": "é" * 129}, "the name has 258 bytes, at most 256"),
        ({"name": "\udcff"}, "the name is not valid Unicode"),
        ({"metadata": ""}, "the metadata is empty, expected text, or None to leave it"),
        ({"metadata": b"{}"}, "the metadata is of type bytes, expected text"),
        ({"metadata": "x" * (MAX_METADATA_BYTES + 1)}, "the metadata has 524289 bytes"),
        ({"attributes": ["a"]}, "the attributes are of type list, expected a mapping"),
        ({"attributes": {1: "a"}}, "the name of an attribute is of type int"),
        ({"attributes": {"a": None}}, "the attribute 'a' is of type NoneType, expected text"),
        ({"attributes": {"a": True}}, "the attribute 'a' is of type bool, expected text"),
        ({"attributes": {"a": "x" * 40_000, "b": "x" * 30_000}}, "attributes have 70002 bytes"),
        ({}, "nothing to set, expected a name=, metadata= or attributes="),
        ({"attributes": {}}, "nothing to set"),
    ],
    ids=str,
)
def test_what_is_no_change(wrong: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"name": None, "metadata": None, "attributes": None, **wrong}
    with pytest.raises(ConfigurationError, match=says):
        change_of(**given)


def test_the_largest_that_a_server_takes() -> None:
    change_of("n" * 256, "m" * MAX_METADATA_BYTES, {"key": "v" * (MAX_ATTRIBUTES_BYTES - 3)})


def test_what_is_handed_in_may_change_afterwards() -> None:
    attributes = {"a": "1"}
    change = change_of(None, None, attributes)
    attributes["a"] = "2"
    assert change.attributes == {"a": "1"}


def test_all_that_is_set_has_room_in_one_change() -> None:
    """So that it can be told again. What was taken away the earliest is forgotten before that."""
    half_bytes = MAX_ATTRIBUTES_BYTES // 2
    half = "x" * half_bytes
    full = Profile(attributes={"a": half[1:]}).followed_by(Profile(attributes={"b": half[1:]}))
    with pytest.raises(ConfigurationError, match="65539 bytes, at most 65536"):
        full.followed_by(Profile(attributes={"cc": "1"}))
    gone = Profile(attributes={"a": half[1:]})
    for start in (0, 5_000):
        more = {f"{number:05}": "" for number in range(start, start + 5_000)}
        gone = gone.followed_by(Profile(attributes=more))
    kept = [*gone.attributes]
    assert (kept[0], kept[-1]) == ("a", "09999")
    assert "00000" not in kept
    assert len(kept) == 1 + half_bytes // 5


def test_what_is_no_profile_on_the_wire() -> None:
    for fields in ({"nonsense": 1}, {"name": 5}, {"attributes": None}):
        with pytest.raises(ConfigurationError):
            Profile.from_json(fields)
