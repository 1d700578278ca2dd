"""Live sound through the whole of it, in virtual time."""

from __future__ import annotations

import pytest

import ringroom
from app_kit import sound
from recovery_kit import settled
from ringroom.testing import FakeRoom
from ringroom.testing.virtual import VirtualClock

FRAME = 0.02


@pytest.mark.parametrize("mode", ["live", "speech"])
@pytest.mark.parametrize("stands_still", [0.16, 0.3])  # the source takes 0.2 of it
def test_live_sound_is_in_time_again_some_seconds_after_its_sender_stood_still(
    mode: str, stands_still: float
) -> None:
    publish = ringroom.PublishOptions(mode=mode)  # type: ignore[arg-type]
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        with ringroom.transport("fake", room=room, io=clock.io, kinds=("event",)) as transport:
            due = clock.now()

            def speaks(seconds: float) -> float:
                """In real time; how long what it said last is then on its way."""
                nonlocal due
                for _ in range(round(seconds / FRAME)):
                    clock.sleep(max(due - clock.now(), 0.0))
                    transport.send(sound(FRAME), publish=publish)
                    due += FRAME
                began = clock.now()
                transport.wait_playout(timeout=5)
                return clock.now() - began

            assert speaks(3.0) < 3 * FRAME
            clock.sleep(stands_still)
            assert speaks(4.0) > stands_still / 2, "what it could not say comes in a heap"
            late = speaks(24.0)
            assert late < 3 * FRAME if mode == "live" else late > stands_still / 2
        sent = settled(transport).sent
        assert (sent.dropped_stale > 0) == (mode == "live")
        assert sent.sent == sent.done + sent.dropped_stale
