"""Every public name is there, is listed, and says what it promises."""

from __future__ import annotations

import importlib.metadata
import inspect
from typing import Any

import pytest

import ringroom
import ringroom.testing


def test_all_is_sorted_and_whole() -> None:
    assert sorted(ringroom.__all__) == dir(ringroom)
    assert len(set(ringroom.__all__)) == len(ringroom.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ringroom.nonsense  # type: ignore[attr-defined]


def test_the_version_is_that_of_the_distribution() -> None:
    assert ringroom.__version__ == importlib.metadata.version("ringroom")


@pytest.mark.parametrize(
    ("module", "name"),
    [(ringroom, name) for name in ringroom.__all__]
    + [(ringroom.testing, name) for name in ringroom.testing.__all__],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_it_is_documented(module: Any, name: str) -> None:
    value = getattr(module, name)
    assert inspect.getdoc(value), f"{name} has no docstring"
    if inspect.isclass(value):
        for member, attribute in _methods(value):
            assert inspect.getdoc(attribute), f"{name}.{member} has no docstring"


def _methods(owner: type) -> list[tuple[str, Any]]:
    """What the package itself defines on the class, with what it inherits within the package."""
    return [
        (name, attribute)
        for name, attribute in inspect.getmembers(owner)
        if not name.startswith("_")
        and (inspect.isfunction(attribute) or isinstance(attribute, property))
        and getattr(getattr(attribute, "fget", attribute), "__module__", "").startswith("ringroom")
    ]
