"""Who may subscribe to our tracks, in the I/O role: before any of them is published, and again in
each further room.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ringroom import messages as m
from ringroom.errors import RingroomError, RoomError
from ringroom.processes.io.provider_errors import as_ours
from ringroom.providers.provider import Provider
from ringroom.subscribers import Allowance, Subscribers

__all__ = ["OwnSubscribers"]

log = logging.getLogger("ringroom.io")

Send = Callable[[m.Message], None]


class OwnSubscribers:
    """``tell_application`` sends to it, whoever has asked."""

    def __init__(self, tell_application: Send) -> None:
        self.possible = True
        """Whether the provider can. Before it is opened only what was done before is told."""
        self.allowed = Subscribers()
        self._tell_application = tell_application
        self._provider: Provider | None = None
        """The one that is in the room."""

    def joined(self, provider: Provider) -> None:
        """We are in the room, for the first time or again, and have published nothing there."""
        self._provider = provider
        if self.allowed != Subscribers():
            self._apply(provider)

    def parted(self) -> None:
        """We are out of it."""
        self._provider = None

    def ask(self, message: m.AllowSubscribers, send: Send) -> None:
        """``send`` reaches whoever asks."""
        error = self._set(message)
        if message.request:
            fields = {} if error is None else m.error_to_json(error)
            send(m.SubscribersAllowed(request=message.request, error=fields))

    def _set(self, message: m.AllowSubscribers) -> RingroomError | None:
        """What kept it from being done, if anything did."""
        if not self.possible:
            return RoomError(
                "not supported: allow_subscribers (with this provider everybody may subscribe)",
                reason="not_supported",
            )
        who = None if message.everybody else frozenset(message.who)
        try:
            now = self.allowed.after(Allowance(who, message.track))
        except RingroomError as error:
            return error
        if now != self.allowed:
            self.allowed = now
            self._tell_application(m.SubscribersKnown(subscribers=now.to_json()))
        return None if self._provider is None else self._apply(self._provider)

    def _apply(self, provider: Provider) -> RingroomError | None:
        try:
            provider.allow_subscribers(self.allowed)
        except Exception as error:
            log.exception("the provider failed to say who may subscribe to our tracks")
            return as_ours(error)
        return None
