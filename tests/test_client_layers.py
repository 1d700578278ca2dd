"""Which layer of a picture a transport receives."""

from __future__ import annotations

from typing import Any

import pytest

import ringroom
from app_kit import PATIENCE, opened
from ringroom.errors import ConfigurationError
from ringroom.providers.fake import Fake
from ringroom.testing import FakeRoom, sources
from ringroom.testing.devices import Camera

SIZE = (66, 50)


def size_of(camera: Camera, receiver: Any, number: int) -> tuple[int, int]:
    """Of what comes of that test picture."""
    camera.show(sources.picture(number, *SIZE))
    frame = next(receiver)
    assert sources.picture_number(frame) == number
    return frame.width, frame.height


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"video_quality": "low"}, (17, 13)),
        ({"video_quality": "medium"}, (33, 25)),
        ({"video_quality": "high"}, SIZE),
        ({}, SIZE),
    ],
)
def test_the_layer_that_is_asked_for_comes(
    fake_room: FakeRoom, options: dict[str, Any], size: tuple[int, int]
) -> None:
    camera = fake_room.join("ann").publish_video("camera", *SIZE, simulcast=True)
    with opened(fake_room, kinds=("video",), **options) as transport:
        camera.wait_for_subscriber()
        receiver = transport.recv(timeout=PATIENCE)
        assert size_of(camera, receiver, 5) == size
        with fake_room.faults.connection_lost():
            pass
        camera.wait_for_subscriber()
        assert size_of(camera, receiver, 6) == size


def test_a_track_without_layers_comes_as_it_is(fake_room: FakeRoom) -> None:
    camera = fake_room.join("ann").publish_video("camera", *SIZE)
    with opened(fake_room, kinds=("video",), video_quality="low") as transport:
        camera.wait_for_subscriber()
        assert size_of(camera, transport.recv(timeout=PATIENCE), 5) == SIZE


def test_each_application_has_a_layer_of_its_own(fake_room: FakeRoom) -> None:
    camera = fake_room.join("ann").publish_video("camera", *SIZE, simulcast=True)
    with (
        opened(fake_room, kinds=("video",), video_quality="low", identity="small") as small,
        opened(fake_room, kinds=("video",), identity="large") as large,
    ):
        for identity in ("small", "large"):
            camera.wait_for_subscriber(identity)
        camera.show(sources.picture(1, *SIZE))
        widths = [next(one.recv(timeout=PATIENCE)).width for one in (small, large)]
        assert widths == [17, SIZE[0]]


class Flat(Fake):
    """A provider whose pictures have no layers."""

    layers = False


def test_a_provider_without_layers_refuses_to_choose(fake_room: FakeRoom) -> None:
    refused = "fake: not supported: video_quality .this provider has no layers of pictures"
    with pytest.raises(ConfigurationError, match=refused):
        ringroom.transport(Flat(room=fake_room), kinds=("video",), video_quality="low")
    options = {"io": "thread", "kinds": ("video",), "video_quality": "high"}
    with ringroom.transport(Flat(room=fake_room), **options):
        pass


def test_what_is_no_flag(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with pytest.raises(ConfigurationError, match="simulcast is 1, expected True or False"):
        ann.publish_video(simulcast=1)  # type: ignore[arg-type]
