"""What an application names: checked when made, and fit to travel."""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
import pytest

from ringroom.errors import ConfigurationError, RoomError
from ringroom.providers import registry
from ringroom.providers.fake import Fake
from ringroom.testing import FakeRoom


@pytest.mark.parametrize("room", [None, "", 3, {}])
def test_a_room_is_required(room: Any) -> None:
    with pytest.raises(ConfigurationError, match="FakeRoom or its name"):
        Fake(room=room)


@pytest.mark.parametrize("identity", ["", 7, 0, b"", [], np.zeros(2), "\ud800", "a" * 2_000])
def test_an_identity_is_text(identity: Any, room: FakeRoom) -> None:
    with pytest.raises(ConfigurationError, match="identity"):
        Fake(room=room, identity=identity)


def test_what_is_written_for_livekit_runs_unchanged(room: FakeRoom) -> None:
    spec, _ = registry.build(
        "fake",
        {
            "url": "wss://x",
            "token": "secret",
            "room": "room",
            "e2ee_key": b"secret",
            "sdk_path": "direct",
        },
    )
    assert "secret" not in repr(spec)
    travels, descriptors = spec.handover()
    assert b"secret" not in pickle.dumps(travels)
    os.close(descriptors[0])


def test_a_name_must_be_of_one_open_room(room: FakeRoom) -> None:
    with pytest.raises(RoomError, match="0 open rooms are called 'other'"):
        Fake(room="other").handover()
    with FakeRoom("twin"), FakeRoom("twin"), pytest.raises(RoomError, match="2 open rooms"):
        Fake(room="twin").handover()


def test_a_closed_room_is_unreachable() -> None:
    with FakeRoom() as room:
        pass
    with pytest.raises(RoomError, match="closed") as raised:
        Fake(room=room).handover()
    assert raised.value.reason == "unreachable"


def test_what_was_handed_over_needs_its_descriptor(room: FakeRoom) -> None:
    travels, descriptors = Fake(room=room).handover()
    with pytest.raises(ConfigurationError, match="0 descriptors"):
        travels.open(())
    with pytest.raises(ConfigurationError, match="handed over once"):
        travels.handover()
    os.close(descriptors[0])


def test_a_room_does_not_travel(room: FakeRoom) -> None:
    with pytest.raises(TypeError, match="handover"):
        pickle.dumps(Fake(room=room))
