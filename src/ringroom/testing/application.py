"""What an application sent to a fake room: sound, pictures, readings and data, kept for the test to
look at.

The record of an application is that of its identity: it goes on when the application joins again,
and a track that is published again under its name goes on where it ended, so that the gap between
the two shows.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from ringroom.checks import Samples
from ringroom.events import Kind, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, DataTrackFrame, VideoFrame
from ringroom.providers.fake import messages
from ringroom.subscribers import Subscribers
from ringroom.testing import counting
from ringroom.testing.wire import Line
from ringroom.testing.written import TextLog, WrittenText

__all__ = [
    "Application",
    "Footage",
    "Gap",
    "Log",
    "PictureLog",
    "ReadingLog",
    "Readings",
    "Recording",
    "SoundLog",
    "Taken",
]

# Play times are floating-point seconds until they are stamped; a real gap is far larger.
_ROUNDING_SECONDS = 0.001


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A stretch in which the source had nothing to play."""

    position: float
    """Seconds of sound that were heard before it."""
    seconds: float
    started_ns: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """Sound that was heard on one track, as it was when you asked.

    ``frames`` hold at most 10 ms each; ``received_ns`` of a frame is when the source began to play
    it (`time.monotonic_ns`). Silence between them is not filled in.
    """

    track: str
    sample_rate: int
    channels: int
    frames: tuple[AudioFrame, ...]

    @cached_property
    def samples(self) -> Samples:
        """All sound, int16 of shape (samples per channel, channels), gaps left out."""
        if not self.frames:
            return np.zeros((0, max(1, self.channels)), np.int16)
        return np.concatenate([frame.samples for frame in self.frames])

    @property
    def duration(self) -> float:
        """Seconds of sound, gaps not counted."""
        return sum(len(frame.samples) for frame in self.frames) / max(1, self.sample_rate)

    @property
    def numbers(self) -> list[int]:
        """The numbered pieces in it (`Microphone.count`), in the order in which they were heard.
        For sound whose volume was changed see `counting.numbers`."""
        return counting.numbers(self.samples, self.sample_rate)

    def gaps(self, longer_than: float = _ROUNDING_SECONDS) -> list[Gap]:
        """Where the sound stopped for more than that many seconds and went on again."""
        found = []
        position = 0.0
        for before, after in zip(self.frames, self.frames[1:], strict=False):
            position += before.duration
            ended_ns = before.received_ns + round(before.duration * 1e9)
            seconds = (after.received_ns - ended_ns) / 1e9
            if seconds > longer_than:
                found.append(Gap(position=position, seconds=seconds, started_ns=ended_ns))
        return found

    @property
    def longest_gap(self) -> float:
        """Seconds; 0 if the sound was continuous."""
        return max((gap.seconds for gap in self.gaps()), default=0.0)

    def __repr__(self) -> str:
        return (
            f"Recording({self.track!r}, {self.duration:.3f} s, {self.sample_rate} Hz, "
            f"{self.channels} ch, longest gap {self.longest_gap:.3f} s)"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Footage:
    """Pictures that were seen on one track, as it was when you asked.

    ``count`` counts all; ``frames`` are the newest of them, as many as the room keeps.
    """

    track: str
    count: int
    frames: tuple[VideoFrame, ...]

    def __repr__(self) -> str:
        return f"Footage({self.track!r}, {self.count} pictures)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Readings:
    """What came on one data track, as it was when you asked.

    ``count`` counts all; ``frames`` are the newest of them, as many as the room keeps pictures.
    """

    track: str
    count: int
    frames: tuple[DataTrackFrame, ...]

    def __repr__(self) -> str:
        return f"Readings({self.track!r}, {self.count} frames)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """What an application has sent since it was last taken."""

    sounds: tuple[Recording, ...]
    messages: tuple[DataFrame, ...]


class SoundLog:
    """A growing recording. A change of format starts it anew."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended = False
        self.quiet_since: float | None = None
        """When the track's source ran dry, by the room's clock; None while it plays."""
        self._form = (0, 0)
        self._pieces: list[tuple[int, bytes]] = []
        self._length = 0

    @property
    def seconds(self) -> float:
        return self._length / self._form[0] if self._length else 0.0

    def add(self, message: messages.Audio) -> None:
        self.quiet_since = None
        form = (message.sample_rate, message.channels)
        if form != self._form:
            self._form, self._length = form, 0
            self._pieces.clear()
        self._pieces.append((message.time_ns, message.payload))
        self._length += len(message.payload) // (2 * message.channels)

    def forget(self) -> None:
        """Keep nothing of what was heard but its length."""
        self._pieces.clear()

    def snapshot(self) -> Recording:
        rate, channels = self._form
        frames = (
            AudioFrame.received(
                np.frombuffer(pcm, "<i2").astype(np.int16, copy=False).reshape(-1, channels),
                rate,
                self.name,
                (sequence, time_ns),
            )
            for sequence, (time_ns, pcm) in enumerate(self._pieces)
        )
        return Recording(track=self.name, sample_rate=rate, channels=channels, frames=tuple(frames))


class PictureLog:
    """The newest pictures of a track, and how many there were."""

    def __init__(self, name: str, kept: int) -> None:
        self.name = name
        self.ended = False
        self.count = 0
        self._frames: deque[VideoFrame] = deque(maxlen=kept)

    def add(self, message: messages.Video) -> None:
        self._frames.append(
            VideoFrame.received(
                np.frombuffer(message.payload, np.uint8),
                (message.width, message.height),
                (message.rotation, message.timestamp_us),
                self.name,
                (self.count, message.time_ns),
            )
        )
        self.count += 1

    def forget(self) -> None:
        """Keep nothing of what was seen but its count."""
        self._frames.clear()

    def snapshot(self) -> Footage:
        return Footage(track=self.name, count=self.count, frames=tuple(self._frames))


class ReadingLog:
    """The newest frames of a data track, and how many there were."""

    def __init__(self, name: str, kept: int) -> None:
        self.name = name
        self.ended = False
        self.count = 0
        self._frames: deque[DataTrackFrame] = deque(maxlen=kept)

    def add(self, message: messages.Reading) -> None:
        stamp = (self.count, message.time_ns)
        self._frames.append(
            DataTrackFrame.received(message.payload, message.timestamp, self.name, stamp)
        )
        self.count += 1

    def forget(self) -> None:
        """Keep nothing of what came but its count."""
        self._frames.clear()

    def snapshot(self) -> Readings:
        return Readings(track=self.name, count=self.count, frames=tuple(self._frames))


Log: TypeAlias = SoundLog | PictureLog | ReadingLog


class Application:
    """One application, by its identity: whether it is in the room, and what it has sent."""

    def __init__(self, identity: str, changed: threading.Condition, kept_pictures: int) -> None:
        self.identity = identity
        self.joined = False
        self.joins = 0
        """How often it has joined."""
        self.left = ""
        """Why it is not in the room any more."""
        self._changed = changed
        self._kept_pictures = kept_pictures
        self._sounds: dict[str, SoundLog] = {}
        self._pictures: dict[str, PictureLog] = {}
        self._readings: dict[str, ReadingLog] = {}
        self._messages: list[DataFrame] = []
        self._texts: list[TextLog] = []
        self._tracks: dict[str, TrackInfo] = {}
        self._muted: set[str] = set()
        self._subscribers = Subscribers()
        self._lines: list[Line] = []
        self._dropped = 0
        """Media messages that were dropped on lines that are over."""

    @property
    def tracks(self) -> dict[str, TrackInfo]:
        """What it publishes now, by name."""
        with self._changed:
            return {
                name: info for name, info in self._tracks.items() if not self._log_of(info).ended
            }

    @property
    def muted(self) -> frozenset[str]:
        """The names of the tracks that it publishes now and that are muted, by itself or by the
        server. Nothing of them is heard or seen."""
        with self._changed:
            return frozenset(self._muted & self.tracks.keys())

    @property
    def subscribers(self) -> Subscribers:
        """Who may subscribe to its tracks, as it has said since it joined last:
        ``application.subscribers.allows("ann", "audio")``."""
        with self._changed:
            return self._subscribers

    @property
    def messages(self) -> list[DataFrame]:
        """The data it has sent, oldest first; a text is a `TextFrame`, a file a `FileFrame`, a
        digit a `DtmfFrame`."""
        with self._changed:
            return list(self._messages)

    @property
    def texts(self) -> list[WrittenText]:
        """The texts that it has written piece by piece, or is writing, in the order in which they
        began. One that is whole is among the ``messages`` too."""
        with self._changed:
            return [log.snapshot() for log in self._texts]

    @property
    def dropped(self) -> int:
        """Media messages for it that were dropped because it did not read them."""
        with self._changed:
            return self._dropped + sum(line.dropped for line in self._lines)

    @property
    def behind(self) -> bool:
        """Whether something waits in the room for it, which it has not read yet."""
        with self._changed:
            return any(line.socket.fileno() >= 0 and not line.idle for line in self._lines)

    def heard(self, track: str | None = None) -> Recording:
        """The sound on that track, by default on its only audio track.

        Raises `LookupError` if there is no such track, or several and none is named.
        """
        with self._changed:
            return self.sound_log(track).snapshot()

    def seen(self, track: str | None = None) -> Footage:
        """The pictures on that track, by default on its only video track. Raises `LookupError`."""
        with self._changed:
            return self.picture_log(track).snapshot()

    def pushed(self, track: str | None = None) -> Readings:
        """What came on that data track, by default on its only one. Raises `LookupError`."""
        with self._changed:
            return self.reading_log(track).snapshot()

    def take(self) -> Taken:
        """The sound and the messages since the last `take`. They are forgotten, and pictures,
        readings and texts that have ended too, so that a run of hours stays small. Lengths and
        counts go on."""
        with self._changed:
            sounds = tuple(log.snapshot() for log in self._sounds.values())
            messages = tuple(self._messages)
            logs: Iterable[Log]
            for logs in (self._sounds.values(), self._pictures.values(), self._readings.values()):
                for log in logs:
                    log.forget()
            self._messages.clear()
            self._texts = [log for log in self._texts if not log.ended]
        return Taken(sounds=sounds, messages=messages)

    def sound_log(self, track: str | None = None) -> SoundLog:
        """What is heard on the track; `LookupError` when there is none."""
        return self._sounds[self._one("audio", track, self._sounds)]

    def picture_log(self, track: str | None = None) -> PictureLog:
        """What is seen on the track; `LookupError` when there is none."""
        return self._pictures[self._one("video", track, self._pictures)]

    def reading_log(self, track: str | None = None) -> ReadingLog:
        """What came on the data track; `LookupError` when there is none."""
        return self._readings[self._one("data", track, self._readings)]

    def _one(self, kind: str, track: str | None, names: Iterable[str]) -> str:
        known = [*names]
        if track is None and len(known) == 1:
            return known[0]
        if track is not None and track in known:
            return track
        wanted = f"one {kind} track" if track is None else f"the {kind} track {track!r}"
        raise LookupError(f"expected {wanted} of {self.identity!r}, it has published {known}")

    def summary(self) -> str:
        """What it sent, for people."""
        with self._changed:
            lines = [f"application {self.identity!r} ({self._presence()})"]
            for sound in self._sounds.values():
                recording = sound.snapshot()
                lines.append(
                    f"audio {sound.name!r}: {recording.duration:.3f} s, "
                    f"longest gap {recording.longest_gap:.3f} s{_over(sound)}"
                )
            for pictures in self._pictures.values():
                lines.append(f"video {pictures.name!r}: {pictures.count} pictures{_over(pictures)}")
            for readings in self._readings.values():
                lines.append(f"data {readings.name!r}: {readings.count} frames{_over(readings)}")
            topics = [message.topic for message in self._messages[-5:]]
            lines.append(f"data: {len(self._messages)} messages, newest topics {topics}")
            lines.extend(f"cut off: {line.error}" for line in self._lines if line.error)
        return "\n    ".join(lines)

    def _presence(self) -> str:
        return "in the room" if self.joined else f"left: {self.left}"

    # What its connections enter here.

    def enter(self, line: Line) -> None:
        """The application has joined over the line."""
        self.joined, self.left = True, ""
        self.joins += 1
        self._subscribers = Subscribers()  # that was said in another stay
        over = [one for one in self._lines if one.socket.fileno() < 0 and not one.error]
        self._dropped += sum(one.dropped for one in over)
        self._lines = [one for one in self._lines if one not in over]
        self._lines.append(line)

    def allow_subscribers(self, allowed: Subscribers) -> None:
        """The application has said who may subscribe to its tracks."""
        self._subscribers = allowed

    def leave(self, reason: str) -> None:
        """The application is gone."""
        self.joined, self.left = False, reason

    def add_data(self, frame: DataFrame) -> None:
        """The application has sent a message."""
        self._messages.append(frame)

    def add_text(self, log: TextLog) -> None:
        """The application begins to write a text."""
        self._texts.append(log)

    def open_log(self, track: TrackInfo) -> Log:
        """The log for the media of a track that is being published."""
        log = self._continued(track)
        log.ended = False
        return log

    def note_track(self, track: TrackInfo, muted: bool) -> None:
        """The application has published a track, or it is muted or unmuted."""
        self._tracks[track.name] = track
        (self._muted.add if muted else self._muted.discard)(track.name)

    def _continued(self, track: TrackInfo) -> Log:
        """The one that has ended, or another."""
        name, logs = track.name, self._logs_of(track)
        if name not in logs or not logs[name].ended:
            if track.kind is Kind.AUDIO:
                self._sounds[name] = SoundLog(name)
            elif track.kind is Kind.VIDEO:
                self._pictures[name] = PictureLog(name, self._kept_pictures)
            else:
                self._readings[name] = ReadingLog(name, self._kept_pictures)
        return logs[name]

    def _log_of(self, track: TrackInfo) -> Log:
        return self._logs_of(track)[track.name]

    def _logs_of(self, track: TrackInfo) -> Mapping[str, Log]:
        if track.kind is Kind.AUDIO:
            return self._sounds
        return self._pictures if track.kind is Kind.VIDEO else self._readings


def _over(log: Log) -> str:
    return " (unpublished)" if log.ended else ""
