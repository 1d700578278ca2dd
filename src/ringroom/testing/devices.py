"""What the people of a fake room speak, show and measure with: microphones, cameras and sensors,
each a track.

Every method may be called from any thread, also from inside an asyncio loop: none waits, except
where it says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike

from ringroom.checks import as_number, is_whole, shown
from ringroom.errors import ClosedError, FrameError
from ringroom.events import TrackInfo
from ringroom.frames import AudioFrame, DataTrackFrame, VideoFrame
from ringroom.providers.fake import messages
from ringroom.testing import counting, sources
from ringroom.testing.floor import Floor
from ringroom.testing.pacing import Pace, Pacer, Performance
from ringroom.testing.state import Media, Member, Publication

__all__ = ["Camera", "Device", "Microphone", "Sensor"]

_PIECE_SECONDS = 0.02


class Device:
    """What microphones, cameras and sensors have in common: each is one track."""

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
            f"a subscriber of {self.info.reply_name!r} (an application takes what its kinds, "
            "participants and tracks all have)",
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


class Microphone(Device):
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


class Camera(Device):
    """A video track of a participant. ``size`` is (width, height); ``simulcast``: it is published
    in layers, of which each application gets the one that its ``video_quality`` says."""

    def __init__(
        self,
        floor: Floor,
        member: Member,
        info: TrackInfo,
        size: tuple[int, int],
        *,
        simulcast: bool = False,
    ) -> None:
        self.size = size
        self._shown = 0
        super().__init__(floor, member, info)
        self._publication.layered = simulcast

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


class Sensor(Device):
    """A data track of a participant."""

    def push(self, payload: bytes, timestamp: int | None = None) -> None:
        """Sends one frame, as an SDK does: 1 to 2,000,000 bytes, and its time, if it has one.
        Raises `FrameError`, and `ClosedError` once the track is over."""
        frame = DataTrackFrame(payload, timestamp=timestamp)
        message = messages.Reading(
            track="",
            timestamp=frame.timestamp,
            time_ns=round(self._floor.wire.time() * 1e9),
            payload=frame.payload,
        )
        self._perform(iter([(message, 0.0)]), 0.0, {})
