"""The connection to a LiveKit room: joins, publishes, sends, leaves.

Owns the SDK's room and everything that is published in it. All of the SDK's exceptions end here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Coroutine, Iterable

from livekit import rtc
from livekit.rtc import room as sdk_room
from livekit.rtc.participant import PublishDataError, PublishTrackError, UnpublishTrackError
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
    publish_options,
    refusal,
    scrub,
    scrub_logs,
    source_name,
    unanswered,
)
from ringroom.providers.livekit.media import MediaPath
from ringroom.providers.livekit.paths import open_path
from ringroom.providers.livekit.pictures import VideoPlayout
from ringroom.providers.livekit.playout import AudioPlayout, Unpublish, queue_size_ms
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
        self._playouts: dict[rtc.LocalTrackPublication, AudioPlayout | VideoPlayout] = {}
        self._taken: set[rtc.LocalTrackPublication] = set()
        """Those that the server has ended, and that are not closed yet."""
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
        self._line = Line()
        path = self._path = open_path(self._sdk_path)
        self._room = room = rtc.Room()
        self._roster = roster = Roster(room, sink, options, path)
        roster.on("reconnecting", self._on_reconnecting)
        roster.on("reconnected", self._on_reconnected)
        roster.on("participant_permissions_changed", self._on_permissions)
        roster.on("disconnected", lambda reason: self._on_disconnected(reason, sink))
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
        room, line = self._joined()
        source, publication = await self._publish(room, line, track)
        playout: AudioPlayout | VideoPlayout
        if isinstance(source, rtc.AudioSource):
            if track.channels == 2:
                # rust-sdks #1018: it never tells the server that a track is stereo.
                _log.warning("track %r: the SDK sends the mean of both sides", track.name)
            audience = publication.wait_for_subscription if room.remote_participants else None
            unpublish = self._unpublisher(publication)
            assert self._path is not None
            sound = self._path.source(source)
            playout = AudioPlayout(track, sound, line, unpublish, audience)
        else:
            playout = VideoPlayout(track, source, line, self._unpublisher(publication))
        self._playouts[publication] = playout
        if why := refusal(track, room.local_participant.permissions):
            # It was taken away before anybody could be told.
            await playout.close()
            raise _publish_refused(track, why)
        return playout

    async def _publish(
        self, room: rtc.Room, line: Line, track: OutgoingTrack
    ) -> tuple[rtc.AudioSource | rtc.VideoSource, rtc.LocalTrackPublication]:
        """While the connection is lost nobody can refuse a track: it is asked for when it is back,
        and again if it was lost meanwhile."""
        while True:
            await line.up()
            if why := refusal(track, room.local_participant.permissions):
                raise _publish_refused(track, why)
            losses = line.losses
            source, local = _source_and_track(track)
            try:
                return source, await self._calls.run(
                    room.local_participant.publish_track(local, publish_options(track)),
                    self._options.connect_timeout,
                    gone=line.gone,
                    undo=lambda late: _unpublish(room, line, late),
                )
            except ConnectionError:
                await source.aclose()
                line.check()
                raise
            except (PublishTrackError, TimeoutError) as error:
                await source.aclose()
                lost = line.losses != losses or (
                    unanswered(error) and await line.lost_since(losses)
                )
                line.check()
                if not lost:
                    # The server's own refusal, for want of a right, the SDK does not pass on.
                    why = refusal(track, room.local_participant.permissions)
                    raise _publish_refused(track, why or _no_answer(error)) from None

    async def send_data(self, frame: DataFrame) -> None:
        room, line = self._joined()
        await line.up()
        losses = line.losses
        if not room.local_participant.permissions.can_publish_data:
            # The server drops such a message without a word.
            raise _data_refused("data messages are not allowed (canPublishData)")
        sending = room.local_participant.publish_data(
            frame.payload,
            reliable=frame.reliable,
            destination_identities=list(frame.to),
            topic=frame.topic,
        )

        async def lost_meanwhile() -> bool:
            """The SDK has the message still, and sends it once the connection is back."""
            nonlocal losses
            lost = await line.lost_since(losses)
            losses = line.losses
            return lost

        timeout = self._options.connect_timeout
        try:
            await self._calls.run(sending, timeout, gone=line.gone, excused=lost_meanwhile)
        except PublishDataError as error:
            raise _data_refused(scrub(error.message)) from None
        except TimeoutError:
            raise _data_refused("the message was not taken in time") from None
        except ConnectionError:
            line.check()
            raise

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

    def _unpublisher(self, publication: rtc.LocalTrackPublication) -> Unpublish:
        async def unpublish() -> None:
            self._playouts.pop(publication, None)
            if publication in self._taken:
                self._taken.discard(publication)  # it is asked for already
            else:
                await self._take_back(publication)

        return unpublish

    async def _take_back(self, publication: rtc.LocalTrackPublication) -> None:
        if self._closing is not None or self._room is None or self._line is None:
            return
        line, losses = self._line, self._line.losses
        if line.gone.done():
            return
        request = _unpublish(self._room, line, publication)
        try:
            await self._calls.run(request, self._options.close_timeout, gone=line.gone)
        except (ConnectionError, RoomError):
            return  # it went with the room
        except (UnpublishTrackError, TimeoutError) as error:
            if line.lost or line.losses != losses:
                return  # it is carried on
            _log.warning("livekit: track %r was not unpublished: %s", publication.name, error)

    def _on_reconnecting(self) -> None:
        if self._line is not None and self._roster is not None:
            self._line.set(False)
            self._roster.tell(EventKind.CONNECTION_LOST)

    def _on_reconnected(self) -> None:
        if self._line is not None and self._roster is not None:
            self._line.set(True)
            self._roster.tell(EventKind.CONNECTION_BACK)
            self._roster.sync()

    def _on_permissions(self, participant: rtc.Participant, permissions: object) -> None:
        """The server ends the tracks that we may not have any more, and tells nothing else."""
        if self._room is None or participant is not self._room.local_participant:
            return
        for publication, playout in self._playouts.items():
            why = refusal(playout.track, permissions)
            if why and publication not in self._taken:
                self._taken.add(publication)
                playout.take_away(why)
                # The SDK has it still: after a loss it would publish it again, or be back only once
                # nobody has answered that, 10 s later.
                self._calls.begin(self._take_back(publication))
        if self._roster is not None:
            self._roster.rights_changed()

    def _on_disconnected(self, code: int, sink: Sink) -> None:
        if self._closing is None and self._ending is None:
            self._ending = asyncio.create_task(self._end(code, sink))

    async def _end(self, code: int, sink: Sink) -> None:
        """The room ended by itself: what came in goes on to its readers, then they are told."""
        line, roster = self._line, self._roster
        if line is None or roster is None:
            return
        line.end()
        reason, error = end_of_room(code)
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
        if self._ending is not None:
            await asyncio.wait({self._ending})
        # Before the room goes: the native library logs an error for a capture that it cuts off.
        await _all(playout.close() for playout in list(self._playouts.values()))
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


async def _unpublish(room: rtc.Room, line: Line, publication: rtc.LocalTrackPublication) -> None:
    """Once the connection is up. What is asked while it is lost, the SDK never answers, and it may
    publish the track again all the same, under the new sid that its publication has then.

    Raises `RoomError` if the connection does not come back.
    """
    await line.up()
    await room.local_participant.unpublish_track(publication.sid)


async def _part(room: rtc.Room) -> None:
    """Leave for good, also a room that was joined while it was being closed."""
    if room.isconnected():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await room.disconnect()
    _stop_listening(room)


async def _all(closings: Iterable[Coroutine[object, object, None]]) -> None:
    for result in await asyncio.gather(*closings, return_exceptions=True):
        if isinstance(result, BaseException):
            _log.warning("livekit: a track did not close: %s", result)


def _source_and_track(
    track: OutgoingTrack,
) -> tuple[rtc.AudioSource | rtc.VideoSource, rtc.LocalTrack]:
    if track.kind is Kind.AUDIO:
        sound = rtc.AudioSource(
            track.sample_rate, track.channels, queue_size_ms(track.options.queue_ms)
        )
        return sound, rtc.LocalAudioTrack.create_audio_track(track.name, sound)
    screen = source_name(track) == "screen_share"
    pictures = rtc.VideoSource(track.width, track.height, is_screencast=screen)
    return pictures, rtc.LocalVideoTrack.create_video_track(track.name, pictures)


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


def _no_answer(error: PublishTrackError | TimeoutError) -> str:
    return (
        scrub(error.message)
        if isinstance(error, PublishTrackError)
        else "the server did not answer"
    )


def _publish_refused(track: OutgoingTrack, why: str) -> RoomError:
    return RoomError(
        f"livekit: track {track.name!r} was not published: {why}", reason="publish_refused"
    )


def _data_refused(why: str) -> RoomError:
    return RoomError(f"livekit: the data message was not sent: {why}", reason="data_refused")


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
