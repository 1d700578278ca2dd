"""The worker of a test (`worker_kit.Bench`), closed at the test's end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from worker_kit import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()
