"""A room of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ringroom.testing import FakeRoom


@pytest.fixture
def room() -> Iterator[FakeRoom]:
    with FakeRoom() as room:
        yield room
