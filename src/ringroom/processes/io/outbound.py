"""What the two ways out have in common, of our tracks (`playouts`) and of our messages
(`outgoing_data`): requests about what was sent so far, the end of a lane, and that of the room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from ringroom.errors import RoomError
from ringroom.lanes.live import LiveReader
from ringroom.lanes.reliable import ReliableReader

Reader = LiveReader | ReliableReader
Answer = Callable[[int, float], None]
Retire = Callable[[int], None]
"""Told the row of a lane that was drained and buried: nobody here counts in it any more."""
# The reasons of a provider's `RoomError`: we are not in the room any more; we may not publish.
GONE, REFUSED = "disconnected", "publish_refused"


@dataclass(slots=True)
class Request:
    """About all that was sent before frame ``sequence``; ``answer`` is called once, with ``number``
    and seconds of sound."""

    number: int
    sequence: int
    answer: Answer
    seconds: float = field(default=0.0)


def end_stay(stay: asyncio.Timeout | None, loop: asyncio.AbstractEventLoop) -> None:
    """What runs within it is cancelled, once."""
    if stay is not None and stay.when() is None:
        stay.reschedule(loop.time())


def is_gone(error: Exception, *others: str) -> bool:
    """Whether the room is, or the track, for one of the other reasons."""
    return isinstance(error, RoomError) and error.reason in (GONE, *others)


def bury(reader: Reader, retire: Retire) -> None:
    """What was sent in the lane and not played is lost, counted: also what its writer had counted
    and not written when it died."""
    reader.row.bury()
    reader.close()
    retire(reader.row.index)
