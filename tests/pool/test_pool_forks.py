"""A processor that forks: its child has no part in what its worker does."""

from __future__ import annotations

import pytest

import processors_kit as kit
from app_kit import check_law
from pool_kit import running, told
from ringroom.testing import FakeRoom


@pytest.mark.parametrize("how", ["returns", "yields", "raises", "asks"])
def test_a_child_that_comes_back_from_the_processor_ends(fake_room: FakeRoom, how: str) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Forks) as pool:
        alice.send_data(f"fork {how}".encode())
        for number in range(50):
            alice.send_data(f"echo {number}".encode())
        assert told(fake_room, "told", 50) == [str(number) for number in range(50)]
        alice.send_data(b"reap")
        assert told(fake_room, "reaped") == ["0"]
        for number in range(50, 60):
            alice.send_data(f"echo {number}".encode())
        assert told(fake_room, "told", 60)[50:] == [str(number) for number in range(50, 60)]
        assert {message.topic for message in fake_room.application.messages} == {"told", "reaped"}
        assert not fake_room.application.tracks
        assert not pool.stats().received.problems
    check_law(pool)
