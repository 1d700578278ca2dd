"""I420 to and from RGB: ITU-R BT.601 in limited range, as WebRTC's own conversions (libyuv) use it.

    R = 1.164 (Y-16)                + 1.596 (V-128)
    G = 1.164 (Y-16) - 0.391 (U-128) - 0.813 (V-128)
    B = 1.164 (Y-16) + 2.018 (U-128)

Worked in int16 with the coefficients scaled by 64, so one pass stays in a byte-wide budget and a
720p picture converts in a few milliseconds without any library beside numpy.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]

_BT601_TO_RGB = {"r": (0, 102), "g": (-25, -52), "b": (129, 0)}
"""For each colour the factors of U-128 and V-128, times 64."""


def i420_size(width: int, height: int) -> int:
    """Bytes of a picture: chroma planes round odd sides up."""
    return width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)


def planes(data: Bytes, width: int, height: int) -> tuple[Bytes, Bytes, Bytes]:
    """Views of Y, U and V."""
    luma = width * height
    half_width, half_height = (width + 1) // 2, (height + 1) // 2
    chroma = half_width * half_height
    return (
        data[:luma].reshape(height, width),
        data[luma : luma + chroma].reshape(half_height, half_width),
        data[luma + chroma : luma + 2 * chroma].reshape(half_height, half_width),
    )


def i420_to_rgb(data: Bytes, width: int, height: int) -> Bytes:
    return _to_pixels(data, width, height, "rgb")


def i420_to_bgr(data: Bytes, width: int, height: int) -> Bytes:
    return _to_pixels(data, width, height, "bgr")


def i420_to_gray(data: Bytes, width: int, height: int) -> Bytes:
    luma = planes(data, width, height)[0]
    table: Bytes = np.rint((np.arange(256) - 16) * (255 / 219)).clip(0, 255).astype(np.uint8)
    gray: Bytes = table[luma]
    return gray


def gray_to_i420(pixels: Bytes) -> Bytes:
    height, width = pixels.shape
    data = np.full(i420_size(width, height), 128, np.uint8)
    table = np.rint(16 + np.arange(256) * (219 / 255)).astype(np.uint8)
    data[: width * height].reshape(height, width)[:] = table[pixels]
    return data


def rgb_to_i420(pixels: Bytes) -> Bytes:
    height, width, _ = pixels.shape
    data = np.empty(i420_size(width, height), np.uint8)
    luma, blue_chroma, red_chroma = planes(data, width, height)
    red, green, blue = (pixels[..., i].astype(np.int32) for i in range(3))
    # BT.601 limited range, coefficients times 256 (the usual integer form, as in libyuv).
    luma[:] = (66 * red + 129 * green + 25 * blue + 128 + 4096) >> 8
    red, green, blue = (_quarter(plane) for plane in (red, green, blue))
    blue_chroma[:] = ((-38 * red - 74 * green + 112 * blue + 128) >> 8) + 128
    red_chroma[:] = ((112 * red - 94 * green - 18 * blue + 128) >> 8) + 128
    return data


def _quarter(plane: NDArray[np.int32]) -> NDArray[np.int32]:
    """The mean of each 2x2 block; an odd last row or column counts twice."""
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2] + 2) >> 2


def _to_pixels(data: Bytes, width: int, height: int, order: str) -> Bytes:
    luma, blue_chroma, red_chroma = planes(data, width, height)
    # 1.164 * (Y - 16) * 64, at most 17,804: fits int16 together with any chroma term.
    base = (np.arange(-16, 240) * 74.5).astype(np.int16)[luma]
    u = blue_chroma.astype(np.int16) - 128
    v = red_chroma.astype(np.int16) - 128
    pixels = np.empty((height, width, 3), np.uint8)
    for place, name in enumerate(order):
        u_factor, v_factor = _BT601_TO_RGB[name]
        chroma = np.repeat(np.repeat(u * u_factor + v * v_factor, 2, axis=0), 2, axis=1)
        # A saturating sum: 17,804 + 16,383 would wrap in int16, so halve before adding.
        total = (base >> 1) + (chroma[:height, :width] >> 1)
        pixels[..., place] = ((total + 16) >> 5).clip(0, 255)
    return pixels
