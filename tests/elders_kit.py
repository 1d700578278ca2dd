"""A provider that has nothing but what every provider must have, as one of before the rest came.

What a provider may be without is refused there, and all else goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ringroom.frames import DataFrame
from ringroom.options import SessionOptions
from ringroom.providers.provider import Joined, OutgoingTrack, Playout, Provider, ProviderSpec, Sink


@dataclass(frozen=True, kw_only=True)
class Elders(ProviderSpec):
    """Says of no flag that it has it."""

    name: ClassVar[str] = "elders"

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        return EldersProvider()


class EldersProvider(Provider):
    """An empty room, whose sources take everything at once."""

    async def connect(self, sink: Sink, options: SessionOptions) -> Joined:
        return Joined(room="r", identity="us")

    async def publish(self, track: OutgoingTrack) -> Playout:
        assert not track.muted
        return EldersPlayout()

    async def send_data(self, frame: DataFrame) -> None: ...

    async def close(self) -> None: ...


class EldersPlayout(Playout):
    async def play(self, frame: Any) -> None: ...

    def queued(self) -> float:
        return 0.0

    def clear(self) -> float:
        return 0.0

    async def close(self) -> None: ...
