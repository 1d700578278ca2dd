"""Whether one track of ours is muted, through all its publications in one room.

Facts about the SDK (livekit 1.1.21 to 1.2.1) that it rests on: a track that is muted while it is
being published is heard all the same, and says that it is muted; one that is muted before stays so
when the SDK itself publishes it again. So a track is muted before it is published or afterwards,
and what may have come in between is said twice. What the SDK tells of it is once what we have done,
and once or twice what the server has done.

What a server unmutes that we have muted we mute again, and then not for a while: a server that
insists would never come to an end with us.
"""

from __future__ import annotations

import asyncio
from collections import deque

from livekit import rtc

from ringroom.events import EventKind
from ringroom.providers.livekit.line import Line

__all__ = ["Muting"]

# How long after we have undone the server's unmuting it is left at what it does.
LEFT_SECONDS = 10.0


class Muting:
    """``muted`` is what is asked for: whoever gives frames to the source gives silence then,
    whatever the SDK makes of it."""

    def __init__(self, line: Line, muted: bool) -> None:
        self.muted = muted
        self._line = line
        self._track: rtc.LocalTrack | None = None
        """None while it is being published."""
        self._is = muted
        """What the SDK has told, or was published."""
        self._expected: deque[bool] = deque()
        """What it is still to tell that we have done."""
        self._by_server = False
        """Whether it was told that the server has muted it."""
        self._in_doubt = False
        """It was muted or unmuted while the SDK may have been publishing it again."""
        self._now = asyncio.get_running_loop().time
        self._left_until = 0.0
        """Until then an unmuting by the server is not undone."""

    @property
    def is_certain(self) -> bool:
        """Whether the SDK does what it is asked for: then what its source has is not heard."""
        return self._track is not None and not self._line.lost

    def set(self, muted: bool) -> None:
        """Have it so."""
        self.muted = muted
        self._in_doubt = self._line.lost
        self._ask(muted)

    def published(self, track: rtc.LocalTrack, *, muted: bool) -> None:
        """It is published, in that state."""
        self._track, self._is = track, muted
        self._expected.clear()
        if muted != self.muted:
            self._ask(self.muted)

    def lost(self) -> None:
        """It is published no more, and will be again."""
        self._track = None

    def reconnected(self) -> None:
        """The SDK has published it again, if the connection had cost it the session."""
        self._expected.clear()
        if self._in_doubt:
            self._in_doubt = False
            self._ask(not self.muted)  # else it does nothing, if it believes that it is so
            self._ask(self.muted)

    def _ask(self, muted: bool) -> None:
        if self._track is None:
            return
        if muted != (self._expected[-1] if self._expected else self._is):
            self._expected.append(muted)
        (self._track.mute if muted else self._track.unmute)()

    def told(self, muted: bool) -> EventKind | None:
        """The SDK tells that it is muted or not; what is to be told of that: what the server has
        done, and that we have undone it."""
        ours = bool(self._expected) and self._expected[0] == muted
        if ours:
            self._expected.popleft()
        elif muted == self._is:
            return None
        self._is = muted
        if ours and (muted or not self._by_server):
            return None
        self._by_server = muted
        if self.muted and not (muted or ours) and self._now() >= self._left_until:
            self._left_until = self._now() + LEFT_SECONDS
            self._ask(True)
        return EventKind.PUBLISH_MUTED if muted else EventKind.PUBLISH_UNMUTED
