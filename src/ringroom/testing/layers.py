"""The layers in which a picture is published (simulcast): in full, and with smaller sides.

Every second or fourth pixel is taken: a picture looks coarse, and its number stays readable.
"""

from __future__ import annotations

import numpy as np

from ringroom.colour import planes
from ringroom.providers.fake import messages

__all__ = ["layer"]

_STEPS = {"low": 4, "medium": 2, "high": 1}


def layer(picture: messages.Video, quality: str) -> messages.Video:
    """The picture with sides of a quarter, a half, or in full; halves are rounded up. One of which
    too little would be left stays as it is."""
    step = _STEPS[quality]
    if step == 1 or min(picture.width, picture.height) <= step:
        return picture
    data = np.frombuffer(picture.payload, np.uint8)
    parts = [part[::step, ::step] for part in planes(data, picture.width, picture.height)]
    height, width = parts[0].shape
    payload = b"".join(part.tobytes() for part in parts)
    return picture.replace(width=width, height=height, payload=payload)
