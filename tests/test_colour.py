"""Conversions of pictures against the formula itself, in floating point."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ringroom import colour
from ringroom.frames import VideoFrame

Pixels = NDArray[np.uint8]
SIZES = [(2, 2), (3, 3), (2, 5), (7, 4), (33, 17), (64, 48)]


def reference_rgb(frame: VideoFrame) -> NDArray[np.float64]:
    """ITU-R BT.601, limited range, each chroma sample for the four pixels that it covers."""
    luma, blue, red = (plane.astype(float) for plane in frame.planes())
    rows, columns = np.arange(frame.height) // 2, np.arange(frame.width) // 2
    u, v = (plane[rows][:, columns] - 128 for plane in (blue, red))
    y = (luma - 16) * 255 / 219
    rgb = np.stack([y + 1.596 * v, y - 0.391 * u - 0.813 * v, y + 2.018 * u], axis=-1)
    return rgb.clip(0, 255)


def reference_i420(rgb: Pixels) -> tuple[NDArray[np.float64], ...]:
    height, width, _ = rgb.shape
    red, green, blue = (rgb[..., place] / 255 for place in range(3))
    even = np.pad(rgb.astype(float), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    mean = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4 / 255
    mean_red, mean_green, mean_blue = (mean[..., place] for place in range(3))
    return (
        16 + 65.481 * red + 128.553 * green + 24.966 * blue,
        128 - 37.797 * mean_red - 74.203 * mean_green + 112 * mean_blue,
        128 + 112 * mean_red - 93.786 * mean_green - 18.214 * mean_blue,
    )


def picture(width: int, height: int, seed: int) -> VideoFrame:
    dice = np.random.default_rng(seed)
    size = colour.i420_size(width, height)
    return VideoFrame(dice.integers(0, 256, size, np.uint8), width, height)


def pixels(width: int, height: int, seed: int) -> Pixels:
    dice = np.random.default_rng(seed)
    return dice.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_to_rgb_is_the_formula(width: int, height: int, seed: int) -> None:
    frame = picture(width, height, seed)
    rgb = frame.to_rgb()
    assert rgb.shape == (height, width, 3)
    assert rgb.dtype == np.uint8
    assert np.abs(rgb - reference_rgb(frame)).max() <= 3
    assert np.array_equal(frame.to_bgr(), rgb[..., ::-1])


def test_to_rgb_at_every_extreme() -> None:
    """Nothing wraps: all corners of Y, U and V."""
    corners = [0, 1, 15, 16, 127, 128, 129, 235, 236, 254, 255]
    for y in corners:
        for u in corners:
            for v in corners:
                frame = VideoFrame(bytes([y] * 4 + [u, v]), 2, 2)
                assert np.abs(frame.to_rgb() - reference_rgb(frame)).max() <= 3, (y, u, v)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_from_rgb_is_the_formula(width: int, height: int, seed: int) -> None:
    rgb = pixels(width, height, seed)
    for frame in (VideoFrame.from_rgb(rgb), VideoFrame.from_bgr(rgb[..., ::-1])):
        for plane, wanted in zip(frame.planes(), reference_i420(rgb), strict=True):
            assert np.abs(plane - wanted).max() <= 3


@pytest.mark.parametrize(
    ("rgb", "yuv"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((255, 0, 0), (82, 90, 240)),
        ((0, 255, 0), (145, 54, 34)),
        ((0, 0, 255), (41, 240, 110)),
    ],
)
def test_known_colours(rgb: tuple[int, ...], yuv: tuple[int, ...]) -> None:
    frame = VideoFrame.from_rgb(np.full((4, 4, 3), rgb, np.uint8))
    for plane, wanted in zip(frame.planes(), yuv, strict=True):
        assert np.abs(plane.astype(int) - wanted).max() <= 1
    assert np.abs(frame.to_rgb().astype(int) - rgb).max() <= 3


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_flat_colours_come_back(width: int, height: int) -> None:
    dice = np.random.default_rng(5)
    for rgb in dice.integers(0, 256, (40, 3)):
        frame = VideoFrame.from_rgb(np.full((height, width, 3), rgb, np.uint8))
        assert np.abs(frame.to_rgb().astype(int) - rgb).max() <= 4


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_gray_comes_back(width: int, height: int) -> None:
    gray = pixels(width, height, 9)[..., 0]
    frame = VideoFrame.from_gray(gray)
    assert np.abs(frame.to_gray().astype(int) - gray).max() <= 1
    assert np.abs(frame.to_rgb().astype(int) - gray[..., None]).max() <= 3
    _, blue, red = frame.planes()
    assert (blue == 128).all()
    assert (red == 128).all()


def test_gray_ends_of_the_scale() -> None:
    gray = np.array([[0, 255], [1, 254]], np.uint8)
    frame = VideoFrame.from_gray(gray)
    assert frame.planes()[0].tolist()[0] == [16, 235]
    assert frame.to_gray().tolist()[0] == [0, 255]
    outside = VideoFrame(bytes([0, 255, 16, 235, 128, 128]), 2, 2)
    assert outside.to_gray().tolist() == [[0, 255], [0, 255]]


def test_conversions_leave_their_source_alone() -> None:
    rgb = pixels(6, 4, 1)[::-1, ::-1]
    rgb.flags.writeable = False
    frame = VideoFrame.from_rgb(rgb)
    frame.data.flags.writeable = False
    was = frame.data.tobytes()
    for made in (frame.to_rgb(), frame.to_bgr(), frame.to_gray()):
        made[:] = 0
    assert frame.data.tobytes() == was


@pytest.mark.parametrize(
    ("width", "height", "size"), [(2, 2, 6), (3, 3, 17), (4, 4, 24), (1280, 720, 1_382_400)]
)
def test_sizes(width: int, height: int, size: int) -> None:
    assert colour.i420_size(width, height) == size
