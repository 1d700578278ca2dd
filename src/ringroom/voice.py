"""A transport as a voice pipeline wants it: recv, send and close, of sound."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ringroom.client import Receiver, Transport
from ringroom.errors import ConfigurationError, FrameError
from ringroom.events import Kind
from ringroom.frames import AudioFrame

__all__ = ["VoiceTransport", "as_voice_transport"]


class VoiceTransport:
    """A transport narrowed to what a voice pipeline needs: recv, send, close."""

    def __init__(self, wrapped: Transport) -> None:
        self._transport = wrapped

    def recv(self, *, timeout: float | None = None) -> Receiver:
        """Audio frames as they come; as `Transport.recv`."""
        return self._transport.recv(kinds=(Kind.AUDIO,), timeout=timeout)

    def send(self, frame: AudioFrame, *, timeout: float | None = None) -> None:
        """Send sound. Raises as `Transport.send` does; `FrameError` also for other frames."""
        if not isinstance(frame, AudioFrame):
            raise FrameError(f"a voice transport sends AudioFrame, not {type(frame).__name__}")
        self._transport.send(frame, timeout=timeout)

    def close(self) -> None:
        """Close the transport; as `Transport.close`."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._transport.__exit__(exc_type, exc, traceback)


def as_voice_transport(wrapped: Transport) -> VoiceTransport:
    """Narrow a transport to recv / send / close. Raises `ConfigurationError` for what is no
    synchronous transport."""
    if not isinstance(wrapped, Transport):
        raise ConfigurationError(
            f"the transport is a {type(wrapped).__module__}.{type(wrapped).__qualname__}, expected "
            "what ringroom.transport() gives (not that of ringroom.aio: the voice form does not "
            "await)"
        )
    return VoiceTransport(wrapped)
