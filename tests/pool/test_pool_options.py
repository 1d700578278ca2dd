"""A pool's options, and what is refused before anything starts."""

from __future__ import annotations

import gc
import warnings
import weakref
from dataclasses import dataclass
from typing import Any

import pytest

import processors_kit as kit
from app_kit import PATIENCE, children, sound
from ringroom.errors import (
    ClosedError,
    ConfigurationError,
)
from ringroom.pool import Pool, PoolOptions
from ringroom.processor import Processor
from ringroom.testing import FakeRoom, leaks


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"workers": 0}, "workers is 0, expected 1 to 256"),
        ({"workers": 300}, "workers is 300"),
        ({"workers": True}, "whole number"),
        ({"workers": "2"}, "whole number"),
        ({"spares": -1}, "spares is -1, expected 0 to 256"),
        ({"restarts": 1.5}, r"restarts is 1\.5, expected a whole number"),
        ({"restart_window": "1"}, "restart_window is '1', expected a number from 0 to 86400"),
        ({"restart_window": float("nan")}, "restart_window is nan, expected 0 to 86400"),
        ({"stuck_after": 0.01}, r"stuck_after is 0\.01, expected 0\.05 to 86400"),
        ({"stuck_after": True}, "stuck_after is True, expected a number"),
        ({"restart_stuck": 1, "stuck_after": 1}, "restart_stuck is 1, expected True or False"),
        ({"standby": 0}, "standby is 0, expected True or False"),
        ({"restart_stuck": True}, "goes with stuck_after"),
        ({"route": "random"}, "route is 'random'"),
        ({"mode": "fast"}, "mode is 'fast'"),
        ({"start_timeout": -1}, "start_timeout"),
        ({"drain_timeout": "1"}, "drain_timeout"),
        ({"on_event": 3}, "on_event is 3, expected a function of an Event"),
        ({"on_error": 3}, "on_error is 3, expected a function of a Problem"),
        ({"wrokers": 1}, "unknown option wrokers; known are: .* stuck_after, .* workers$"),
        ({"kinds": "audio"}, "expected a tuple"),
        ({"kinds": "audio", "on_event": print}, "expected a tuple"),
        ({"kinds": 3, "on_event": print}, "expected a tuple"),
        ({"tracks": "camera"}, "expected a list of sources"),
        ({"tracks": []}, "tracks is empty"),
        ({"io": "fork"}, "io is 'fork'"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], says: str) -> None:
    with (
        leaks.nothing_left_behind(grace=0.0),
        pytest.raises(ConfigurationError, match=says),
    ):
        Pool(kit.echo, "fake", room="nowhere", **options)


@pytest.mark.parametrize("processor", [3, None, "echo", int])
def test_what_is_no_processor(processor: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a function|derive from it"):
        Pool(processor, "fake", room="nowhere")


def test_what_cannot_travel_is_refused_before_anything_starts() -> None:
    numbers = (number for number in range(3))
    with leaks.nothing_left_behind(grace=0.0):
        with pytest.raises(ConfigurationError, match="the processor cannot be sent"):
            Pool(lambda frame: next(numbers) or frame, "fake", room="nowhere")
        with pytest.raises(ConfigurationError, match=r"participants= cannot .*: give identities"):
            Pool(kit.echo, "fake", room="nowhere", participants=lambda who: next(numbers))
        with pytest.raises(ConfigurationError, match=r"tracks= cannot .*: give sources"):
            Pool(kit.echo, "fake", room="nowhere", tracks=lambda track: next(numbers))


def test_a_pool_that_does_not_run() -> None:
    pool = Pool(kit.echo, "fake", room="nowhere")
    for call in (pool.wait, pool.played, lambda: pool.send(sound(0.02)), lambda: pool.room):
        with pytest.raises(ClosedError, match=r"does not run|not connected"):
            call()
    assert pool.ended is None
    pool.close()
    pool.close()
    with pytest.raises(ClosedError, match="a pool runs once"):
        pool.__enter__()
    assert PoolOptions().workers == 2


def test_a_pool_that_serves_a_room_is_not_collected(fake_room: FakeRoom) -> None:
    pools = [Pool(kit.echo, "fake", room=fake_room, io="thread", workers=1).__enter__()]
    forgotten = weakref.ref(pools.pop())
    gc.collect()
    pool = forgotten()
    assert pool is not None
    pool.close()


def test_a_forgotten_pool_says_so(fake_room: FakeRoom) -> None:
    pools = [Pool(kit.echo, "fake", room=fake_room, io="thread", workers=1).__enter__()]
    watching, workers = pools[0]._watch._thread, set(pools[0].pids)
    assert watching is not None
    assert workers & children()

    def forget() -> None:
        pools.clear()
        gc.collect()

    fake_room.close_room()  # while there is one to serve, the pool's own thread keeps it
    watching.join(PATIENCE)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        forget()  # what it holds is collected with it, and may speak up first
    assert "pool never closed" in [str(warning.message) for warning in told]
    assert {warning.category for warning in told} == {ResourceWarning}
    assert not workers & children(), "it is closed all the same"
    pools.append(Pool(kit.echo, "fake", room=fake_room, workers=1))
    forget()  # never started: nothing to say


def test_a_mode_for_a_processor_whose_class_is_frozen() -> None:
    @dataclass(frozen=True)
    class Frozen(Processor):
        gain: float

        def process(self, frame: Any) -> Any:
            return frame.gain(self.gain)

    mine = Frozen(0.5)
    Pool(mine, "fake", room="nowhere", mode="live")
    assert mine.mode == "speech"


def test_a_mode_leaves_the_processor_as_it_is() -> None:
    mine = kit.Echo()
    pool = Pool(mine, "fake", room="nowhere", mode="live")
    assert (pool.options.mode, mine.mode) == ("live", "speech")
