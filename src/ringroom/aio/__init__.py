"""The asyncio face: the same names as `ringroom.client` and `ringroom.pool`, awaited.

``async with ringroom.aio.transport(...) as t: async for frame in t.recv(): await t.send(frame)``
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ringroom.aio.client import Receiver, Transport, transport

if TYPE_CHECKING:
    from ringroom.aio.pool import Pool as Pool

__all__ = ["Pool", "Receiver", "Transport", "transport"]


def __getattr__(name: str) -> object:
    if name == "Pool":  # whoever has no workers does without what starts them
        return import_module("ringroom.aio.pool").Pool
    raise AttributeError(f"module 'ringroom.aio' has no attribute {name!r}")
