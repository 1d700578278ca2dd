"""A track of ours as a raw binary stream: what `audio_out` of a transport and a pool gives."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from ringroom.errors import FrameError
from ringroom.events import TrackInfo
from ringroom.frames import AudioFrame

__all__ = ["AudioOut"]


class AudioOut(io.RawIOBase):
    """A raw PCM stream to one track; see `Transport.audio_out`."""

    def __init__(
        self,
        send: Callable[[AudioFrame], None],
        track: str | TrackInfo | None,
        sample_rate: int,
        channels: int,
    ) -> None:
        super().__init__()
        self._send = send
        self._track = track
        self._rate = sample_rate
        self._channels = channels

    def writable(self) -> bool:
        return True

    def write(self, pcm: Any) -> int:
        """Send all of it; the number of bytes. Raises as `Transport.send` does, `FrameError` for
        what is neither bytes nor int16, or no whole number of samples, and `ValueError` once the
        stream is closed."""
        if self.closed:
            raise ValueError("write to a closed stream")
        view = _as_pcm(pcm)
        if len(view) % (2 * self._channels):
            raise FrameError(
                f"{len(view)} bytes are no whole number of samples "
                f"({2 * self._channels} bytes each for {self._channels} channels)"
            )
        if len(view):
            frame = AudioFrame(view, self._rate, self._channels, track=self._track)
            self._send(frame)
        return len(view)


def _as_pcm(pcm: Any) -> memoryview:
    try:
        view = memoryview(pcm)
    except TypeError:
        raise FrameError(f"{type(pcm).__name__} is no PCM; expected bytes") from None
    except ValueError as error:
        raise FrameError(f"no PCM can be had: {error}") from None
    if view.format not in ("b", "B", "c", "h", "<h"):
        # The bytes of floats, played as int16, are noise at full level.
        raise FrameError(
            f"values of format {view.format!r} are no PCM; expected bytes or int16, or send an "
            "AudioFrame, which converts floats"
        )
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
