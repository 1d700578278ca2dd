"""What a token allows in a fake room: judged by its claims as a LiveKit server judges them, only
that nobody here has the secret that it was signed with.

Text that is no JWT is no token, and allows everything: tests need not mint one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ringroom.checks import MAX_IDENTITY_BYTES, check_text
from ringroom.errors import FrameError, RoomError
from ringroom.option_checks import PARTICIPANT_KINDS
from ringroom.providers.claims import claims_of

__all__ = ["Grants", "granted"]

# The server's own tolerance of clocks that differ.
_LEEWAY_SECONDS = 60.0
# Kinds of participants that the server knows, and `Participant.kind` does not.
_NEWER_KINDS = ("connector", "bridge")


@dataclass(frozen=True, kw_only=True)
class Grants:
    """``identity`` is empty, and everything is allowed, where there is no token.

    ``publish_sources`` are the sources that may be published, all if it is empty.
    """

    identity: str = ""
    kind: str = "standard"
    """`Participant.kind`."""
    publish: bool = True
    subscribe: bool = True
    publish_data: bool = True
    set_profile: bool = True
    publish_sources: tuple[str, ...] = ()


def granted(token: str, room: str) -> Grants:
    """What the token allows in that room. Raises `RoomError` (``unauthorized``) if it opens none,
    another, or does so at another time."""
    try:
        claims = claims_of(token.strip())
    except ValueError:
        return Grants()
    video = claims.get("video")
    if not isinstance(video, dict) or video.get("roomJoin") is not True:
        raise _refusal("the token has no grant to join a room (video.roomJoin)")
    if video.get("room") != room:
        raise _refusal(f"the token is for room {video.get('room')!r}, and this is room {room!r}")
    _check_time(claims)
    publish = video.get("canPublish") is not False
    sources = video.get("canPublishSources") or ()
    return Grants(
        identity=_identity(claims.get("sub")),
        kind=_kind(claims.get("kind")),
        publish=publish,
        subscribe=video.get("canSubscribe") is not False,
        # Who may not publish may send no data, unless it is granted.
        publish_data=bool(video.get("canPublishData", publish)),
        set_profile=video.get("canUpdateOwnMetadata") is True,
        publish_sources=tuple(str(source).lower() for source in sources),
    )


def _identity(claimed: Any) -> str:
    try:
        return check_text("token's identity", claimed or "", MAX_IDENTITY_BYTES)
    except FrameError as error:
        raise _refusal(str(error)) from None


def _kind(claimed: Any) -> str:
    """The server takes a word that it does not know for none."""
    word = claimed.lower() if isinstance(claimed, str) else ""
    if word in _NEWER_KINDS:
        return "unknown"
    return word if word in PARTICIPANT_KINDS else "standard"


def _check_time(claims: dict[str, Any]) -> None:
    now = time.time()
    ends, begins = claims.get("exp"), claims.get("nbf")
    if isinstance(ends, int | float) and now > ends + _LEEWAY_SECONDS:
        raise _refusal(f"the token has expired {now - ends:.0f} s ago")
    if isinstance(begins, int | float) and now < begins - _LEEWAY_SECONDS:
        raise _refusal(f"the token is not valid for another {begins - now:.0f} s")


def _refusal(text: str) -> RoomError:
    return RoomError(f"fake: {text}", reason="unauthorized")
