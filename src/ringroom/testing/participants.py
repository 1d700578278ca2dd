"""The people of a fake room, whom the test speaks for: participants, microphones, cameras.

Every method may be called from any thread, also from inside an asyncio loop: none waits, except
where it says so.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Protocol, TypeVar, Unpack

import numpy as np
from numpy.typing import ArrayLike

from ringroom.checks import (
    MAX_IDENTITY_BYTES,
    as_number,
    check_channels,
    check_name,
    check_rate,
    check_size,
    check_text,
    is_whole,
    shown,
)
from ringroom.errors import ClosedError, FrameError
from ringroom.frames import AudioFrame, DataFrame, Kind, Participant, TrackInfo, VideoFrame
from ringroom.option_checks import MAX_TIMEOUT, check_range
from ringroom.providers.fake import messages
from ringroom.sessions.sendable import as_message, as_text
from ringroom.testing import counting, sources
from ringroom.testing.pacing import Pace, Pacer, Performance
from ringroom.testing.state import Media, Member, Publication, RoomState
from ringroom.testing.wire import Wire

__all__ = ["Camera", "FakeParticipant", "Floor", "Microphone"]

_PIECE_SECONDS = 0.02
MAX_METADATA_BYTES = 1 << 19


class Floor(Protocol):
    """What a participant needs of its room."""

    wire: Wire
    state: RoomState

    def wait_until(self, condition: Callable[[], Any], what: str, timeout: float) -> Any:
        """The first true value of ``condition``. Raises `DeadlinePassed`."""


class FakeParticipant:
    """Somebody in the room whom the test plays."""

    def __init__(self, floor: Floor, participant: Participant) -> None:
        self._floor = floor
        _check_person(participant)
        with floor.wire.changed:
            self._member = floor.state.enter(participant)
        self._tracks: list[_Track] = []

    @property
    def identity(self) -> str:
        """The identity, unique in the room."""
        return self._member.identity

    @property
    def info(self) -> Participant:
        """The participant as the application sees it."""
        return self._member.participant

    @property
    def received(self) -> list[DataFrame]:
        """The data that reached this participant, oldest first; a text is a `TextFrame`."""
        with self._floor.wire.changed:
            return list(self._member.received)

    def forget(self) -> None:
        """Forgets the data that was received: for runs of hours."""
        with self._floor.wire.changed:
            self._member.received.clear()

    def publish_audio(
        self,
        name: str = "mic",
        sample_rate: int = 48_000,
        channels: int = 1,
        *,
        source: str = "microphone",
    ) -> Microphone:
        """Publishes an audio track. It is silent, and sends nothing, until it is spoken into."""
        check_rate(sample_rate)
        check_channels(channels)
        info = self._info(name, Kind.AUDIO, source)
        return self._opened(Microphone(self._floor, self._member, info, (sample_rate, channels)))

    def publish_video(
        self, name: str = "camera", width: int = 640, height: int = 480, *, source: str = "camera"
    ) -> Camera:
        """Publishes a video track."""
        check_size(width, height)
        info = self._info(name, Kind.VIDEO, source)
        return self._opened(Camera(self._floor, self._member, info, (width, height)))

    def send_data(
        self,
        payload: bytes | str,
        *,
        topic: str = "",
        to: Collection[str] = (),
        reliable: bool = True,
    ) -> None:
        """A message (text as UTF-8) to everyone, or to the identities in ``to``. Raises
        `FrameError`."""
        frame = as_message(payload, topic, reliable, to)
        with self._floor.wire.changed:
            self._check_present()
            self._floor.state.data(self.identity, frame)

    def send_text(
        self,
        text: str,
        *,
        topic: str = "",
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """A text with attributes, to everyone or to the identities in ``to``. Applications receive
        those whose topic is in their ``text_topics``, as from LiveKit's frontends. Raises
        `FrameError`."""
        frame = as_text(text, topic, to, attributes)
        with self._floor.wire.changed:
            self._check_present()
            self._floor.state.data(self.identity, frame)

    def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Sets these; an empty value removes one. The others stay. Raises `FrameError`."""
        self._change(attributes=attributes)

    def set_metadata(self, metadata: str) -> None:
        """Change what the application is told of this participant."""
        self._change(metadata=metadata)

    def set_name(self, name: str) -> None:
        """Change the name that people see."""
        self._change(name=name)

    def leave(self, reason: str = "client initiated") -> None:
        """Leaves the room; its tracks end. Idempotent."""
        with self._floor.wire.changed:
            self._fall_silent()
            self._floor.state.put_out(self._member, reason)

    def vanish(self, noticed_after: float | None = 15.0) -> None:
        """Falls silent without a word, as when a phone loses its network. The room notices after
        that many seconds of its clock (a LiveKit server takes about 15), or, if None, only when
        `leave` or another `join` says so.
        """
        if noticed_after is not None:
            noticed_after = check_range("noticed_after", noticed_after, 0, MAX_TIMEOUT)
        with self._floor.wire.changed:
            self._fall_silent()
            for track in self._tracks:
                track.cut_off = True
        if noticed_after is not None:
            wire = self._floor.wire
            wire.call_at(wire.time() + noticed_after, lambda: self.leave("connection timeout"))

    def _info(self, name: str, kind: Kind, source: str) -> TrackInfo:
        check_name("track name", name)
        check_name("source", source)
        return TrackInfo(sid="", name=name, kind=kind, participant=self.identity, source=source)

    def _opened(self, track: _AnyTrack) -> _AnyTrack:
        self._tracks = [one for one in self._tracks if not one.over]
        self._tracks.append(track)
        return track

    def _change(self, **fields: Any) -> None:
        _check_person(dataclasses.replace(self._member.participant, **fields))
        with self._floor.wire.changed:
            self._check_present()
            self._floor.state.describe(self._member, **fields)

    def _fall_silent(self) -> None:
        for track in self._tracks:
            track.stop()

    def _check_present(self) -> None:
        if self._member.gone:
            raise ClosedError(f"{self.identity!r} has left the room ({self._member.reason})")

    def __repr__(self) -> str:
        return f"FakeParticipant({self.identity!r}, sid={self.info.sid!r})"


def _check_person(participant: Participant) -> None:
    """Raises `FrameError` for what no server would let in."""
    if not check_text("identity", participant.identity, MAX_IDENTITY_BYTES):
        raise FrameError("the identity is empty")
    check_text("name for people", participant.name, MAX_METADATA_BYTES)
    check_text("metadata", participant.metadata, MAX_METADATA_BYTES)
    _check_attributes(participant.attributes)


def _check_attributes(attributes: Mapping[str, str]) -> None:
    if not isinstance(attributes, Mapping):
        raise FrameError(f"the attributes are a {type(attributes).__name__}, expected a mapping")
    for key, value in attributes.items():
        check_text("attribute's name", key, MAX_METADATA_BYTES)
        check_text("attribute", value, MAX_METADATA_BYTES)


_AnyTrack = TypeVar("_AnyTrack", bound="_Track")


class _Track:
    """What microphones and cameras have in common."""

    def __init__(self, floor: Floor, member: Member, info: TrackInfo) -> None:
        self._floor = floor
        self._member = member
        with floor.wire.changed:
            if member.gone:
                raise ClosedError(f"{member.identity!r} has left the room ({member.reason})")
            self._publication: Publication = floor.state.publish(member, info)
        self._pacer = Pacer(floor.wire, self._send, self._pause, floor.state.source_clock)
        self.cut_off = False

    @property
    def info(self) -> TrackInfo:
        """The track as the application is told of it; the sid is new after a full reconnect."""
        return self._publication.info

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._publication.ended

    @property
    def subscribers(self) -> frozenset[str]:
        """The identities of the applications that take this track."""
        with self._floor.wire.changed:
            return frozenset(self._publication.subscribers)

    def wait_for_subscriber(self, identity: str | None = None, *, timeout: float = 5.0) -> None:
        """Waits until that application (or any) takes this track. Raises `DeadlinePassed`."""
        self._floor.wait_until(
            lambda: self.subscribers if identity is None else identity in self.subscribers,
            f"a subscriber of {self.info.reply_name!r}",
            timeout,
        )

    def mute(self) -> None:
        """What is spoken or shown from here on is lost."""
        self._set_muted(True)

    def unmute(self) -> None:
        """Go on after `mute`."""
        self._set_muted(False)

    def unpublish(self) -> None:
        """Ends the track. What is still to be spoken is thrown away. Idempotent."""
        with self._floor.wire.changed:
            self._pacer.stop()
            if not self._publication.ended:
                self._floor.state.unpublish(self._member, self._publication)

    def stop(self) -> None:
        """Falls silent at once: throws away what is still to be spoken or shown."""
        self._pacer.stop()

    def _set_muted(self, muted: bool) -> None:
        with self._floor.wire.changed:
            self._check_published()
            self._publication.muted = muted
            self._floor.state.announce()

    def _check_published(self) -> None:
        if self._publication.ended:
            raise ClosedError(f"track {self.info.reply_name!r} is over")

    def _perform(self, pieces: Iterator[tuple[Media, float]], seconds: float, pace: Pace) -> None:
        with self._floor.wire.changed:
            self._check_published()
            performance = self._pacer.put(pieces, pace)
        if pace.get("wait", False):
            self._wait(performance, seconds, pace)

    def _wait(self, performance: Performance, seconds: float, pace: Pace) -> None:
        # What was queued before takes its time too; a test that queues minutes waits for it itself.
        deadline = 10.0 + 2 * seconds / pace.get("speed", 1.0)
        self._floor.wait_until(
            lambda: performance.done, f"{self.info.reply_name!r} to be through", deadline
        )

    def _send(self, message: Media) -> None:
        if not self.cut_off:
            self._floor.state.media(self._publication, message)

    def _pause(self) -> None:
        return None


class Microphone(_Track):
    """An audio track of a participant.

    Speaking is paced in real time and does not wait, unless told otherwise (`Pace`). Calls queue
    up: what is spoken before the last is through follows it without a gap. When nothing is left
    to say, the application gets what its resampler and frame slicer held back, the last frame
    padded with silence; so spoken sound always arrives whole, and one call at once
    (``realtime=False``) is one utterance.
    """

    def __init__(
        self, floor: Floor, member: Member, info: TrackInfo, form: tuple[int, int]
    ) -> None:
        self.sample_rate, self.channels = form
        self._counted = 0
        super().__init__(floor, member, info)

    def speak(self, sound: AudioFrame | bytes | ArrayLike, **pace: Unpack[Pace]) -> None:
        """Speaks an `AudioFrame` (of any rate), or samples at the track's own rate and channels.

        Raises `FrameError` for what is no sound, `ClosedError` once the track is over, and, with
        ``wait``, `DeadlinePassed`.
        """
        if not isinstance(sound, AudioFrame):
            interleaved = isinstance(sound, bytes) or np.ndim(sound) == 1
            channels = self.channels if interleaved else None
            sound = AudioFrame(sound, self.sample_rate, channels)
        # The caller may refill the array while it is being spoken.
        self._perform(
            self._pieces(sound.replace(samples=sound.samples.copy())), sound.duration, pace
        )

    def tone(
        self,
        frequency: float = 440.0,
        seconds: float = 1.0,
        level: float = 0.5,
        **pace: Unpack[Pace],
    ) -> None:
        """Speaks a sine of ``frequency`` Hz; ``level`` 1 is full scale."""
        self.speak(
            sources.tone(frequency, seconds, self.sample_rate, self.channels, level=level), **pace
        )

    def count(self, pieces: int, **pace: Unpack[Pace]) -> range:
        """Speaks numbered pieces of 20 ms and returns their numbers, which go on from call to call,
        starting with 1; `Recording.numbers` and `counting.numbers` read them back.

        Raises `FrameError` beyond 500.
        """
        if not is_whole(pieces):
            raise FrameError(f"pieces is {shown(pieces)}, expected a whole number")
        said = range(self._counted + 1, self._counted + 1 + pieces)
        sound = counting.numbered(said.start, pieces, self.sample_rate, self.channels)
        self._counted += pieces
        self.speak(sound, **pace)
        return said

    def silence(self, seconds: float, **pace: Unpack[Pace]) -> None:
        """Speaks zeros."""
        self.speak(sources.silence(seconds, self.sample_rate, self.channels), **pace)

    def noise(self, seconds: float, seed: int = 0, **pace: Unpack[Pace]) -> None:
        """Speaks white noise, the same for the same seed."""
        self.speak(sources.noise(seconds, self.sample_rate, self.channels, seed=seed), **pace)

    def wav(self, path: str | os.PathLike[str], **pace: Unpack[Pace]) -> None:
        """Speaks a WAV file of 16-bit PCM. Raises `FrameError`, `OSError`."""
        self.speak(sources.read_wav(path), **pace)

    def _pieces(self, sound: AudioFrame) -> Iterator[tuple[Media, float]]:
        length = max(1, int(sound.sample_rate * _PIECE_SECONDS))
        for start in range(0, len(sound.samples), length):
            samples = sound.samples[start : start + length]
            message = messages.Audio(
                track="",
                sample_rate=sound.sample_rate,
                channels=sound.channels,
                time_ns=round(self._floor.wire.time() * 1e9),
                payload=samples.astype("<i2", copy=False).tobytes(),
            )
            yield message, len(samples) / sound.sample_rate

    def _pause(self) -> None:
        self._send(messages.AudioPause(track=""))


class Camera(_Track):
    """A video track of a participant. ``size`` is (width, height)."""

    def __init__(
        self, floor: Floor, member: Member, info: TrackInfo, size: tuple[int, int]
    ) -> None:
        self.size = size
        self._shown = 0
        super().__init__(floor, member, info)

    def show(self, picture: VideoFrame) -> None:
        """Shows one picture now, of any size. Raises `FrameError` for what is none."""
        if not isinstance(picture, VideoFrame):
            raise FrameError(
                f"a {type(picture).__name__} is no picture, expected a VideoFrame: "
                "VideoFrame.from_rgb(pixels) makes one of an array"
            )
        self._perform(iter([(self._message(picture), 0.0)]), 0.0, {})

    def test_picture(self, seconds: float = 1.0, fps: float = 30.0, **pace: Unpack[Pace]) -> None:
        """Shows the moving, numbered test picture; `sources.picture_number` reads the number.

        The numbers go on from call to call, starting with 0.
        """
        count = round(as_number("seconds", seconds) * as_number("a frame rate", fps))
        self._perform(self._pictures(count, fps), seconds, pace)

    def _pictures(self, count: int, fps: float) -> Iterator[tuple[Media, float]]:
        for _ in range(count):
            picture = sources.picture(self._shown % 65_536, *self.size)
            self._shown += 1
            yield self._message(picture), 1 / fps

    def _message(self, picture: VideoFrame) -> messages.Video:
        now = self._floor.wire.time()
        return messages.Video(
            track="",
            width=picture.width,
            height=picture.height,
            rotation=picture.rotation,
            timestamp_us=picture.timestamp_us
            or int(self._floor.state.source_clock.read(now) * 1e6),
            time_ns=round(now * 1e9),
            payload=picture.data.tobytes(),
        )
