"""What an application names to reach a LiveKit room: `LiveKit`. Free of the SDK.

Owns the checks that need no server: the URL's form, and that the token is one that joins the
room that was asked for. Whether the token is valid is the server's to say.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit, urlunsplit

from ringroom.checks import check_name, shown
from ringroom.errors import ConfigurationError, FrameError
from ringroom.option_checks import check_choice, check_function
from ringroom.providers.claims import claims_of
from ringroom.providers.provider import Provider, ProviderSpec

__all__ = ["LiveKit"]

SDK_PATHS = ("auto", "direct", "public")
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f\ud800-\udfff]")
MAX_HOST = 253
# Letters of any alphabet; what a template has left in it (braces, a dollar) is none.
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?")
# The SDK speaks WebSocket; LiveKit's own dashboards and APIs show the http form.
_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


@dataclass(frozen=True, kw_only=True)
class LiveKit(ProviderSpec):
    """A connection to a room on a LiveKit server.

    ``token`` is an access token, or a callable that mints a fresh one for every connect. ``room``,
    when given, must be the room that the token is for. ``e2ee_key`` is the key that all
    participants share for end-to-end encryption. ``sdk_path`` is how media passes the LiveKit SDK:
    ``"direct"``, beside its queues and tasks, with less work for each frame; ``"public"``, by its
    public API; ``"auto"``, direct where the installed SDK is one that is known (1.1.21 up to 1.2).
    ``"direct"`` with another SDK is refused when the connection is opened.

    Raises `ConfigurationError`; no message holds the token or the key.
    """

    name = "livekit"
    preload = "ringroom.providers.livekit.connection"
    texts = True
    text_streams = True
    dtmf = True
    files = True
    data_tracks = True
    rpc = True
    mutes = True
    layers = True
    subscribers = True

    url: str = ""
    token: str | Callable[[], str] = field(default="", repr=False)
    room: str = ""
    e2ee_key: bytes | str | None = field(default=None, repr=False)
    sdk_path: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", checked_url(self.url))
        try:
            check_name("room", self.room)
        except FrameError as error:
            raise ConfigurationError(f"livekit: {error}") from None
        if callable(self.token):
            check_function("livekit: the token function", self.token)
        else:
            object.__setattr__(self, "token", _checked_token(self.token, self.room))
        if self.e2ee_key is not None:
            _check_key(self.e2ee_key)
        check_choice("livekit: sdk_path", self.sdk_path, SDK_PATHS)

    def handover(self) -> tuple[Self, tuple[int, ...]]:
        """The spec with its token minted, if that is a callable's to do."""
        if not callable(self.token):
            return self, ()
        return dataclasses.replace(self, token=_minted(self.token, self.room)), ()

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        # The SDK loads a large native library and its threads: in the I/O role only.
        try:
            from ringroom.providers.livekit.connection import LiveKitProvider
            from ringroom.providers.livekit.paths import check_path
        except ImportError as error:
            raise ConfigurationError(
                f"livekit: the SDK cannot be loaded ({error}): pip install livekit"
            ) from error
        if descriptors:
            raise ConfigurationError(f"livekit: {len(descriptors)} descriptors came, expected none")
        check_path(self.sdk_path)
        travelled, _ = self.handover()
        return LiveKitProvider(
            url=travelled.url,
            token=str(travelled.token),
            e2ee_key=_key_bytes(self.e2ee_key),
            sdk_path=self.sdk_path,
        )


def checked_url(url: object) -> str:
    """The URL with the scheme ``ws`` or ``wss``. Raises `ConfigurationError`."""
    if url is None or (isinstance(url, str) and not url.strip()):
        raise ConfigurationError("livekit: URL is required")
    if not isinstance(url, str):
        raise ConfigurationError(f"livekit: the URL is {type(url).__name__}, expected text")
    url = url.strip()
    if _UNPRINTABLE.search(url):
        raise ConfigurationError("livekit: the URL holds spaces or unprintable characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # urlsplit's own message may quote what stands before the @.
        raise ConfigurationError("livekit: the URL cannot be read; check host and port") from None
    if parts.scheme not in _SCHEMES:
        raise ConfigurationError(
            "livekit: the URL starts with none of ws://, wss://, http://, https://"
        )
    _check_parts(parts, port)
    return urlunsplit(parts._replace(scheme=_SCHEMES[parts.scheme]))


def _check_parts(parts: SplitResult, port: int | None) -> None:
    if not parts.hostname or port == 0:
        raise ConfigurationError("livekit: the URL has no host, or port 0")
    host = parts.hostname
    if "[" not in parts.netloc and (len(host) > MAX_HOST or not _HOST.fullmatch(host)):
        raise ConfigurationError("livekit: the URL's host is no host's name")
    if "@" in parts.netloc:
        raise ConfigurationError(
            "livekit: the URL holds credentials; access is given by the token alone"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(
            "livekit: the URL has a query or fragment; give scheme, host and port"
        )


def _checked_token(token: object, room: str) -> str:
    if isinstance(token, str):
        token = token.strip()
    if token is None or (isinstance(token, str) and not token):
        raise ConfigurationError("livekit: Token is required")
    if not isinstance(token, str):
        raise ConfigurationError(
            f"livekit: Token is {type(token).__name__}, expected text or a function that returns it"
        )
    video = _claims(token).get("video")
    if not isinstance(video, dict) or video.get("roomJoin") is not True:
        raise ConfigurationError(
            "livekit: Token has no grant to join a room (video.roomJoin); mint it with room_join"
        )
    granted = video.get("room", "")
    if not isinstance(granted, str) or not granted:
        raise ConfigurationError("livekit: Token names no room (video.room)")
    if room and granted != room:
        raise ConfigurationError(
            f"livekit: Token is for room {shown(granted)}, not for room {shown(room)}"
        )
    return token


def _claims(token: str) -> dict[str, Any]:
    try:
        return claims_of(token)
    except ValueError as error:
        raise ConfigurationError(
            f"livekit: Token is not a JWT ({error}); mint one with livekit-api or `ringroom token`"
        ) from None


def _minted(mint: Callable[[], str], room: str) -> str:
    try:
        token = mint()
    except ConfigurationError:
        raise  # ours, which hold no secret
    except Exception as error:  # noqa: BLE001  (whatever the user's function raises)
        # Not chained: a minter's message may quote the secret that it signs with.
        raise ConfigurationError(
            f"livekit: the token function raised {type(error).__name__}"
        ) from None
    return _checked_token(token, room)


def _check_key(key: object) -> None:
    if not isinstance(key, bytes | str):
        raise ConfigurationError(
            f"livekit: e2ee_key is {type(key).__name__}, expected bytes or text"
        )
    if not key:
        raise ConfigurationError("livekit: e2ee_key is empty")
    try:
        _key_bytes(key)
    except UnicodeEncodeError:
        raise ConfigurationError("livekit: e2ee_key is not valid Unicode text") from None


def _key_bytes(key: bytes | str | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key
