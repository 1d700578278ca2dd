"""What a test may get wrong with a room: people that no server lets in, times that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from refusal_kit import NAN, PCM, refuses
from ringroom.errors import ConfigurationError, FrameError
from ringroom.events import Participant
from ringroom.option_checks import TOLD_PARTICIPANT_KINDS
from ringroom.testing import FakeRoom


@pytest.mark.parametrize(
    "fields",
    [
        {"identity": ""},
        {"identity": 5},
        {"name": 5},
        {"metadata": "\ud800"},
        {"metadata": "x" * 600_000},
        {"attributes": 5},
        {"attributes": np.zeros(2)},
        {"attributes": {"a": 5}},
        {"attributes": {5: "a"}},
    ],
)
def test_people_that_no_server_lets_in(fake_room: FakeRoom, fields: dict[str, Any]) -> None:
    refuses(FrameError, "the ", lambda: fake_room.join(**{"identity": "ann", **fields}))
    assert fake_room.participants == ()


def test_what_a_participant_cannot_become(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    before = ann.info
    for call in (ann.set_name, ann.set_metadata, ann.set_attributes):
        for value in (5, None, "\ud800"):
            refuses(FrameError, "the ", lambda call=call, value=value: call(value))  # type: ignore[misc]
    assert ann.info == before
    refuses(FrameError, "width", lambda: ann.publish_video("camera", 0, 2))
    refuses(FrameError, "channels", lambda: ann.publish_audio("mic", 16_000, "x"))  # type: ignore[arg-type]
    refuses(FrameError, "no picture", lambda: ann.publish_video().show(PCM))  # type: ignore[arg-type]
    refuses(FrameError, "a frequency", lambda: ann.publish_audio().tone(NAN))


@pytest.mark.parametrize("value", ["x", None, NAN, True, -1, 1j, [1], np.zeros(2)])
def test_times_of_the_kit_are_numbers(fake_room: FakeRoom, value: Any) -> None:
    """They reached the room's thread, and ended it."""
    ann = fake_room.join("ann")
    mic = ann.publish_audio()
    faults = fake_room.faults
    calls: list[Callable[[], Any]] = [
        lambda: mic.tone(seconds=0.01, speed=value),
        lambda: faults.late(value),
        lambda: faults.bursts(value),
        lambda: faults.slow_connect(value),
        lambda: faults.slow_subscribing(value),
        lambda: faults.publish_refused().lasting(value),
        lambda: faults.out_of_order(value),
    ]
    if value is not None:  # it is never noticed
        calls.append(lambda: ann.vanish(value))
    if not isinstance(value, int) or value is True:  # the other way round is a drift too
        calls.append(lambda: faults.drift(value))
    for call in calls:
        refuses(ConfigurationError, "expected", call)
    for speech in (lambda: mic.silence(value), lambda: mic.noise(value), lambda: mic.count(value)):
        refuses(FrameError, "expected", speech)  # type: ignore[arg-type]
    mic.tone(seconds=0.02, speed=50, wait=True)  # the room goes on


def test_what_a_room_is_made_with() -> None:
    for clock in (5, "now", FakeRoom):
        refuses(ConfigurationError, "clock is", lambda clock=clock: FakeRoom(clock=clock))  # type: ignore[misc]
    for kept in ("x", -1, 1.5, None, True):
        refuses(ConfigurationError, "kept", lambda kept=kept: FakeRoom(kept_pictures=kept))  # type: ignore[misc]


def test_somebody_in_a_room_is_of_some_kind() -> None:
    with FakeRoom() as room:
        for kind in ("robot", "", None, 4):
            refuses(ConfigurationError, "kind is", lambda kind=kind: room.join("a", kind=kind))  # type: ignore[misc]
        assert not room.participants
        assert room.join("ann").info.kind == "standard"
        for kind in TOLD_PARTICIPANT_KINDS:
            assert room.join(kind, kind=kind).info.kind == kind


def test_a_person_in_a_room_may_say_anything_that_is_text() -> None:
    person = Participant(identity="ann", name="\0", metadata="{}")
    with FakeRoom() as room:
        assert room.join("ann", "\0", "{}").info.name == person.name
