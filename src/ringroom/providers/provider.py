"""The seam that makes the outside pluggable.

A `ProviderSpec` is what an application names: free of any SDK, checked when it is made, sent to
the I/O process. There it `open`s a `Provider`, which speaks to the outside on the I/O process's
asyncio loop: inbound it calls a `Sink`, outbound it is called.

All calls in both directions are made on that one loop's thread, but for `PromptSink.audio_at_once`.
The sink's methods never wait and never raise for load: what does not fit is dropped and counted
behind them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, runtime_checkable

from ringroom.dtmf import DtmfFrame
from ringroom.errors import RoomError
from ringroom.events import Event, Kind, Participant, TrackInfo
from ringroom.frames import DataFrame, FileFrame, MediaFrame, TextFrame
from ringroom.options import PublishOptions, SessionOptions
from ringroom.profile import Profile
from ringroom.subscribers import Subscribers

__all__ = [
    "Joined",
    "OutgoingTrack",
    "PatientSink",
    "Playout",
    "Profile",
    "PromptSink",
    "Provider",
    "ProviderSpec",
    "Sink",
    "Subscribers",
    "TextWriter",
    "TrackSink",
]


@dataclass(frozen=True, kw_only=True)
class Joined:
    """What a provider knows once it is connected."""

    room: str
    identity: str
    sid: str = ""


@dataclass(frozen=True, kw_only=True)
class OutgoingTrack:
    """A track that is to be published. Video tracks have a size, audio tracks a rate, data tracks
    nothing of the kind. ``muted``:
    the others are told so from the beginning, and nothing of it is heard or seen until
    `Playout.mute` says otherwise."""

    name: str
    kind: Kind
    options: PublishOptions
    sample_rate: int = 0
    channels: int = 0
    width: int = 0
    height: int = 0
    muted: bool = False


class TrackSink(Protocol):
    """Where the frames of one inbound track go. Calls after `close` are ignored."""

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        """Interleaved native int16 (any format of memoryview); copied before it returns."""

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        """A picture without padding, size (width, height); copied before it returns."""

    def reading(self, payload: memoryview, timestamp: int | None) -> None:
        """A frame of a data track, with its sender's time if it has one; copied before it
        returns."""

    def muted(self, muted: bool) -> None:
        """The publisher muted or unmuted the track."""

    def close(self, reason: str = "") -> None:
        """The track has ended; what was delivered before still reaches its reader."""


@runtime_checkable
class PromptSink(TrackSink, Protocol):
    """A track's sink that takes sound on other threads as well, for providers that get it there:
    waking the loop for a frame costs several times what passing the frame on costs. A provider with
    such threads asks with `isinstance` whether its sink is one; others never need it."""

    def audio_at_once(self, samples: memoryview, sample_rate: int, channels: int) -> bool:
        """As `audio`, on any thread. False: not taken, so it is to be given to `audio`, on the
        loop, before anything else of the track is given to either."""


class Sink(Protocol):
    """What a provider calls with what comes in."""

    def wants(self, track: TrackInfo, participant: Participant) -> bool:
        """Whether the track is to be subscribed. Ask before paying for a decoder."""

    def open_track(self, track: TrackInfo, participant: Participant) -> TrackSink:
        """A wanted track begins to flow."""

    def data(self, frame: DataFrame) -> None:
        """A message came in, or a whole text (a `TextFrame`) or file (a `FileFrame`), of which
        those pass whose topic is in ``text_topics`` or ``file_topics``, or a digit (a `DtmfFrame`),
        which passes where ``dtmf`` is set. Of a text or a file that broke off, or is none of ours,
        tell by `event` (``TEXT_FAILED`` or ``FILE_FAILED``, with the
        ``participant`` and the ``reason``): it is counted."""

    async def call(self, method: str, payload: str, participant: str, seconds: float) -> str:
        """Somebody calls one of ``rpc_methods``, and waits so many seconds; the answer. Raises the
        `RpcError` that they are to be told, and no other. May be cancelled when nobody waits any
        more. A provider whose spec says ``rpc`` calls it, on a task for each call."""

    def event(self, event: Event) -> None:
        """Anything of the room's life except what `TrackSink` and `ended` tell."""

    def ended(self, reason: str, *, error: str = "") -> None:
        """The room is over for us: by its own end (room closed, we were removed), or, when
        ``error`` is given, by a loss that did not heal. Called at most once, and never for a
        `Provider.close` of our own."""


@runtime_checkable
class PatientSink(Sink, Protocol):
    """A sink that a provider may wait for, if its source can be held back (a recording, say). Such
    a provider asks with `isinstance` whether its sink is one; others never need it."""

    def open_patient_track(self, track: TrackInfo, participant: Participant) -> TrackSink:
        """As `open_track`, but the track's reader is waited for: nothing is dropped for its age or
        for want of room, as long as `caught_up` is awaited after each call of the track."""

    async def caught_up(self) -> None:
        """Wait until all that was delivered, messages and events too, has room at its reader."""


class Playout(ABC):
    """One published track of ours. One caller at a time."""

    _on_ended: Callable[[RoomError], None] | None = None

    @abstractmethod
    async def play(self, frame: MediaFrame) -> None:
        """Take the frame; return once it is queued at the source. This is what paces a sender:
        audio waits while ``queue_ms`` of sound wait at the source, and a frame of a data track
        while the source takes none. Such a frame is cancelled once it is older than ``max_age``.
        The frame's memory may be reused after the return. Cancellation may leave the frame played
        or not, never half.

        Raises `RoomError` when the source refuses the frame for good; with the reason
        ``publish_refused`` when the track is published no more, and with ``disconnected`` when we
        are not in the room any more.
        """

    @abstractmethod
    def queued(self) -> float:
        """Seconds of sound at the source that are not yet played (0 for video and data)."""

    @abstractmethod
    def clear(self) -> float:
        """Throw away what is queued at the source; returns the seconds thrown away. A frame for
        which `play` waits is among them; one that `play` refused for the track or the room is gone.
        """

    def mute(self, muted: bool) -> None:
        """Mute or unmute the track: the others are told, as soon as the connection allows. From the
        moment at which it returns nothing of a muted track is heard or seen, also of what is queued
        at the source; `play` and `queued` go on as if it were heard. Also called while `play`
        waits. A provider whose spec says ``mutes`` has it."""
        raise RoomError(
            "not supported: mute and unmute (this provider mutes no tracks of ours)",
            reason="not_supported",
        )

    @abstractmethod
    async def close(self) -> None:
        """Unpublish. Idempotent. What is queued is thrown away; wait for `queued` first."""

    def on_ended(self, tell: Callable[[RoomError], None]) -> None:
        """Have ``tell`` called by `ended`."""
        self._on_ended = tell

    def ended(self, error: RoomError) -> None:
        """For a provider to call when it learns that others have ended the track's publication: the
        sender is told even if nothing is played just now. `play` raises the error too."""
        if self._on_ended is not None:
            self._on_ended(error)


class TextWriter(ABC):
    """A text of ours while it is being written. One caller at a time. It may go on in a connection
    that comes back, if the others have lost nothing of it; else it is over."""

    @abstractmethod
    async def write(self, text: str) -> None:
        """Add that to what the others have of it; return once the transport has it. Raises
        `RoomError` (``data_refused``; ``disconnected`` once the room is lost); the text is over
        then, and the others know that it is not whole, as far as they can be told."""

    @abstractmethod
    async def close(self, reason: str = "", attributes: Mapping[str, str] | None = None) -> None:
        """End it: it is whole, and these attributes are added to those that it began with, or
        replace them; with a reason (up to 256 bytes) it is not, and the others are told so. Raises
        as `write` does. Called once, and not after what has raised."""


class Provider(ABC):
    """One connection to one room."""

    @abstractmethod
    async def connect(self, sink: Sink, options: SessionOptions) -> Joined:
        """Join, and tell the sink who is there. Raises `RoomError` (reasons ``unauthorized``,
        ``unreachable``, ``timeout``)."""

    @abstractmethod
    async def publish(self, track: OutgoingTrack) -> Playout:
        """Publish a track. Raises `RoomError` (``publish_refused``; ``disconnected`` once the room
        is lost: it is tried again in the next)."""

    @abstractmethod
    async def send_data(self, frame: DataFrame) -> None:
        """Send a message; return once the transport has it. Raises `RoomError` (``data_refused``;
        ``disconnected`` once the room is lost: those that follow wait for the next)."""

    async def send_text(self, frame: TextFrame) -> None:
        """As `send_data`, of a text: the others receive it as a text, and by no handler of
        messages. A provider whose spec says ``texts`` has it."""
        raise RoomError(
            "not supported: send_text (this provider has no texts)", reason="data_refused"
        )

    async def open_text(self, beginning: TextFrame) -> TextWriter:
        """Begin a text that is still to be written: topic, ``to`` and attributes are there, the
        text is empty. The others see it grow, in order with what is sent by `send_data`. Several
        may be open. Raises as `send_data` does. A provider whose spec says ``text_streams`` has
        it."""
        raise RoomError(
            "not supported: open_text (this provider has no texts that are being written)",
            reason="data_refused",
        )

    async def send_dtmf(self, frame: DtmfFrame) -> None:
        """As `send_data`, of a digit, in order with messages. A provider whose spec says ``dtmf``
        has it."""
        raise RoomError(
            "not supported: send_dtmf (this provider has no DTMF)", reason="data_refused"
        )

    async def send_file(self, frame: FileFrame) -> None:
        """As `send_data`, of a file. It may take long, and is to let the loop do other things
        meanwhile. A provider whose spec says ``files`` has it."""
        raise RoomError(
            "not supported: send_file (this provider has no files)", reason="data_refused"
        )

    async def set_profile(self, change: Profile) -> None:
        """Have the others told so of us; return once the room has taken it. One call at a time;
        what was set is set again by a further call in each further room. Raises `RoomError`
        (``profile_refused``; ``disconnected`` once the room is lost). Need not be overridden."""
        raise RoomError(
            "not supported: set_profile (this provider changes nothing of what is told of us)",
            reason="not_supported",
        )

    def allow_subscribers(self, allowed: Subscribers) -> None:
        """From now on these may subscribe to our tracks, and nobody else: also to tracks that are
        published later, and once a connection that was lost is back. Called before anything is
        published, where it is not everybody, and at any time afterwards. A provider whose spec says
        ``subscribers`` has it."""
        raise RoomError(
            "not supported: allow_subscribers (with this provider everybody may subscribe)",
            reason="not_supported",
        )

    async def call(self, to: str, method: str, payload: str, seconds: float) -> str:
        """Call somebody's method, and return the answer. Several at a time; is cancelled when the
        seconds are over, of which the one who is called is to be told. Raises `RpcError` with the
        code of what went wrong, and `RoomError` (``disconnected``) once the room is lost. A
        provider whose spec says ``rpc`` has it."""
        raise RoomError("not supported: call (this provider has no calls)", reason="not_supported")

    @abstractmethod
    async def close(self) -> None:
        """Leave the room and free everything. Idempotent; the sink is not called afterwards."""


class ProviderSpec(ABC):
    """What names a provider and its options: a frozen dataclass, picklable, without secrets in
    its repr. Third parties register the class under the entry point group ``ringroom.providers``.
    """

    name: str
    """The name it is registered under, which opens its error messages."""
    preload: ClassVar[str] = ""
    """The module that `open` imports. A standby I/O process imports it ahead."""
    joins_anew: ClassVar[bool] = True
    """Whether a room that was lost (`Sink.ended` with an error) may be joined anew: the spec is
    opened again then, as `ringroom.Reconnect` says. A recording, say, would begin again."""

    texts: ClassVar[bool] = False
    """Whether whole texts are sent (`Provider.send_text`) and received (`Sink.data`, as
    ``text_topics`` asks). Else both are refused."""

    text_streams: ClassVar[bool] = False
    """Whether a text can be sent while it is being written (`Provider.open_text`). Else that is
    refused."""

    dtmf: ClassVar[bool] = False
    """Whether digits of telephones are sent (`Provider.send_dtmf`) and received (`Sink.data`, as
    ``dtmf`` asks). Else both are refused."""

    files: ClassVar[bool] = False
    """Whether whole files are sent (`Provider.send_file`) and received (`Sink.data`, as
    ``file_topics`` asks). Else both are refused."""

    data_tracks: ClassVar[bool] = False
    """Whether data tracks are published (`Provider.publish` of the kind ``data_track``) and
    received (`TrackSink.reading`). Else both are refused."""

    rpc: ClassVar[bool] = False
    """Whether calls come in (`Sink.call`) and are made (`Provider.call`). Else both are refused."""

    mutes: ClassVar[bool] = False
    """Whether a track of ours can be muted (`Playout.mute`, `OutgoingTrack.muted`). Else that is
    refused."""

    subscribers: ClassVar[bool] = False
    """Whether it can be said who may subscribe to our tracks (`Provider.allow_subscribers`). Else
    that is refused."""

    layers: ClassVar[bool] = False
    """Whether the layer of a picture that is published in several (simulcast) can be chosen, as
    `SessionOptions.video_quality` says. Else another than ``high`` is refused."""

    @abstractmethod
    def open(self, descriptors: tuple[int, ...]) -> Provider:
        """Called in the I/O role, where the SDK may be imported. The provider owns the
        descriptors that `handover` named (already valid in this process)."""

    def handover(self) -> tuple[Self, tuple[int, ...]]:
        """Called in the application just before the spec is sent: the spec to send, with
        callables (a token minter) resolved, and descriptors to send along (they are
        closed here afterwards). May take a while; it runs on a thread with a deadline."""
        return self, ()
