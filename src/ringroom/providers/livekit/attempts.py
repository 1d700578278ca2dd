"""Joining by attempts of our own, each of which the SDK makes once.

Left alone, the SDK makes four within one request, over one native runtime (livekit 1.1.21 to
1.2.1). The first that fails ends the runtime's audio device with its last peer connection, and
nothing begins it again (rust-sdks, `AdmProxy`: `Terminate` ends it, `Init` does nothing). Whoever
is let in by a later one joins, sends, is told of tracks, receives their packets, and hears nothing,
for as long as the room lasts. With one attempt for each request the runtime ends with the request,
and the next has one of its own.

How often the SDK tries is in its request and not in its options. So what it asks of its native
library passes here: one function, put before the SDK's own when the first room is joined. It
changes the requests that are made within `connect` alone, and none of others in the process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from livekit import rtc
from livekit.rtc.room import ConnectError

from ringroom.providers.livekit.mapping import connect_error

__all__ = ["ATTEMPTS", "connect"]

ATTEMPTS = 4
_ours: ContextVar[bool] = ContextVar("ringroom-join", default=False)


async def connect(
    room: rtc.Room, url: str, token: str, options: rtc.RoomOptions, wanted: Callable[[], bool]
) -> None:
    """`Room.connect`, tried again as the SDK would: at once, if the token was not refused and the
    room is still ``wanted``. Raises what the last attempt raises."""
    _ask_for_one_attempt()
    before = _ours.set(True)
    try:
        for left in reversed(range(ATTEMPTS)):
            try:
                return await room.connect(url, token, options)
            except ConnectError as error:
                refused = connect_error(error).reason == "unauthorized"
                if refused or not left or not wanted():
                    raise
    finally:
        _ours.reset(before)


def _ask_for_one_attempt() -> None:
    """Private to the SDK, so only if it is there. Idempotent."""
    client = getattr(import_module("livekit.rtc._ffi_client"), "FfiClient", None)
    request = getattr(client, "request", None)
    if request is None or hasattr(request, "asks_for_one_attempt"):
        return

    @functools.wraps(request)
    def once(self: Any, asked: Any) -> Any:
        if _ours.get() and asked.WhichOneof("message") == "connect":
            options = asked.connect.options
            if "join_retries" in options.DESCRIPTOR.fields_by_name:
                options.join_retries = 0
        return request(self, asked)

    once.asks_for_one_attempt = True  # type: ignore[attr-defined]  # (a mark, for the next call)
    client.request = once  # type: ignore[union-attr]  # (it has one, so it is not None)
