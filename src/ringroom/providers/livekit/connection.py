"""The connection to a LiveKit room: joins, publishes, sends, leaves.

Owns the SDK's room and all that goes with it (`_Opened`): what we publish there is in
`publications`, who else is there in `roster`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import dataclass
from functools import partial

from livekit import rtc
from livekit.rtc import room as sdk_room
from livekit.rtc.room import ConnectError

from ringroom.checks import MAX_FILE_BYTES, MAX_TEXT_BYTES
from ringroom.dtmf import DtmfFrame
from ringroom.errors import ClosedError, RingroomError, RoomError
from ringroom.events import EventKind, Kind
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.options import SessionOptions
from ringroom.providers.livekit import attempts, joins
from ringroom.providers.livekit.calls import Calls
from ringroom.providers.livekit.conditions import Conditions
from ringroom.providers.livekit.data_playout import DataPublications
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.mapping import (
    connect_error,
    end_of_room,
    scrub,
    scrub_logs,
    scrubbed,
    track_of,
)
from ringroom.providers.livekit.media import MediaPath
from ringroom.providers.livekit.outbox import AT_RISK, Outbox
from ringroom.providers.livekit.own_profile import EVENTS, OwnProfile
from ringroom.providers.livekit.paths import open_path
from ringroom.providers.livekit.permissions import Permissions
from ringroom.providers.livekit.publications import Publications
from ringroom.providers.livekit.roster import Roster
from ringroom.providers.livekit.rpc import STREAMED_CALL_BYTES, Rpc
from ringroom.providers.livekit.streams import FILES, TEXTS, StreamKind, Streams
from ringroom.providers.provider import (
    Joined,
    OutgoingTrack,
    Playout,
    Profile,
    Provider,
    Sink,
    Subscribers,
    TextWriter,
)
from ringroom.rpc import MAX_CALL_BYTES

__all__ = ["LiveKitProvider"]

_log = logging.getLogger("ringroom.livekit")

# What a close waits, beyond the leaving itself, for requests that are under way.
SETTLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """The SDK's room, and who sees to what in it; from `connect` to the end of `close`."""

    room: rtc.Room
    path: MediaPath
    line: Line
    roster: Roster
    conditions: Conditions
    texts: Streams
    files: Streams
    publications: Publications
    data_tracks: DataPublications
    outbox: Outbox
    profile: OwnProfile
    permissions: Permissions
    rpc: Rpc

    def reconnecting(self) -> None:
        self.line.set(False)
        self.roster.lost()

    def reconnected(self) -> None:
        self.line.set(True)
        self.permissions.reconnected()
        self.roster.back()
        self.conditions.look()
        self.publications.reconnected()
        self.outbox.joined()

    def rights_changed(self, participant: rtc.Participant, _: object) -> None:
        if participant is self.room.local_participant:
            self.publications.rights_changed()
            self.data_tracks.rights_changed()
            self.roster.rights_changed()

    def own_muted(
        self, muted: bool, participant: rtc.Participant, publication: rtc.TrackPublication
    ) -> None:
        if participant is self.room.local_participant:
            kind = self.publications.told_muted(publication, muted)
            if kind is not None:
                self.roster.tell(kind, track=track_of(publication, participant.identity))

    async def end_streams(self, reason: str) -> None:
        await self.texts.end(reason)
        await self.files.end(reason)

    async def leave(self, ending: asyncio.Task[None] | None) -> None:
        """In order; not before what tells of the room's own ``ending`` is done."""
        await self.outbox.give_up()
        self.line.end()
        self.outbox.close()
        if ending is not None:
            await asyncio.wait({ending})
        # Before the room goes: the native library logs an error for a capture that it cuts off.
        await self.data_tracks.close()
        await self.publications.close()
        await self.end_streams("")
        await self.roster.end_tracks("closed")
        self.roster.close()
        if self.room.isconnected():
            await self.rpc.answers_out()
            await self.room.disconnect()


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
        self._options = SessionOptions()
        self._calls = Calls()
        self._joining = Calls()  # apart: it must not be cancelled, see `joins`
        self._opened: _Opened | None = None
        self._ending: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def connect(self, sink: Sink, options: SessionOptions) -> Joined:
        self._check_open()
        if self._opened is not None:
            raise RoomError("livekit: this connection was used once; open another")
        scrub_logs()
        self._options = options
        opened = self._opened = self._open(sink)
        try:
            left = await joins.turn(self._who, options.connect_timeout)
            self._check_open()
            # It begins after `run` has, which does not wait before its request is under way.
            joins.carry_on(self._who, self._joining.answered())
            joined = await self._joining.run(
                self._join(opened),
                left,
                gone=opened.line.gone,
                undo=lambda _: opened.room.disconnect(),
            )
            self._check_open()
            return joined
        except BaseException as error:
            opened.roster.close()
            opened.line.end()
            opened.path.close()
            raised = _join_failure(error, options.connect_timeout)
            if raised is None:
                raise
            raise raised from None

    def _open(self, sink: Sink) -> _Opened:
        """All that goes with a room, which is joined later."""
        options, calls, line, room = self._options, self._calls, Line(), rtc.Room()
        path = open_path(self._sdk_path)
        roster = Roster(room, sink, options, path)

        def streams(kind: StreamKind, failed: EventKind) -> Streams:
            return Streams(
                kind,
                roster.guarded(kind.noun, sink.data),
                roster.guarded(kind.noun, partial(roster.stream_failed, failed)),
                lambda sender: sender in room.remote_participants,
                path.fill,
            )

        texts, files = streams(TEXTS, EventKind.TEXT_FAILED), streams(FILES, EventKind.FILE_FAILED)
        texts.listen(room.register_text_stream_handler, options.text_topics)
        files.listen(room.register_byte_stream_handler, options.file_topics)

        def give_up(why: str) -> None:
            """The connection takes no message any more, and does not tell that it is lost."""
            _log.warning("%s", AT_RISK)
            roster.tell(EventKind.DATA_FAILED, reason=AT_RISK)  # after the end nobody hears it
            self._begin_to_end(sink, "disconnected", f"livekit: {why}")

        opened = _Opened(
            room=room,
            path=path,
            line=line,
            roster=roster,
            conditions=Conditions(room, roster),
            texts=texts,
            files=files,
            publications=Publications(room, line, calls, options, path),
            data_tracks=DataPublications(room, line, calls, options),
            outbox=Outbox(room, line, calls, options.connect_timeout, give_up),
            profile=OwnProfile(room, line, options.connect_timeout),
            permissions=Permissions(room, roster),
            rpc=Rpc(room, sink, line),
        )
        roster.on("reconnecting", opened.reconnecting)
        roster.on("reconnected", opened.reconnected)
        roster.on("participant_permissions_changed", opened.rights_changed)
        roster.on("track_muted", partial(opened.own_muted, True))
        roster.on("track_unmuted", partial(opened.own_muted, False))
        for event in EVENTS:
            roster.on(event, lambda *_: opened.profile.changed())
        roster.on("disconnected", lambda code: self._begin_to_end(sink, *end_of_room(code)))
        return opened

    async def publish(self, track: OutgoingTrack) -> Playout:
        opened = self._joined()
        if track.kind is Kind.DATA_TRACK:
            return await opened.data_tracks.publish(track)
        playout = await opened.publications.publish(track)
        opened.permissions.look()
        return playout

    async def send_data(self, frame: DataFrame) -> None:
        await self._joined().outbox.send(frame)

    async def send_text(self, frame: TextFrame) -> None:
        await self._joined().outbox.send(frame)

    async def open_text(self, beginning: TextFrame) -> TextWriter:
        return await self._joined().outbox.open_text(beginning)

    async def send_dtmf(self, frame: DtmfFrame) -> None:
        await self._joined().outbox.send(frame)

    async def send_file(self, frame: FileFrame) -> None:
        await self._joined().outbox.send(frame)

    async def set_profile(self, change: Profile) -> None:
        await self._joined().profile.set(change)

    def allow_subscribers(self, allowed: Subscribers) -> None:
        self._joined().permissions.set(allowed)

    async def call(self, to: str, method: str, payload: str, seconds: float) -> str:
        return await self._joined().rpc.call(to, method, payload, seconds)

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _join(self, opened: _Opened) -> Joined:
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
        _bound_streams(options, _longest_stream(self._options))
        room, roster = opened.room, opened.roster
        await attempts.connect(room, self._url, self._token, options, lambda: not roster.closed)
        opened.rpc.listen(self._options.rpc_methods)
        local = room.local_participant
        opened.line.set(True)
        opened.outbox.joined()
        if not roster.closed:
            opened.conditions.joined()
            roster.sync()
        return Joined(room=room.name, identity=local.identity, sid=local.sid)

    def _check_open(self) -> None:
        if self._closing is not None:
            raise ClosedError("livekit: transport is closed")

    def _joined(self) -> _Opened:
        self._check_open()
        if self._opened is None:
            raise RoomError("livekit: not connected", reason="disconnected")
        self._opened.line.check()
        return self._opened

    def _begin_to_end(self, sink: Sink, reason: str, error: str) -> None:
        if self._closing is None and self._ending is None:
            self._ending = asyncio.create_task(self._end(sink, reason, error))

    async def _end(self, sink: Sink, reason: str, error: str) -> None:
        """The room ended by itself: what came in goes on to its readers, then they are told."""
        opened = self._opened
        if opened is None:
            return
        opened.line.end()
        try:
            await opened.end_streams(reason)
            await opened.roster.end_tracks(reason)  # a close may overtake it
        except Exception as failed:  # noqa: BLE001  (else nobody would be told of the room's end)
            _log.error("livekit: what came in from a room did not end\n%s", scrubbed(failed))
        opened.roster.close()
        if self._closing is None:
            sink.ended(reason, error=error)

    async def _close(self) -> None:
        opened = self._opened
        if opened is None:
            await self._calls.settle(SETTLE_SECONDS)
            return
        try:
            await self._leave(opened)
        finally:
            self._opened = None
            opened.path.close()
            if await self._joining.answered(SETTLE_SECONDS):
                await _part(opened.room)
            else:
                joins.carry_on(self._who, self._part_when_joined(opened.room))

    async def _leave(self, opened: _Opened) -> None:
        """What goes wrong is logged: nobody can do more about it, and all is given back as ever."""
        timeout = self._options.close_timeout
        try:
            async with asyncio.timeout(timeout):
                await opened.leave(self._ending)
        except TimeoutError:
            _log.warning("livekit: leaving the room took longer than %s s", timeout)
        except Exception as error:  # noqa: BLE001  (whatever the SDK raises)
            _log.error("livekit: leaving the room failed\n%s", scrubbed(error))
        finally:
            opened.roster.close()
            await self._calls.settle(SETTLE_SECONDS)

    async def _part_when_joined(self, room: rtc.Room) -> None:
        try:
            await self._joining.answered()
            await _part(room)
        finally:
            _stop_listening(room)  # also if the loop ends first


def _longest_stream(options: SessionOptions) -> int:
    """What we read, and the answers to calls of ours, which travel as streams too."""
    if options.file_topics:
        return MAX_FILE_BYTES
    if options.text_topics:
        return MAX_TEXT_BYTES
    return STREAMED_CALL_BYTES if options.rpc_methods else MAX_CALL_BYTES


def _bound_streams(options: rtc.RoomOptions, most: int) -> None:
    """Of a text or byte stream, read here or not, the SDK keeps what has come until it ends, which
    its sender may never do: with a limit of bytes it ends them itself. Since livekit 1.2."""
    limits = getattr(sdk_room, "DataStreamOptions", None)
    if limits is not None:
        options.data_stream = limits(max_payload_byte_length=most)


async def _part(room: rtc.Room) -> None:
    """Leave for good, also a room that was joined while it was being closed."""
    try:
        if room.isconnected():
            async with asyncio.timeout(SETTLE_SECONDS):
                await room.disconnect()
    except TimeoutError:
        pass
    except Exception as error:  # noqa: BLE001  (whatever the SDK raises)
        _log.error("livekit: a room was not left\n%s", scrubbed(error))
    finally:
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
