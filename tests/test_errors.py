"""The tree of errors is what its docstring draws."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from ringroom import errors
from ringroom.errors import ConfigurationError, FrameError, RingroomError, RoomError


def test_all_errors_are_ours_and_listed() -> None:
    found = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert list(errors.__all__) == sorted(found), "each of them once"
    assert all(issubclass(getattr(errors, name), RingroomError) for name in errors.__all__)


def test_the_drawing_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    parents = {0: ""}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([├└│─ ]*)([A-Z]\w+)", line)
        if match:
            depth = len(match[1])
            drawn[match[2]] = parents[depth]
            parents[depth + 4] = match[2]
    assert set(drawn) == set(errors.__all__)
    for name, parent in drawn.items():
        if parent:
            assert getattr(errors, name).__bases__[0] is getattr(errors, parent)


@pytest.mark.parametrize("error", [ConfigurationError, FrameError])
def test_wrong_values_are_value_errors(error: type[Exception]) -> None:
    assert issubclass(error, ValueError)
    assert "ValueError" in (errors.__doc__ or "")


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_pickle(name: str) -> None:
    """They cross processes."""
    error = getattr(errors, name)("what happened")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == "what happened"


def test_the_reason_of_a_room_error() -> None:
    assert RoomError("x").reason == "failed"
    again = pickle.loads(pickle.dumps(RoomError("x", reason="timeout")))
    assert (str(again), again.reason) == ("x", "timeout")
