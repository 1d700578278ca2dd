"""A way to run a LiveKit server, and what all of them share: the ports, and the keys.

A server that runs already is one of them, which is only talked to.
"""

from __future__ import annotations

import contextlib
import random
import socket
from dataclasses import dataclass
from typing import Protocol

from ringroom.errors import ConfigurationError, StartupError
from ringroom.providers.livekit.spec import checked_url

__all__ = [
    "API_KEY",
    "API_SECRET",
    "Backend",
    "External",
    "PortTaken",
    "Ports",
    "ServerUnavailable",
]

API_KEY = "devkey"
API_SECRET = "ringroom-development-secret-not-for-production"  # noqa: S105

# Below the range that the kernel hands out to outgoing connections, so that none of those takes a
# port between the moment it is chosen and the moment the server binds it.
FIRST_PORT, LAST_PORT = 20000, 32000


class ServerUnavailable(StartupError):
    """Nothing on this machine can run a LiveKit server; the message says what to do about it."""


class PortTaken(StartupError):
    """Another program bound one of the ports first."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The three numbers of a server, the same inside and outside of its container."""

    http: int
    tcp: int
    udp: int

    @classmethod
    def free(cls) -> Ports:
        """Three ports that were free a moment ago."""
        return cls(
            http=_free_port(socket.SOCK_STREAM),
            tcp=_free_port(socket.SOCK_STREAM),
            udp=_free_port(socket.SOCK_DGRAM),
        )

    @property
    def variables(self) -> dict[str, str]:
        """What the compose file reads of them, and the keys."""
        return {
            "RINGROOM_LIVEKIT_PORT": str(self.http),
            "RINGROOM_LIVEKIT_TCP_PORT": str(self.tcp),
            "RINGROOM_LIVEKIT_UDP_PORT": str(self.udp),
            "RINGROOM_LIVEKIT_API_KEY": API_KEY,
            "RINGROOM_LIVEKIT_API_SECRET": API_SECRET,
        }


def _free_port(kind: socket.SocketKind) -> int:
    # Not the shared generator: test runs side by side are often seeded alike.
    draw = random.SystemRandom()
    for _ in range(200):
        port = draw.randint(FIRST_PORT, LAST_PORT)
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
    raise StartupError(f"no free port between {FIRST_PORT} and {LAST_PORT}")


class Backend(Protocol):
    """A way to run a server. ``down`` may be called at any time, and more than once."""

    @property
    def url(self) -> str: ...
    def up(self) -> None: ...
    def down(self) -> None: ...
    def alive(self) -> bool: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def logs(self) -> str: ...


class External:
    """A server that runs already, and that is not started or ended here. Raises
    `ConfigurationError` for a URL that is none."""

    def __init__(self, url: str) -> None:
        self.url = checked_url(url)

    def up(self) -> None:
        pass

    def down(self) -> None:
        pass

    def alive(self) -> bool:
        return True

    def kill(self) -> None:
        raise ConfigurationError("the server that LIVEKIT_URL names is not ours to stop or pause")

    restart = pause = resume = kill

    def logs(self) -> str:
        return ""
