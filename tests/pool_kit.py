"""What the tests of the pool share: a pool of one worker, and what the room hears of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ringroom.pool import Pool
from ringroom.testing import FakeRoom


@contextlib.contextmanager
def running(room: FakeRoom, processor: Any, **options: Any) -> Iterator[Pool]:
    options = {
        "io": "thread",
        "max_age": 20.0,
        "workers": 1,
        "spares": 0,
        "standby": False,
        **options,
    }
    with Pool(processor, "fake", room=room, **options) as pool:
        yield pool


def told(room: FakeRoom, topic: str, count: int = 1) -> list[str]:
    return [message.payload.decode() for message in room.wait_for_data(topic, count, timeout=10)]


def heard(room: FakeRoom, track: str, seconds: float) -> Any:
    return room.wait_for_audio(track, seconds, timeout=10).samples
