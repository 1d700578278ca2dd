"""The connection to a LiveKit room: joins, publishes, sends, leaves.

Owns the SDK's room; what we publish there is in `publications`, who else is there in `roster`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys

from livekit import rtc
from livekit.rtc import room as sdk_room
from livekit.rtc.room import ConnectError

from ringroom.errors import ClosedError, RingroomError, RoomError
from ringroom.frames import DataFrame, EventKind, Kind
from ringroom.options import SessionOptions
from ringroom.providers.livekit import attempts, joins
from ringroom.providers.livekit.calls import Calls
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.mapping import (
    connect_error,
    end_of_room,
    scrub,
    scrub_logs,
)
from ringroom.providers.livekit.media import MediaPath
from ringroom.providers.livekit.outbox import AT_RISK, Outbox
from ringroom.providers.livekit.paths import open_path
from ringroom.providers.livekit.publications import Publications
from ringroom.providers.livekit.roster import Roster
from ringroom.providers.provider import Joined, OutgoingTrack, Playout, Provider, Sink

__all__ = ["LiveKitProvider"]

_log = logging.getLogger("ringroom.livekit")

# What a close waits, beyond the leaving itself, for requests that are under way.
SETTLE_SECONDS = 1.0


class LiveKitProvider(Provider):
    """One connection to one LiveKit room, on the event loop that runs `connect`."""

    def __init__(
        self, *, url: str, token: str, e2ee_key: bytes | None = None, sdk_path: str = "auto"
    ) -> None:
        self._url = url
        self._token = token
        self._who = joins.who_joins(url, token)
        self._key = e2ee_key
        self._sdk_path = sdk_path
        self._path: MediaPath | None = None
        self._options = SessionOptions()
        self._calls = Calls()
        self._joining = Calls()  # apart: it must not be cancelled, see `joins`
        self._room: rtc.Room | None = None
        self._roster: Roster | None = None
        self._line: Line | None = None
        self._publications: Publications | None = None
        self._outbox: Outbox | None = None
        self._ending: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def failures(self) -> int:
        """How often an event of the room was not handled, or a track was given up. For tests."""
        return self._roster.failures if self._roster is not None else 0

    async def connect(self, sink: Sink, options: SessionOptions) -> Joined:
        self._check_open()
        if self._room is not None:
            raise RoomError("livekit: this connection was used once; open another")
        scrub_logs()
        self._options = options
        self._line = line = Line()
        path = self._path = open_path(self._sdk_path)
        self._room = room = rtc.Room()
        self._roster = roster = Roster(room, sink, options, path)
        self._publications = Publications(room, line, self._calls, options, path)
        self._outbox = Outbox(
            room,
            line,
            self._calls,
            options.connect_timeout,
            lambda why: self._give_up(sink, roster, why),
        )
        roster.on("reconnecting", self._on_reconnecting)
        roster.on("reconnected", self._on_reconnected)
        roster.on("participant_permissions_changed", self._on_permissions)
        roster.on("disconnected", lambda code: self._begin_to_end(sink, *end_of_room(code)))
        try:
            left = await joins.turn(self._who, options.connect_timeout)
            self._check_open()
            # It begins after `run` has, which does not wait before its request is under way.
            joins.carry_on(self._who, self._joining.answered())
            joined = await self._joining.run(
                self._join(room, roster),
                left,
                gone=self._line.gone,
                undo=lambda _: room.disconnect(),
            )
            self._check_open()
            return joined
        except BaseException as error:
            roster.close()
            self._line.end()
            path.close()
            raised = _join_failure(error, options.connect_timeout)
            if raised is None:
                raise
            raise raised from None

    async def publish(self, track: OutgoingTrack) -> Playout:
        self._joined()
        assert self._publications is not None
        return await self._publications.publish(track)

    async def send_data(self, frame: DataFrame) -> None:
        self._joined()
        assert self._outbox is not None
        await self._outbox.send(frame)

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _join(self, room: rtc.Room, roster: Roster) -> Joined:
        """From the SDK's answer on without a pause, so that CONNECTED comes before all else."""
        encryption = None
        if self._key is not None:
            keys = rtc.KeyProviderOptions(shared_key=self._key)
            encryption = rtc.E2EEOptions(key_provider_options=keys)
        options = rtc.RoomOptions(
            auto_subscribe=False,
            encryption=encryption,
            connect_timeout=self._options.connect_timeout,
            # With one for both directions, the SDK makes every inbound video anew when one of ours
            # is published, and WebRTC may leave some without anybody to give its pictures to.
            single_peer_connection=Kind.VIDEO not in self._options.kinds,
        )
        _take_no_streams(options)
        await attempts.connect(room, self._url, self._token, options, lambda: not roster.closed)
        local = room.local_participant
        if self._line is not None:
            self._line.set(True)
        if not roster.closed:
            # The SDK has a "connected" event that it never emits.
            roster.tell(EventKind.CONNECTED)
            roster.sync()
        return Joined(room=room.name, identity=local.identity, sid=local.sid)

    def _check_open(self) -> None:
        if self._closing is not None:
            raise ClosedError("livekit: transport is closed")

    def _joined(self) -> tuple[rtc.Room, Line]:
        self._check_open()
        if self._room is None or self._line is None:
            raise RoomError("livekit: not connected", reason="disconnected")
        self._line.check()
        return self._room, self._line

    def _on_reconnecting(self) -> None:
        if self._line is not None and self._roster is not None:
            self._line.set(False)
            self._roster.lost()

    def _on_reconnected(self) -> None:
        if self._line is not None and self._roster is not None:
            self._line.set(True)
            self._roster.back()
        if self._publications is not None:
            self._publications.reconnected()

    def _on_permissions(self, participant: rtc.Participant, _: object) -> None:
        if self._room is None or participant is not self._room.local_participant:
            return
        if self._publications is not None and self._roster is not None:
            self._publications.rights_changed()
            self._roster.rights_changed()

    def _give_up(self, sink: Sink, roster: Roster, why: str) -> None:
        """The connection takes no message any more, and does not tell that it is lost."""
        _log.warning("%s", AT_RISK)
        roster.tell(EventKind.DATA_FAILED, reason=AT_RISK)  # after the end nobody hears it
        self._begin_to_end(sink, "disconnected", f"livekit: {why}")

    def _begin_to_end(self, sink: Sink, reason: str, error: str) -> None:
        if self._closing is None and self._ending is None:
            self._ending = asyncio.create_task(self._end(sink, reason, error))

    async def _end(self, sink: Sink, reason: str, error: str) -> None:
        """The room ended by itself: what came in goes on to its readers, then they are told."""
        line, roster = self._line, self._roster
        if line is None or roster is None:
            return
        line.end()
        await roster.end_tracks(reason)  # a close may overtake it
        roster.close()
        if self._closing is None:
            sink.ended(reason, error=error)

    async def _close(self) -> None:
        timeout = self._options.close_timeout
        try:
            async with asyncio.timeout(timeout):
                await self._leave()
        except TimeoutError:
            _log.warning("livekit: leaving the room took longer than %s s", timeout)
        if self._roster is not None:
            self._roster.close()
        await self._calls.settle(SETTLE_SECONDS)
        room, self._room, self._roster = self._room, None, None
        self._publications = self._outbox = None
        if self._path is not None:
            self._path.close()
        if room is None:
            return
        if await self._joining.answered(SETTLE_SECONDS):
            await _part(room)
        else:
            joins.carry_on(self._who, self._part_when_joined(room))

    async def _part_when_joined(self, room: rtc.Room) -> None:
        try:
            await self._joining.answered()
            await _part(room)
        finally:
            _stop_listening(room)  # also if the loop ends first

    async def _leave(self) -> None:
        if self._line is not None:
            self._line.end()
        if self._outbox is not None:
            self._outbox.close()
        if self._ending is not None:
            await asyncio.wait({self._ending})
        # Before the room goes: the native library logs an error for a capture that it cuts off.
        if self._publications is not None:
            await self._publications.close()
        if self._roster is not None:
            await self._roster.end_tracks("closed")
            self._roster.close()
        if self._room is not None and self._room.isconnected():
            await self._room.disconnect()


def _take_no_streams(options: rtc.RoomOptions) -> None:
    """Text and byte streams are read by nobody here, but the SDK keeps each until it ends, which
    its sender may never do: with a limit it ends them itself. Since livekit 1.2."""
    limits = getattr(sdk_room, "DataStreamOptions", None)
    if limits is not None:
        options.data_stream = limits(max_payload_byte_length=1)


async def _part(room: rtc.Room) -> None:
    """Leave for good, also a room that was joined while it was being closed."""
    if room.isconnected():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await room.disconnect()
    _stop_listening(room)


def _join_failure(error: BaseException, timeout: float) -> RoomError | None:
    if isinstance(error, ConnectError):
        return connect_error(error)
    if isinstance(error, TimeoutError):
        return RoomError(f"livekit: joining took longer than {timeout} s", reason="timeout")
    if isinstance(error, ConnectionError):
        return RoomError("livekit: the room ended while joining", reason="disconnected")
    if isinstance(error, Exception) and not isinstance(error, RingroomError):
        # Whatever the SDK raises beside its own errors may quote what it was given.
        return RoomError(f"livekit: joining failed: {type(error).__name__}: {scrub(str(error))}")
    return None


def _stop_listening(room: rtc.Room) -> None:
    """The SDK's task for room events ends with the room; if the room did not leave in time, the
    task would outlive it. And its subscription to native events, once a connect is cancelled,
    outlives everything (livekit 1.1.21). Private to the SDK, so only if it is there."""
    listening = getattr(room, "_task", None)
    if isinstance(listening, asyncio.Task) and not listening.done():
        listening.cancel()
    subscription = getattr(room, "_ffi_queue", None)
    client = getattr(sys.modules.get("livekit.rtc._ffi_client"), "FfiClient", None)
    if subscription is not None and client is not None:
        client.instance.queue.unsubscribe(subscription)
