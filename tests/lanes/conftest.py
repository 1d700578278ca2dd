"""Both forms of the memory, a clock that the test sets, and what is closed at a test's end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from lane_kit import Clock


@pytest.fixture(params=[False, True], ids=["memfd", "portable"])
def portable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack
