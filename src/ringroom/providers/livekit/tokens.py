"""Mints access tokens with livekit-api, which is loaded only when a token is made."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from ringroom.errors import ConfigurationError

__all__ = ["Grants", "mint"]


@dataclass(frozen=True, kw_only=True)
class Grants:
    """What the holder of a token may do in the room."""

    can_publish: bool = True
    can_subscribe: bool = True
    can_publish_data: bool = True
    hidden: bool = False
    room_admin: bool = False


def mint(
    key: str,
    secret: str,
    *,
    room: str,
    identity: str,
    name: str = "",
    ttl: float = 6 * 3600,
    grants: Grants | None = None,
) -> str:
    """An access token that joins ``room`` as ``identity`` and expires after ``ttl`` seconds.

    Raises `ConfigurationError`, which never holds the secret.
    """
    for what, value in (("key", key), ("secret", secret), ("room", room), ("identity", identity)):
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"livekit: the token's {what} is empty or not text")
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or ttl <= 0:
        raise ConfigurationError(f"livekit: the token's ttl is {ttl!r}, expected seconds above 0")
    try:
        from livekit import api
    except ImportError as error:
        raise ConfigurationError(
            f"livekit: minting a token needs livekit-api ({error}): pip install livekit-api"
        ) from None
    allowed = grants or Grants()
    video = api.VideoGrants(
        room_join=True,
        room=room,
        can_publish=allowed.can_publish,
        can_subscribe=allowed.can_subscribe,
        can_publish_data=allowed.can_publish_data,
        hidden=allowed.hidden,
        room_admin=allowed.room_admin,
    )
    token = (
        api.AccessToken(key, secret)
        .with_identity(identity)
        .with_ttl(datetime.timedelta(seconds=ttl))
        .with_grants(video)
    )
    return (token.with_name(name) if name else token).to_jwt()
