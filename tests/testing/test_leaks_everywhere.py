"""The leak check looks at all that a process holds, however old."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

import ringroom
from app_kit import opened
from ringroom.testing import FakeRoom, leaks
from ringroom.testing.census import Census


@pytest.fixture(autouse=True)
def frozen_again() -> Iterator[None]:
    """Each count thaws what is frozen when all tests are collected."""
    yield
    gc.collect()
    gc.freeze()


def test_a_room_and_a_transport_leave_nothing_of_a_guest(fake_room: FakeRoom) -> None:
    """What the room remembers for the test, and a transport's statistics, are nobody's leak."""
    with opened(fake_room, kinds=("audio", "data", "event")) as transport:

        def visit(number: int) -> None:
            guest = fake_room.join(f"guest-{number}")
            guest.publish_audio(sample_rate=16_000).tone(seconds=0.02, realtime=False)
            next(transport.recv(kinds=("audio",), timeout=10))
            transport.send_data(b"bye", topic="bye")
            fake_room.wait_for_data("bye", count=number + 1)
            guest.leave()
            for happened in transport.recv(kinds=("event",), timeout=10):
                assert isinstance(happened, ringroom.Event)
                if happened.kind is ringroom.EventKind.PARTICIPANT_LEFT:
                    break
            with pytest.raises(TimeoutError):  # what was read is given back by who waits for more
                next(transport.recv(kinds=("event",), timeout=0.01))

        leaks.check(visit, 6)


def test_what_is_frozen_is_counted_as_well() -> None:
    """As a worker freezes what it has once it was started."""
    kept: list[int] = []
    gc.freeze()
    before = Census.taken()
    kept.append(1)
    assert id(kept) in Census.taken().containers_grown_since(before, 1)
