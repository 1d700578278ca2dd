"""What carries media through the SDK: the seam between `ingest`, `playout` and two ways to do it.

`public` uses the SDK's public API, `direct` what lies beneath it. Both keep these promises, so
nothing above knows which of them is in use.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

from ringroom.frames import Kind
from ringroom.options import SessionOptions
from ringroom.providers.provider import TrackSink

__all__ = ["MediaPath", "RefusedError", "SoundSource", "Stream"]


class RefusedError(Exception):
    """The source did not take the sound; the text is the native library's."""


class Stream(Protocol):
    """One subscribed track, from the moment it is opened: what comes before `run` waits."""

    async def run(self, out: TrackSink) -> None:
        """Give all that comes to ``out``, to the last frame; return when the track has ended or
        the stream was closed. Raises what ``out`` raises; the rest is thrown away then, and
        after a cancellation. Called once, on the loop that opened the stream."""

    async def aclose(self) -> None:
        """Have it end: `run` returns after what has come until now. Idempotent."""


class SoundSource(Protocol):
    """The native source of a track of ours. One capture at a time."""

    async def capture(self, samples: NDArray[np.int16]) -> None:
        """Queue sound of shape (samples, channels); return when there is room for more. Its memory
        is kept until the native library has answered. A cancellation stops the waiting alone.

        Raises an exception whose text is the native library's; with "InvalidState" in it when an
        earlier capture is still under way.
        """

    async def settled(self) -> None:
        """Return when no capture is under way; what became of it is not told."""

    def clear_queue(self) -> None:
        """Throw away what is queued, a capture that is under way included."""

    async def aclose(self) -> None:
        """Free it. Idempotent."""


class MediaPath(Protocol):
    """One connection's way through the SDK, on one event loop. Made before its room connects."""

    def stream(self, track: rtc.Track, kind: Kind, options: SessionOptions) -> Stream:
        """Open the stream of a subscribed track."""

    def source(self, source: rtc.AudioSource) -> SoundSource:
        """What feeds the SDK's source."""

    def close(self) -> None:
        """The connection has ended. Idempotent; what is still open ends by itself."""
