"""Which of our tracks are muted, in the I/O role. That goes by name: it holds whichever end sends
on a track, also before the first frame, and in each further room.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ringroom import messages as m
from ringroom.errors import RingroomError, RoomError
from ringroom.processes.io.provider_errors import as_ours

__all__ = ["Muting"]

log = logging.getLogger("ringroom.io")

Send = Callable[[m.Message], None]


class Muting:
    """``tell_application`` reaches the application, whichever end has asked; ``apply`` mutes and
    unmutes the tracks of a name that are there."""

    def __init__(self, tell_application: Send, apply: Callable[[str, bool], None]) -> None:
        self.possible = True
        """Whether the provider can mute. What is asked before it is opened only repeats what was
        done before, in another I/O process."""
        self.names: set[str] = set()
        self._tell_application = tell_application
        self._apply = apply

    def ask(self, message: m.SetMuted, send: Send) -> None:
        """``send`` reaches the end that asks."""
        error = self._set(message.track, message.muted)
        if message.request:
            fields = {} if error is None else m.error_to_json(error)
            send(m.MutedSet(request=message.request, error=fields))

    def _set(self, track: str, muted: bool) -> RingroomError | None:
        """What kept it from being done, if anything did."""
        if not self.possible:
            return RoomError(
                "not supported: mute and unmute (this provider mutes no tracks of ours)",
                reason="not_supported",
            )
        if muted != (track in self.names):
            (self.names.add if muted else self.names.discard)(track)
            self._tell_application(m.MutedKnown(tracks=sorted(self.names)))
        try:
            self._apply(track, muted)
        except Exception as error:
            log.exception("the provider failed to mute or unmute %r", track)
            return as_ours(error)
        return None
