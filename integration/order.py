"""The order of a run: each of pytest's workers takes the next test of one list when it is free.

The contract's tests are many and short, so they come last: no worker is left with a long one while
the others have nothing to do. Those that want to be alone come in the midst of them, where nobody
waits long for what still runs, and servers and clients are neither built nor taken down meanwhile.
"""

from __future__ import annotations

from pathlib import Path

import pytest

__all__ = ["ordered"]

SHORT = Path(__file__).with_name("test_contract.py")


def ordered(items: list[pytest.Item]) -> list[pytest.Item]:
    """The same tests; within each group they stay in the order in which they come."""
    alone = [item for item in items if item.get_closest_marker("alone")]
    rest = [item for item in items if not item.get_closest_marker("alone")]
    long = [item for item in rest if item.path != SHORT]
    short = [item for item in rest if item.path == SHORT]
    middle = len(short) // 2
    return [*long, *short[:middle], *alone, *short[middle:]]
