"""The SDK's room and what is in it, as far as a connection sees them, and a sink with a memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from livekit import rtc
from livekit.rtc._proto import stats_pb2 as proto_stats

import native_kit  # noqa: F401  (the native library's threads are no test's)
from ringroom.events import Event, EventKind, Kind
from ringroom.frames import DataFrame
from ringroom.options import PublishOptions
from ringroom.providers.livekit.connection import LiveKitProvider
from ringroom.providers.provider import OutgoingTrack

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhcHAifQ.c2lnbmF0dXJl"
VOICE = OutgoingTrack(
    name="answer", kind=Kind.AUDIO, options=PublishOptions(), sample_rate=16_000, channels=1
)


class Publication(SimpleNamespace):
    __hash__ = object.__hash__

    def __init__(self, sid: str, kind: int = 1, **fields: Any) -> None:
        defaults = {
            "name": "voice",
            "source": 2,
            "muted": False,
            "subscribed": False,
            "track": None,
            "simulcasted": False,
        }
        super().__init__(sid=sid, kind=kind, asked=0, layers=[], **{**defaults, **fields})

    def set_subscribed(self, subscribed: bool) -> None:
        self.asked += 1

    def set_video_quality(self, quality: int) -> None:
        self.layers.append(quality)


def someone(identity: str, *publications: Publication, kind: int = 0) -> Any:
    return SimpleNamespace(
        identity=identity,
        sid="PA",
        name=identity.title(),
        metadata="",
        attributes={},
        kind=kind,
        disconnect_reason=None,
        track_publications={p.sid: p for p in publications},
    )


class Track:
    """A local track, as far as it is muted: by what it was told, in order."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.said: list[bool] = []

    def mute(self) -> None:
        self.said.append(True)

    def unmute(self) -> None:
        self.said.append(False)


class Writer:
    """The SDK's writer of a text, which closes once."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._closed = False

    async def write(self, text: str) -> None:
        assert not self._closed
        await self._local.publish_data(text.encode())

    async def aclose(self, *, reason: str = "", attributes: dict[str, str] | None = None) -> None:
        if self._closed:
            raise RuntimeError("Stream already closed")
        self._closed = True
        last = {"attributes": attributes} if attributes else {}
        await self._local.publish_data(b"", closed=reason, **last)


class RemoteData:
    """A data track of somebody's."""

    def __init__(self, sid: str, who: str = "ann", name: str = "lidar") -> None:
        self.info = SimpleNamespace(sid=sid, name=name, uses_e2ee=False)
        self.publisher_identity = who
        self.alive = True
        self.asked = 0

    def is_published(self) -> bool:
        self.asked += 1
        return self.alive


class LocalData:
    """A data track of ours, into which frames are pushed while there is room."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pushed: list[tuple[bytes, int | None]] = []
        self.refused = 0
        self.full = False
        self.alive = True
        self.unpublished = 0

    def try_push(self, frame: Any) -> None:
        if self.full or not self.alive:
            self.refused += 1
            raise rtc.PushFrameError("queue full" if self.alive else "track unpublished")
        self.pushed.append((frame.payload, frame.user_timestamp))

    def is_published(self) -> bool:
        return self.alive

    async def unpublish(self) -> None:
        self.alive = False
        self.unpublished += 1


class Local(SimpleNamespace):
    def __init__(self) -> None:
        allowed = SimpleNamespace(
            can_publish=True,
            can_subscribe=True,
            can_publish_data=True,
            can_publish_sources=[],
            can_update_metadata=True,
        )
        super().__init__(
            identity="app", sid="PA_app", kind=0, permissions=allowed, log=[], published=[]
        )
        self.name, self.metadata, self.attributes = "", "", {}
        self.answer: Callable[[], Any] = lambda: Publication("TR_own", name="answer")
        self.wait: asyncio.Future[None] | None = None
        self.unanswered: asyncio.Future[None] | None = None
        self.methods: dict[str, Any] = {}
        self.track_publications: dict[str, Publication] = {}
        self.permitted: list[tuple[bool, list[Any]]] = []
        self.data_tracks: list[LocalData] = []
        self.data_answer: Callable[[], Any] = lambda: None

    async def publish_data_track(self, *, name: str) -> LocalData:
        if self.wait is not None:
            await self.wait
        self.data_answer()
        self.data_tracks.append(LocalData(name))
        return self.data_tracks[-1]

    def set_track_subscription_permissions(
        self, *, allow_all_participants: bool, participant_permissions: list[Any]
    ) -> None:
        self.permitted.append((allow_all_participants, participant_permissions))

    async def set_name(self, name: str) -> None:
        await self._set("name", name)

    async def set_metadata(self, metadata: str) -> None:
        await self._set("metadata", metadata)

    async def set_attributes(self, attributes: dict[str, str]) -> None:
        await self._set("attributes", attributes)

    async def _set(self, what: str, value: Any) -> None:
        self.log.append((what, value))
        if self.unanswered is not None:
            await self.unanswered

    def register_rpc_method(self, name: str, handler: Any) -> None:
        self.methods[name] = handler

    async def perform_rpc(self, **fields: Any) -> str:
        self.log.append(fields)
        if self.unanswered is not None:
            await self.unanswered
        return str(self.answer())

    async def publish_track(self, track: Any, options: Any) -> Any:
        if self.wait is not None:
            await self.wait
        self.log.append("published")
        self.published.append(publication := self.answer())
        publication.muted = track.said == [True]
        if publication.track is None:
            publication.track = track
        return publication

    async def unpublish_track(self, sid: str) -> None:
        self.log.append(f"unpublished {sid}")

    async def send_text(self, text: str, **fields: Any) -> None:
        await self.publish_data(text.encode(), **fields)

    async def stream_text(self, **fields: Any) -> Writer:
        await self.publish_data(b"", **fields)
        return Writer(self)

    async def publish_dtmf(self, *, code: int, digit: str) -> None:
        await self.publish_data(digit.encode(), code=code)

    async def stream_bytes(self, name: str, **fields: Any) -> FileWriter:
        await self.publish_data(name.encode(), **fields)
        return FileWriter(self)

    async def publish_data(self, payload: bytes, **fields: Any) -> None:
        self.log.append((payload, fields))
        if self.unanswered is not None:
            await self.unanswered
        self.answer()


class FileWriter:
    """The SDK's, of a file of ours."""

    def __init__(self, local: Local) -> None:
        self._local = local

    async def write(self, data: bytes) -> None:
        await self._local.publish_data(data)

    async def aclose(self, *, reason: str = "") -> None:
        self._local.log.append(f"closed: {reason}")


class Room:
    """The SDK's room: an emitter, and a connect that a cancellation does not stop."""

    name = "voice-room"
    metadata = ""
    known_sid: str | None = "RM_1"
    """None: it has not come yet."""

    def __init__(self) -> None:
        self.handlers: dict[str, list[Any]] = {}
        self.text_handlers: dict[str, Any] = {}
        self.byte_handlers: dict[str, Any] = {}
        self.local_participant = Local()
        self.remote_participants: dict[str, Any] = {}
        self.failure: Exception | None = None
        self.wait: asyncio.Future[None] | None = None
        self.connected: Any = None
        self.alive = False
        self.disconnects = 0
        self.asked = 0
        self.panics = 0
        self.certificate = "CF1"
        """That of the connection, which another has when we join anew."""

    def on(self, name: str, handler: Any) -> None:
        self.handlers.setdefault(name, []).append(handler)

    def register_text_stream_handler(self, topic: str, handler: Any) -> None:
        self.text_handlers[topic] = handler

    def register_byte_stream_handler(self, topic: str, handler: Any) -> None:
        self.byte_handlers[topic] = handler

    def emit(self, name: str, *arguments: Any) -> None:
        for handler in self.handlers[name]:
            handler(*arguments)

    @property
    async def sid(self) -> str:
        if self.known_sid is None:
            await asyncio.get_running_loop().create_future()
        return str(self.known_sid)

    async def connect(self, url: str, token: str, options: Any) -> None:
        self.asked += 1
        try:
            if self.wait is not None:
                await self.wait
        except asyncio.CancelledError:
            self.panics += 1  # the native side: SIGTERM to the whole process, 15 s later
            raise
        if self.failure is not None:
            raise self.failure
        self.connected = (url, token, options)
        self.alive = True

    async def get_rtc_stats(self) -> Any:
        stats = proto_stats.RtcStats()
        stats.transport.transport.local_certificate_id = self.certificate
        return SimpleNamespace(publisher_stats=[proto_stats.RtcStats(), stats])

    def isconnected(self) -> bool:
        return self.alive

    async def disconnect(self) -> None:
        self.disconnects += 1
        if self.alive:
            self.alive = False
            self.emit("disconnected", rtc.DisconnectReason.CLIENT_INITIATED)


class Sink:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.messages: list[DataFrame] = []
        self.log: list[Any] = []
        self.wanted = True

    def wants(self, track: Any, participant: Any) -> bool:
        return self.wanted

    def open_track(self, track: Any, participant: Any) -> Any:
        raise NotImplementedError

    def data(self, frame: DataFrame) -> None:
        self.messages.append(frame)

    def event(self, event: Event) -> None:
        self.events.append(event)

    def ended(self, reason: str, *, error: str = "") -> None:
        self.log.append(("ended", reason, error))

    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events]


class Ingest:
    """Stands in for the reading of a track: it ends when it is told to."""

    made: list[Ingest] = []  # noqa: RUF012

    def __init__(self, sink: Sink, track: Any, participant: Any, path: Any) -> None:
        self.sink, self.track, self.participant = sink, track, participant
        self.muted: Any = None
        self.after: Any = None
        self.over = asyncio.get_running_loop().create_future()
        self.made.append(self)

    def start(self, remote: Any, options: Any, after: Any = None) -> asyncio.Task[None]:
        self.after = after
        return asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        await self.over

    def mute(self, muted: bool) -> None:
        self.muted = muted

    async def end(self, reason: str) -> None:
        await asyncio.sleep(0)
        if not self.over.done():
            self.sink.log.append((self.track.sid, reason))
            self.over.set_result(None)


class Source:
    def __init__(self, *arguments: Any, **fields: Any) -> None:
        self.arguments = arguments

    def clear_queue(self) -> None: ...

    async def aclose(self) -> None: ...


def provider() -> LiveKitProvider:
    return LiveKitProvider(url="ws://host", token=TOKEN, e2ee_key=b"key")


async def turns(count: int = 12) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run(scenario: Any) -> None:
    async def alone() -> None:
        await scenario
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    asyncio.run(alone())


def raising(error: Exception) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer
