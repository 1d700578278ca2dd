from __future__ import annotations

from collections.abc import Iterator

import pytest
from outgoing_kit import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()
