"""What an application names to reach a fake room: `Fake`.

A spec with a room stays in the room's process. `Fake.handover` makes the one that travels: it
holds no room, and its connection is a descriptor of one end of a socket pair.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from ringroom.checks import MAX_IDENTITY_BYTES, check_text
from ringroom.errors import ConfigurationError, FrameError
from ringroom.providers.fake import rooms
from ringroom.providers.provider import Provider, ProviderSpec

__all__ = ["Fake", "HandedOver"]


@dataclass(frozen=True)
class HandedOver:
    """In place of a room in another process: the connection comes as a descriptor."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Fake(ProviderSpec):
    """A connection to a `ringroom.testing.FakeRoom`.

    ``room`` is the FakeRoom, or the name of one that is open in this process. ``url``, ``token``
    and ``e2ee_key`` are accepted and ignored, so that code written for ``livekit`` runs unchanged.

    Raises `ConfigurationError` without a room or with an identity that is empty or no text.
    """

    name = "fake"

    room: rooms.Reachable | HandedOver | str
    identity: str = "app"
    url: str = ""
    token: str | Callable[[], str] = field(default="", repr=False, compare=False)
    e2ee_key: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.room or not isinstance(self.room, rooms.Reachable | HandedOver | str):
            raise ConfigurationError(
                f"fake: room is {self.room!r}, expected a ringroom.testing.FakeRoom or its name"
            )
        try:
            check_text("identity", self.identity, MAX_IDENTITY_BYTES)
        except FrameError as error:
            raise ConfigurationError(f"fake: {error}") from None
        if not self.identity:
            raise ConfigurationError("fake: identity is empty")

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        # The provider needs asyncio and numpy; who only names a room should not load them.
        from ringroom.providers.fake.connection import FakeProvider

        if not isinstance(self.room, HandedOver):
            return FakeProvider(self._dial, self.identity)
        if len(descriptors) != 1:
            raise ConfigurationError(
                f"fake: {len(descriptors)} descriptors came with the spec, expected one"
            )
        connection = socket.socket(fileno=descriptors[0])
        return FakeProvider(lambda: connection, self.identity, connection)

    def handover(self) -> tuple[Self, tuple[int, ...]]:
        """A spec without the room, and the descriptor of a fresh connection to it.

        Raises `RoomError` (``unreachable``) if the room is closed or none has that name.
        """
        if isinstance(self.room, HandedOver):
            raise ConfigurationError("fake: this spec was handed over once; keep the original")
        connection = self._dial()
        travels = dataclasses.replace(
            self, room=HandedOver(self._found().name), token="", e2ee_key=None
        )
        return travels, (connection.detach(),)

    def _found(self) -> rooms.Reachable:
        if isinstance(self.room, str):
            return rooms.find(self.room)
        assert not isinstance(self.room, HandedOver)
        return self.room

    def _dial(self) -> socket.socket:
        return self._found().dial()
