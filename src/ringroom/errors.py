"""Every error that ringroom raises on purpose.

    RingroomError
    ├── ConfigurationError        an option is wrong; nothing was started       (also a ValueError)
    │   └── UnknownProviderError  no provider of that name is registered
    ├── FrameError                a frame that cannot be made or sent            (also a ValueError)
    ├── StartupError              a child process or the shared memory did not come up
    ├── RoomError                 the room: refused, unreachable, or lost for good
    ├── ClosedError               it is closed, has ended, is not open yet, or is a fork's
    ├── BusyError                 somebody else already reads or writes here
    ├── WouldBlock                the ``_nowait`` form has nothing to give or no room to take
    ├── RpcError                  a call (RPC) is refused, or has failed
    ├── LostProcessError          the I/O process died, or a worker did, again and again
    └── WireError                 bytes that are not a record or message of ours

Deadlines raise the built-in ``TimeoutError``. No message ever contains a token or a key.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BusyError",
    "ClosedError",
    "ConfigurationError",
    "FrameError",
    "LostProcessError",
    "RingroomError",
    "RoomError",
    "RpcError",
    "StartupError",
    "UnknownProviderError",
    "WireError",
    "WouldBlock",
]


class RingroomError(Exception):
    """The base of all errors of this package."""


class ConfigurationError(RingroomError, ValueError):
    """An option or an argument is missing or wrong. What can be judged without the room is judged
    before any process starts."""


class UnknownProviderError(ConfigurationError):
    """No provider is registered under the name; the message lists those that are."""


class FrameError(RingroomError, ValueError):
    """A frame whose samples, shape, rate or size cannot be carried."""


class StartupError(RingroomError):
    """A child process did not come up in time, or the machine refused it what it needs."""


class RoomError(RingroomError):
    """The room refused us, could not be reached, or was lost and did not come back.

    ``reason`` is one word for programs: ``unauthorized``, ``unreachable``, ``timeout``,
    ``disconnected``, ``publish_refused``, ``data_refused``, ``profile_refused``,
    ``not_supported``, ``failed``.
    """

    def __init__(self, message: str, *, reason: str = "failed") -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (_room_error, (str(self), self.reason))


def _room_error(message: str, reason: str) -> RoomError:
    return RoomError(message, reason=reason)


class RpcError(RingroomError):
    """A call (LiveKit's RPC) is refused, or has failed; the text says why. ``code`` is a number for
    programs: one of LiveKit's own, which have names here, or whatever the other side has chosen;
    ``data`` is text that it has added."""

    UNSUPPORTED_METHOD: ClassVar[int] = 1400
    RECIPIENT_NOT_FOUND: ClassVar[int] = 1401
    REQUEST_PAYLOAD_TOO_LARGE: ClassVar[int] = 1402
    UNSUPPORTED_SERVER: ClassVar[int] = 1403
    UNSUPPORTED_VERSION: ClassVar[int] = 1404
    APPLICATION_ERROR: ClassVar[int] = 1500
    CONNECTION_TIMEOUT: ClassVar[int] = 1501
    RESPONSE_TIMEOUT: ClassVar[int] = 1502
    RECIPIENT_DISCONNECTED: ClassVar[int] = 1503
    RESPONSE_PAYLOAD_TOO_LARGE: ClassVar[int] = 1504
    SEND_FAILED: ClassVar[int] = 1505

    def __init__(self, message: str, *, code: int = 1500, data: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.data = data

    def __reduce__(self) -> tuple[object, ...]:
        return (_rpc_error, (str(self), self.code, self.data))


def _rpc_error(message: str, code: int, data: str) -> RpcError:
    return RpcError(message, code=code, data=data)


class ClosedError(RingroomError):
    """It was closed, its room has ended, or it is not open yet; or it belongs to the process that
    this one was forked from."""


class BusyError(RingroomError):
    """A track has one writer, a kind of frame one reader and a transport one event loop; this would
    be the second."""


class WouldBlock(RingroomError):
    """Nothing to receive, or no room to send, right now."""


class LostProcessError(RingroomError):
    """The I/O process died, or, in a pool, it or a worker did so again and again; the message says
    how."""


class WireError(RingroomError):
    """Bytes that do not decode: truncated, of an unknown kind, or with impossible lengths."""
