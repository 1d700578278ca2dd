"""What the contract is checked on: a `Subject`, its `Capabilities`, and the `Driver` that plays the
people on the other side.

The author of a provider writes a driver and one function that yields a `Room`; the promises open
their transports themselves, because many of them are about opening and closing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from ringroom import aio, client
from ringroom.client import Transport
from ringroom.events import Participant
from ringroom.frames import AudioFrame, DataFrame, DataTrackFrame, FileFrame, VideoFrame
from ringroom.processes.hosts import Where
from ringroom.providers.provider import ProviderSpec
from ringroom.testing.contract.promise import broken
from ringroom.testing.written import WrittenText

__all__ = ["LAYERED", "Capabilities", "Driver", "Refused", "Room", "Stage", "Subject"]

T = TypeVar("T")
Answerer: TypeAlias = Callable[[str, str, float], str | None]
Refused = Literal["connect", "publish", "data", "profile"]
# Between two looks at something that tells nobody that it has changed.
LOOK_SECONDS = 0.002
# Of a picture that is published in layers: browsers and SDKs make several of one that large.
LAYERED = (960, 540)
# `max_age` where a promise is not about age: on a slow machine no frame becomes stale.
PATIENT_AGE = 10.0


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a provider claims. What is not claimed is reported, and never passes.

    Each field names the methods of the `Driver` that its promises call.
    """

    audio_in: bool = False
    """Sound of others is received (``publish_audio``, ``speak``)."""
    audio_out: bool = False
    """Sound is sent (``heard``, ``tracks``)."""
    video_in: bool = False
    """Pictures of others are received (``publish_video``, ``show``)."""
    layers: bool = False
    """Of pictures that are published in layers (simulcast) the one that is asked for is received
    (``publish_layers``)."""
    video_out: bool = False
    """Pictures are sent (``seen``, ``tracks``)."""
    data_tracks_in: bool = False
    """Data tracks of others are received (``publish_data_track``, ``push``)."""
    data_tracks_out: bool = False
    """Data tracks are sent (``pushed``, ``tracks``)."""
    data_in: bool = False
    """Messages are received (``send_data``)."""
    data_out: bool = False
    """Messages are sent (``received``)."""
    topics: bool = False
    """Messages carry a topic."""
    addressing: bool = False
    """Messages can be meant for some of the people only."""
    unreliable: bool = False
    """Messages tell whether they are sent again when they are lost (``send_unreliably``)."""
    texts_in: bool = False
    """Whole texts are received by their topics (``send_text``, ``break_off_text``)."""
    texts_out: bool = False
    """Whole texts are sent (``received`` tells them from messages)."""
    text_streams: bool = False
    """Texts are seen while they are written (``texts``)."""
    dtmf_in: bool = False
    """The digits of telephones are received (``press``)."""
    dtmf_out: bool = False
    """The digits of telephones are sent (``received`` tells them from messages)."""
    files_in: bool = False
    """Whole files are received by their topics (``send_file``, ``break_off_file``)."""
    files_out: bool = False
    """Whole files are sent (``received`` tells them from messages)."""
    calls_in: bool = False
    """Methods of the application's can be called (``call``)."""
    calls_out: bool = False
    """The application can call methods of others (``answer``)."""
    events: bool = False
    """What happens in the room is told: who comes and goes, tracks, the connection (``leave``)."""
    unpublish: bool = False
    """A track of others ends while its participant stays (``unpublish``)."""
    mute: bool = False
    """Muting is told (``mute``)."""
    several_people: bool = False
    """More than one of the others can be in the room (``join`` again)."""
    several_tracks: bool = False
    """One participant, and the application, can have several tracks at a time."""
    people: bool = False
    """The driver knows who is in the room (``people``)."""
    profiles: bool = False
    """People have a name, metadata and attributes that can change (``describe``)."""
    participant_kinds: bool = False
    """People are told by their kind: standard, agent, sip, ... (``join_as``)."""
    room_metadata: bool = False
    """The room has metadata that can change (``describe_room``)."""
    connection_quality: bool = False
    """How good connections are is told (``quality``)."""
    own_profile: bool = False
    """What people are told of the application can be changed by it (``profile``)."""
    own_mute: bool = False
    """Tracks of the application's can be muted by it (``muted``)."""
    own_subscribers: bool = False
    """The application can say who may subscribe to its tracks (``hears``)."""
    sources: bool = False
    """Tracks tell what they are of: a microphone, a camera, a screen (``source``)."""
    room_end: bool = False
    """The room can end by itself (``close_room``)."""
    removal: bool = False
    """The application can be put out (``remove``)."""
    broken_connection: bool = False
    """A loss that does not heal is an error (``break_connection``)."""
    connection_loss: bool = False
    """A connection that is lost comes back (``lose_connection``, ``restore_connection``)."""
    refusals: bool = False
    """The room can refuse connections, tracks, messages and, where ``own_profile`` is claimed,
    profiles (``refuse``)."""
    moderation: bool = False
    """The room can mute a track of the application's, and take away its right to publish
    (``moderate``, ``forbid_publishing``)."""
    pacing: bool = False
    """Sound that is sent is played in real time, so that a sender waits."""
    conversion: bool = False
    """Tracks of others in another rate or number of channels are converted."""
    stereo: bool = False
    """Two channels stay two, in both directions."""
    lossless_audio: bool = False
    """Sound arrives sample for sample; otherwise it is judged by pitch and level."""
    lossless_data_tracks: bool = False
    """Every frame of a data track arrives; otherwise its sender goes on until enough did."""
    exact_video: bool = False
    """Pictures arrive byte for byte; otherwise by the number that is written into them."""
    rotation: bool = False
    """Pictures carry a rotation."""
    timestamps: bool = False
    """Pictures carry the time that their source gave them."""
    max_data: int = 62_000
    """Bytes of the largest message."""
    max_text: int = 200_000
    """Bytes of the longest text."""
    max_file: int = 8 << 20
    """Bytes of the largest file."""
    level_tolerance: float = 0.3
    """By how much, relatively, the level of sound may differ; for codecs."""
    patience: float = 5.0
    """Seconds to wait for what must come."""
    close_seconds: float = 1.0
    """Seconds that leaving the room may take."""

    def claims(self, name: str) -> bool:
        return bool(getattr(self, name))


class Driver(Protocol):
    """The other side: the people in the room, and the room itself, played by the contract.

    Write the methods that the claimed capabilities need. All are called from plain code (one
    thread at a time) and return when what they do is under way. ``who`` is an identity that was
    given to ``join``, ``track`` a name that was given to a method that publishes one.
    """

    def join(self, who: str) -> None:
        """Somebody comes in. "ann" comes in before the application, once in each room."""

    def join_as(self, who: str, kind: str) -> None:
        """Somebody comes in who is of that kind (`Participant.kind`), "agent" for one. Whoever
        comes in by ``join`` is "standard"."""

    def leave(self, who: str) -> None:
        """Somebody goes."""

    def people(self) -> Collection[str]:
        """The identities of all who are in the room, the application's too."""

    def describe(self, who: str, name: str, metadata: str, attributes: Mapping[str, str]) -> None:
        """Somebody has that name, metadata and attributes from now on, and no others. Who is not
        in the room yet comes in with them."""

    def describe_room(self, metadata: str) -> None:
        """The room has that metadata from now on; "" is none. Also while nobody is connected who
        could be told."""

    def quality(self, who: str) -> str:
        """The room has somebody's connection for that good, and tells it to those who receive a
        track of theirs, as soon as there are any: excellent, good, poor or lost. An empty ``who``
        is the application, which is told of its own."""

    def publish_audio(self, who: str, track: str, sample_rate: int, channels: int) -> None:
        """A track of sound begins, of a microphone."""

    def publish_video(self, who: str, track: str) -> None:
        """A track of pictures begins, of a camera."""

    def publish_layers(self, who: str, track: str) -> None:
        """As ``publish_video``, of pictures of `contract.LAYERED`, in layers that others choose
        from."""

    def publish_data_track(self, who: str, track: str) -> None:
        """A data track begins."""

    def push(self, who: str, track: str, payload: bytes, timestamp: int | None) -> None:
        """Send one frame on a data track, with that timestamp, if it is one."""

    def unpublish(self, who: str, track: str) -> None:
        """A track ends, after what was spoken on it."""

    def mute(self, who: str, track: str, muted: bool) -> None:
        """A track is muted or unmuted."""

    def speak(self, who: str, track: str, sound: AudioFrame) -> None:
        """Say it, in the track's own form, following what was said before. At once or in real
        time, as the room does it."""

    def show(self, who: str, track: str, picture: VideoFrame) -> None:
        """Show one picture."""

    def send_data(self, who: str, payload: bytes, topic: str, to: tuple[str, ...]) -> None:
        """Send a message, to everybody or to the identities in ``to``; reliably."""

    def send_unreliably(self, who: str, payload: bytes) -> None:
        """Send a message to everybody that is not sent again when it is lost."""

    def send_text(self, who: str, text: str, topic: str, attributes: Mapping[str, str]) -> None:
        """Send a whole text to everybody."""

    def press(self, who: str, digits: str) -> None:
        """Somebody presses these keys of a telephone, one after the other."""

    def break_off_text(self, who: str, text: str, topic: str) -> None:
        """Begin a text, to everybody, send that much of it, and break it off."""

    def send_file(self, who: str, file: FileFrame) -> None:
        """Send a whole file to everybody: its payload, topic, name, media type and attributes."""

    def break_off_file(self, who: str, file: FileFrame) -> None:
        """Begin a file, to everybody, send that much of it, and break it off."""

    def call(self, who: str, method: str, payload: str, seconds: float) -> str:
        """Somebody calls a method of the application's, which has so many seconds; the answer, for
        which it waits. Raises the `RpcError` that the caller gets. Called on several threads at a
        time."""

    def answer(self, who: str, method: str, function: Answerer) -> None:
        """From now on, somebody has that method: it answers with what ``function`` makes of the
        caller's identity, the payload and the seconds that the caller waits, or with the `RpcError`
        that it raises; None: not at all. The function does not wait."""

    def heard(self, track: str) -> AudioFrame | None:
        """All sound of the application's track of that name so far; None if there was none."""

    def hears(self, who: str, track: str) -> bool:
        """Whether sound of the application's track of that name reaches somebody just now; asked
        while a second of it is being sent."""

    def seen(self, track: str) -> Sequence[VideoFrame]:
        """The pictures of the application's track of that name so far."""

    def pushed(self, track: str) -> Sequence[DataTrackFrame]:
        """The frames of the application's data track of that name so far."""

    def received(self, who: str) -> Sequence[DataFrame]:
        """The messages that reached somebody, oldest first; texts, as `TextFrame`s, and files, as
        `FileFrame`s, in the order in which they began; digits, as `DtmfFrame`s. Texts and files
        have the topics of `contract.TEXT_TOPICS` and `contract.FILE_TOPICS`."""

    def texts(self, who: str) -> Sequence[WrittenText]:
        """The texts of the application's that reached somebody, as far as they are there, in the
        order in which they began. Their topics are `contract.TEXT_TOPICS`."""

    def tracks(self) -> Collection[str]:
        """The names of the tracks that the application publishes now."""

    def profile(self) -> Participant | None:
        """What the others are told of the application; None while they do not know of it."""

    def source(self, track: str) -> str:
        """What the others are told that the application's track is of: microphone, camera,
        screen_share or screen_share_audio; empty if there is no such track."""

    def muted(self, track: str) -> bool:
        """Whether the others are told that the application's track of that name is muted."""

    def close_room(self) -> None:
        """The room ends for everybody."""

    def remove(self) -> None:
        """The application is put out of the room."""

    def break_connection(self) -> None:
        """The application's connection is lost for good."""

    def lose_connection(self) -> None:
        """The application's connection is lost."""

    def restore_connection(self) -> None:
        """It comes back."""

    def refuse(self, what: Refused) -> None:
        """From now on such requests of the application are refused."""

    def moderate(self, track: str, muted: bool) -> None:
        """The room mutes the application's track of that name, or unmutes it."""

    def forbid_publishing(self) -> None:
        """The room ends all tracks of the application, and takes no other."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """A fresh room: how the application reaches it, and who plays the others in it."""

    provider: str | ProviderSpec
    driver: Any
    """A `Driver`, as far as the claimed capabilities reach."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The provider's own: url, token, ..."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A room under a promise: ``driver`` for the other side, `open` for ours."""

    room: Room
    subject: Subject

    @property
    def driver(self) -> Driver:
        driver: Driver = self.room.driver
        return driver

    @property
    def capabilities(self) -> Capabilities:
        return self.subject.capabilities

    @property
    def patience(self) -> float:
        return self.subject.capabilities.patience

    def _options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        common = {"io": self.subject.io, "max_age": PATIENT_AGE}
        return {**common, **self.room.options, **options}

    def open(self, **options: Any) -> Transport:
        """A transport of the synchronous face, joined."""
        return self.subject.transport(self.room.provider, **self._options(options))

    def open_aio(self, **options: Any) -> aio.Transport:
        """A transport of the asyncio face; it joins on ``async with``."""
        return self.subject.aio_transport(self.room.provider, **self._options(options))

    def until(self, condition: Callable[[], T], what: str, seconds: float = 0.0) -> T:
        """The first true value of the condition; the promise is broken when it does not come."""
        limit = seconds or self.patience
        end = time.monotonic() + limit
        while not (value := condition()):
            if time.monotonic() > end:
                broken(f"{what}: not within {limit:g} s")
            time.sleep(LOOK_SECONDS)
        return value


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A provider under the contract: a name for reports, a factory of rooms, and its claims."""

    name: str
    rooms: Callable[[], AbstractContextManager[Room]]
    """Makes a fresh room that nobody is in. A promise calls it once."""
    capabilities: Capabilities
    io: Where = "thread"
    """Where the provider runs; an `IOProcess` is shared by all promises."""
    transport: Callable[..., Transport] = client.transport
    aio_transport: Callable[..., aio.Transport] = aio.transport
    deadline: float = 60.0
    """Seconds after which a promise hangs, whatever it waits for."""

    @contextlib.contextmanager
    def staged(self) -> Iterator[Stage]:
        """A fresh room with "ann" in it; the application is still to come."""
        with self.rooms() as room:
            room.driver.join("ann")
            yield Stage(room=room, subject=self)

    @contextlib.contextmanager
    def opened(self, **options: Any) -> Iterator[tuple[Transport, Stage]]:
        """A transport in a fresh room, with "ann" in it; closed at the end, not played out."""
        with self.staged() as stage:
            transport = stage.open(**options)
            try:
                yield transport, stage
            finally:
                transport.close()
