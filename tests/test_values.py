"""Fields by keyword, equal when these are, never changed."""

from __future__ import annotations

import pytest

from ringroom.values import Value


class Point(Value):
    x: int
    y: int = 0


class Other(Value):
    x: int
    y: int = 0


def test_it_is_its_fields() -> None:
    assert Point.fields == {"x": "int", "y": "int"}
    assert Point(x=1) == Point(x=1, y=0)
    assert Point(x=1) != Point(x=1, y=1)
    assert Point(x=1) != Other(x=1)
    assert repr(Point(y=2, x=1)) == "Point(y=2, x=1)"
    assert Point(x=1).replace(y=4) == Point(x=1, y=4)


def test_it_is_not_changed() -> None:
    one = Point(x=1)
    with pytest.raises(AttributeError, match="a Point is not changed"):
        one.x = 2  # type: ignore[misc]
    assert one == Point(x=1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@pytest.mark.parametrize("values", [{}, {"y": 1}, {"x": 1, "z": 2}, {"z": 2}])
def test_all_its_fields_and_no_others(values: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"Point of .*, expected \['x', 'y'\]"):
        Point(**values)


def test_bytes_are_not_shown() -> None:
    class Secret(Value):
        blob: bytes

    assert repr(Secret(blob=b"token")) == "Secret(blob=<5 bytes>)"
