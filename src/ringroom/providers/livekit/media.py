"""What carries media through the SDK: the seam between `ingest`, `playout` and two ways to do it.

`public` uses the SDK's public API, `direct` what lies beneath it. Both keep these promises, so
nothing above knows which of them is in use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

from ringroom.events import Kind
from ringroom.options import SessionOptions
from ringroom.providers.provider import TrackSink

__all__ = [
    "KEPT_READINGS",
    "AnyTrack",
    "Capture",
    "MediaPath",
    "SoundSource",
    "Stream",
    "TextReader",
]

TextReader: TypeAlias = rtc.TextStreamReader | rtc.ByteStreamReader
AnyTrack: TypeAlias = rtc.Track | rtc.RemoteDataTrack
# How many frames of a data track wait in the native library while the loop does other things; more
# are dropped there without a count. At 1,000 a second that is longer than any turn of the loop.
KEPT_READINGS = 64


class Stream(Protocol):
    """One subscribed track, from the moment it is opened: what comes before `run` waits."""

    async def run(self, out: TrackSink) -> None:
        """Give all that comes to ``out``, to the last frame; return when the track has ended or
        the stream was closed. Raises what ``out`` raises; the rest is thrown away then, and
        after a cancellation. Called once, on the loop that opened the stream."""

    async def aclose(self) -> None:
        """Have it end: `run` returns after what has come until now. Idempotent."""


class Capture(Protocol):
    """Sound on its way to a native source."""

    error: str | None
    """None while it is under way; then "", or why the source did not take it, in the native
    library's words: with "InvalidState" when an earlier capture was still under way."""

    def ask(self) -> None:
        """Have the answer told as it comes, or at once if it is there; else a refusal alone is."""


class SoundSource(Protocol):
    """The native source of a track of ours. One capture at a time."""

    def capture(self, samples: NDArray[np.int16], answered: Callable[[], None]) -> Capture:
        """Queue sound of shape (samples, channels); the answer comes when there is room for more.
        Its memory is kept until then. ``answered`` is called on the loop, perhaps more than
        once, when there is an answer to be told."""

    def clear_queue(self) -> None:
        """Throw away what is queued, a capture that is under way included."""

    async def aclose(self) -> None:
        """Free it. Idempotent."""


class MediaPath(Protocol):
    """One connection's way through the SDK, on one event loop. Made before its room connects."""

    def stream(self, track: AnyTrack, kind: Kind, options: SessionOptions) -> Stream:
        """Open the stream of a subscribed track; that of a data track subscribes it. Its `run`
        raises `rtc.SubscribeDataTrackError` where that was refused."""

    def source(self, source: rtc.AudioSource) -> SoundSource:
        """What feeds the SDK's source."""

    def fill(self, reader: TextReader, on: bool) -> None:
        """Whether the reader of a text or a file is to be filled by whatever this path has that is
        cheaper than the reader's own way, until it is over."""

    def close(self) -> None:
        """The connection has ended. Idempotent; what is still open ends by itself."""
