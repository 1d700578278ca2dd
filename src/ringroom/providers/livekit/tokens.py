"""Mints access tokens with livekit-api, which is loaded only when a token is made."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from ringroom.checks import MAX_IDENTITY_BYTES, MAX_NAME_BYTES, check_text
from ringroom.errors import ConfigurationError, FrameError
from ringroom.option_checks import PARTICIPANT_KINDS, check_choice, check_range

__all__ = ["Grants", "mint"]

MAX_BYTES = 4_096
# Ten years, in seconds.
MAX_TTL = 315_360_000


@dataclass(frozen=True, kw_only=True)
class Grants:
    """What the holder of a token is and may do in the room, and how long it lets in."""

    can_publish: bool = True
    can_subscribe: bool = True
    can_publish_data: bool = True
    can_update_own_metadata: bool = False
    """Its own name, metadata and attributes."""
    hidden: bool = False
    room_admin: bool = False
    kind: str = "standard"
    """Of participant: what the others are told as `Participant.kind`."""
    ttl: float = 6 * 3600
    """Seconds from when it is made, up to ten years. Who is in the room then stays there."""


def mint(
    key: str,
    secret: str,
    *,
    room: str,
    identity: str,
    name: str = "",
    grants: Grants | None = None,
) -> str:
    """An access token that joins ``room`` as ``identity``.

    Raises `ConfigurationError`, which never holds the secret.
    """
    _check_texts(key=key, secret=secret, room=room, identity=identity, name=name)
    allowed = grants or Grants()
    check_choice("livekit: the token's kind", allowed.kind, PARTICIPANT_KINDS)
    ttl = check_range("livekit: the token's ttl", allowed.ttl, 0.001, MAX_TTL)
    try:
        from livekit import api
    except ImportError as error:
        raise ConfigurationError(
            f"livekit: minting a token needs livekit-api ({error}): pip install livekit-api"
        ) from None
    video = api.VideoGrants(
        room_join=True,
        room=room,
        can_publish=allowed.can_publish,
        can_subscribe=allowed.can_subscribe,
        can_publish_data=allowed.can_publish_data,
        can_update_own_metadata=allowed.can_update_own_metadata,
        hidden=allowed.hidden,
        room_admin=allowed.room_admin,
    )
    token = (
        api.AccessToken(key, secret)
        .with_identity(identity)
        .with_ttl(datetime.timedelta(seconds=ttl))
        .with_grants(video)
        .with_kind(allowed.kind)  # type: ignore[arg-type]
    )
    return (token.with_name(name) if name else token).to_jwt()


def _check_texts(**texts: str) -> None:
    """Their values are not told: one of them is the secret."""
    limits = {"room": MAX_NAME_BYTES, "identity": MAX_IDENTITY_BYTES}
    for what, text in texts.items():
        if not isinstance(text, str) or not (text or what == "name"):
            raise ConfigurationError(f"livekit: the token's {what} is empty or not text")
        try:
            check_text(f"token's {what}", text, limits.get(what, MAX_BYTES))
        except FrameError as error:
            raise ConfigurationError(f"livekit: {error}") from None
