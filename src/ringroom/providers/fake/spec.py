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

from ringroom.checks import MAX_IDENTITY_BYTES, check_text, shown
from ringroom.errors import ConfigurationError, FrameError
from ringroom.providers.fake import messages, rooms
from ringroom.providers.fake.grants import Grants, granted
from ringroom.providers.provider import Provider, ProviderSpec

__all__ = ["Fake", "HandedOver"]


@dataclass(frozen=True)
class HandedOver:
    """In place of a room in another process: the connection comes as a descriptor."""

    name: str
    grants: Grants = field(default_factory=Grants)


@dataclass(frozen=True, kw_only=True)
class Fake(ProviderSpec):
    """A connection to a `ringroom.testing.FakeRoom`.

    ``room`` is the FakeRoom, or the name of one that is open in this process. ``identity`` is by
    default the token's, else ``app``. ``token``, or what it returns, is judged as a LiveKit server
    does, except for its signature; text that is no JWT, or none at all, allows everything. ``url``,
    ``e2ee_key`` and ``sdk_path`` are accepted and ignored, so that code written for ``livekit``
    runs unchanged.

    Raises `ConfigurationError` without a room or with an identity that is empty or no text.
    """

    name = "fake"
    preload = "ringroom.providers.fake.connection"
    texts = True
    text_streams = True
    dtmf = True
    files = True
    data_tracks = True
    rpc = True
    mutes = True
    layers = True
    subscribers = True

    room: rooms.Reachable | HandedOver | str
    identity: str | None = None
    url: str = ""
    token: str | Callable[[], str] = field(default="", repr=False, compare=False)
    e2ee_key: Any = field(default=None, repr=False, compare=False)
    sdk_path: str = field(default="auto", repr=False, compare=False)

    def __post_init__(self) -> None:
        known = isinstance(self.room, rooms.Reachable | HandedOver | str)
        if not known or self.room == "":
            raise ConfigurationError(
                f"fake: room is {shown(self.room)}, "
                "expected a ringroom.testing.FakeRoom or its name"
            )
        try:
            if self.identity is not None and not check_text(
                "identity", self.identity, MAX_IDENTITY_BYTES
            ):
                raise ConfigurationError("fake: identity is empty")
        except FrameError as error:
            raise ConfigurationError(f"fake: {error}") from None

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        # The provider needs asyncio and numpy; who only names a room should not load them.
        from ringroom.providers.fake.connection import FakeProvider

        if not isinstance(self.room, HandedOver):
            return FakeProvider(self._dial, self._join(self._granted()))
        if len(descriptors) != 1:
            raise ConfigurationError(
                f"fake: {len(descriptors)} descriptors came with the spec, expected one"
            )
        connection = socket.socket(fileno=descriptors[0])
        return FakeProvider(lambda: connection, self._join(self.room.grants), connection)

    def handover(self) -> tuple[Self, tuple[int, ...]]:
        """A spec without room and token, and the descriptor of a fresh connection to the room.

        Raises `RoomError`: ``unreachable`` if the room is closed or none has that name,
        ``unauthorized`` if the token does not open it.
        """
        if isinstance(self.room, HandedOver):
            raise ConfigurationError("fake: this spec was handed over once; keep the original")
        handed_over = HandedOver(self._found().name, self._granted())
        connection = self._dial()
        travels = dataclasses.replace(self, room=handed_over, token="", e2ee_key=None)
        return travels, (connection.detach(),)

    def _granted(self) -> Grants:
        try:
            token = self.token() if callable(self.token) else self.token
        except ConfigurationError:
            raise  # ours, which hold no secret
        except Exception as error:  # noqa: BLE001  (whatever the user's function raises)
            # As with livekit: a minter's message may quote the secret that it signs with.
            raise ConfigurationError(
                f"fake: the token function raised {type(error).__name__}"
            ) from None
        return granted(token, self._found().name) if isinstance(token, str) else Grants()

    def _join(self, grants: Grants) -> messages.Join:
        return messages.Join(
            identity=self.identity or grants.identity or "app",
            kind=grants.kind,
            publish=grants.publish,
            subscribe=grants.subscribe,
            publish_data=grants.publish_data,
            set_profile=grants.set_profile,
            sources=grants.publish_sources,
        )

    def _found(self) -> rooms.Reachable:
        if isinstance(self.room, str):
            return rooms.find(self.room)
        assert not isinstance(self.room, HandedOver)
        return self.room

    def _dial(self) -> socket.socket:
        return self._found().dial()
