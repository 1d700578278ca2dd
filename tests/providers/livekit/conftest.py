from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def nothing_stays() -> Iterator[None]:
    """Of native events' exchanges and their subscriptions."""
    from native_kit import NATIVE, forget_ended_loops
    from ringroom.providers.livekit import native

    forget_ended_loops()
    before = len(NATIVE.queue._subscribers)
    yield
    assert not native._exchanges
    assert len(NATIVE.queue._subscribers) == before
