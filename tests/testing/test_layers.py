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


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4)])
def test_of_the_smallest_picture_something_is_left(size: tuple[int, int]) -> None:
    payload = bytes(i420_size(*size))
    got = layer(message(32, 32).replace(width=size[0], height=size[1], payload=payload), "low")
    assert len(got.payload) == i420_size(got.width, got.height) > 0


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
