"""The layers of a picture, of any size."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroom.colour import i420_size
from ringroom.providers.fake import messages
from ringroom.testing import sources
from ringroom.testing.layers import layer

SIDES = st.integers(32, 70)


@given(width=SIDES, height=SIDES, step=st.sampled_from([("low", 4), ("medium", 2), ("high", 1)]))
@settings(deadline=None)
def test_a_layer_is_a_picture_with_smaller_sides(
    width: int, height: int, step: tuple[str, int]
) -> None:
    quality, by = step
    shown = message(width, height)
    got = layer(shown, quality)
    assert (got.width, got.height) == (-(-width // by), -(-height // by))
    assert len(got.payload) == i420_size(got.width, got.height)
    assert got == shown.replace(width=got.width, height=got.height, payload=got.payload)


@pytest.mark.parametrize(
    ("shown", "quality", "size"),
    [
        ((2, 2), "low", (2, 2)),
        ((40, 4), "low", (40, 4)),
        ((5, 5), "low", (2, 2)),
        ((4, 4), "medium", (2, 2)),
        ((2, 3), "medium", (2, 3)),
    ],
)
def test_of_a_small_picture_enough_is_left(
    shown: tuple[int, int], quality: str, size: tuple[int, int]
) -> None:
    """No frame has a side of less than two pixels."""
    payload = bytes(i420_size(*shown))
    got = layer(message(32, 32).replace(width=shown[0], height=shown[1], payload=payload), quality)
    assert (got.width, got.height) == size
    assert len(got.payload) == i420_size(*size)


def message(width: int, height: int) -> messages.Video:
    picture = sources.picture(7, width, height)
    return messages.Video(
        track="TR",
        width=width,
        height=height,
        rotation=90,
        timestamp_us=3,
        time_ns=4,
        payload=picture.data.tobytes(),
    )
