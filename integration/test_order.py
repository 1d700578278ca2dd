"""`integration/order.py`: no worker ends with a long test, and who is alone disturbs nobody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from integration.order import SHORT, ordered


@dataclass(frozen=True)
class Case:
    name: str
    path: Path = SHORT
    alone: bool = False

    def get_closest_marker(self, name: str) -> bool | None:
        return True if self.alone and name == "alone" else None


def test_the_short_ones_are_last_and_who_is_alone_comes_in_their_midst() -> None:
    other = SHORT.with_name("test_calls.py")
    items = [
        Case("1"),
        Case("2", other, alone=True),
        Case("3", other),
        Case("4"),
        Case("5", alone=True),
        Case("6"),
        Case("7"),
        Case("8", other),
    ]
    order = "".join(item.name for item in ordered(items))  # type: ignore[arg-type]
    assert order == "38" + "14" + "25" + "67"


def test_the_short_ones_are_there() -> None:
    assert SHORT.is_file()
