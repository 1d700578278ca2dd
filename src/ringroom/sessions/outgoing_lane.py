"""One track of ours, through all the lanes that it has had: what the I/O role was asked for, what
it has answered, and what was really played.

Each lane is a generation of its own: a larger picture, a track that a server has ended, and another
I/O process begin the next one, under the same name.

Ownership: the writing end of the present lane. Its row of statistics is `Outgoing`'s to give back.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import asdict, fields

from ringroom import messages as m
from ringroom.checks import MAX_DATA_TRACK_BYTES, MAX_FILE_BYTES
from ringroom.colour import i420_size
from ringroom.errors import BusyError, ConfigurationError, RingroomError
from ringroom.events import Kind
from ringroom.frames import AudioFrame, DataFrame, DataTrackFrame, FileFrame, Frame, VideoFrame
from ringroom.lanes import records
from ringroom.lanes.lane import USUAL_READING, grown, ring_for, ring_for_readings
from ringroom.lanes.live import LiveWriter
from ringroom.lanes.reliable import ReliableWriter
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import Count, Row
from ringroom.options import PublishOptions
from ringroom.resampling import TrackResampler
from ringroom.sessions.unsent import PIECE_SECONDS, Unsent

SPEECH_SECONDS = 1.0
LIVE_SECONDS = 2.0
VIDEO_FRAMES = 8
# Of a message; a file that is larger has a ring made for it.
DATA_BYTES = 1 << 18
_MESSAGES = 4


class OutgoingLane:
    """See the module's docstring. Not thread-safe."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        publish: PublishOptions,
        play_clock: Callable[[], int],
        asked: PublishOptions | None = None,
    ) -> None:
        """``play_clock`` tells the moment in nanoseconds, and stands still while nothing plays.
        ``asked`` is what ``publish`` was made of, if it was made of others."""
        self.name = name
        self.kind = kind
        self.number = 0
        """Of the present lane, on the link."""
        self.writer: LiveWriter | ReliableWriter | None = None
        self.ready = False
        self.error: RingroomError | None = None
        """What made the track fail."""
        self.opened: m.PlayoutOpen | None = None
        """What the I/O role was asked for, or will be."""
        self.flush_request = 0
        """The last flush; 0 before any."""
        self.end_request = 0
        """The request whose answer tells that the track is over; 0 until it is ended."""
        self.unsent = Unsent(name)
        """What the sender has still to write; a flush empties it."""
        self.filling: weakref.ref[object] | None = None
        """What has the track to itself (`filling.py`). Its owner may be interrupted anywhere, and
        then it is collected."""
        self._publish = publish
        self.asked = publish if asked is None else asked
        """The options that its first frame was sent with."""
        self._play_clock = play_clock
        self._ring = ring_for(DATA_BYTES, _MESSAGES)
        """Of the next writer too."""
        self._frame_bytes = 0
        """Of the largest picture, message or reading that the ring was made for."""
        self._played_before = 0.0
        """Seconds that were played of the lanes before the present one."""
        self._played_told = 0.0
        """The most that a caller was told."""

    @property
    def sequence(self) -> int:
        """How many records were written to the present lane."""
        return 0 if self.writer is None else self.writer.sequence

    @property
    def row(self) -> Row | None:
        return None if self.writer is None else self.writer.row

    def check_not_filled(self) -> None:
        """Raises `BusyError` while a picture is being filled: nothing else may be sent then."""
        if self.filling is not None and self.filling() is not None:
            raise BusyError(
                f"a picture of track {self.name!r} is being filled; use the track once that is "
                "sent, or another"
            )

    def check_published_as(self, publish: PublishOptions) -> None:
        """Raises `ConfigurationError` unless the track is published with these options."""
        if publish in (self.asked, self._publish):
            return
        differ = ", ".join(
            f"{one.name} is {getattr(self._publish, one.name)!r}, not {wanted!r}"
            for one in fields(publish)
            if (wanted := getattr(publish, one.name))
            not in (getattr(self.asked, one.name), getattr(self._publish, one.name))
        )
        raise ConfigurationError(
            f"publish= is not what track {self.name!r} is published with ({differ}); expected the "
            "options of its first frame, or None; `unpublish` the track first, or name another"
        )

    def form(self, frame: Frame) -> None:
        """Fix the form of the lanes from here on by a frame: rate and channels, or size."""
        # Data tracks are lossy whatever we do, and nobody wants the ones that stand in a queue.
        live = self.kind is Kind.DATA_TRACK or (
            self._publish.mode == "live" and self.kind is not Kind.DATA
        )
        message = m.PlayoutOpen(
            lane=0,
            row=0,
            name=self.name,
            kind=self.kind.value,
            live=live,
            publish=asdict(self._publish),
        )
        if isinstance(frame, AudioFrame):
            self._ring = _sound_ring(frame, LIVE_SECONDS if live else SPEECH_SECONDS)
            self.unsent.resampler = TrackResampler(frame.sample_rate, frame.channels)
            message = message.replace(sample_rate=frame.sample_rate, channels=frame.channels)
        elif isinstance(frame, VideoFrame):
            size = i420_size(frame.width, frame.height)
            self._frame_bytes = grown(size, self._frame_bytes)
            self._ring = ring_for(self._frame_bytes, VIDEO_FRAMES)
            message = message.replace(width=frame.width, height=frame.height)
        elif isinstance(frame, DataTrackFrame):
            size = max(len(frame.payload), USUAL_READING)
            self._frame_bytes = grown(size, self._frame_bytes, MAX_DATA_TRACK_BYTES)
            self._ring = ring_for_readings(self._frame_bytes)
        else:
            self._frame_bytes = grown(_record_bytes(frame), self._frame_bytes, MAX_FILE_BYTES)
            self._ring = ring_for(self._frame_bytes, _MESSAGES)
        self.opened = message

    def forget_size(self) -> None:
        """The next picture or message gets a ring that is no larger than it needs."""
        self._frame_bytes = 0

    def takes(self, frame: VideoFrame | DataFrame | DataTrackFrame) -> bool:
        """Whether it is no larger than the ring was made for."""
        if isinstance(frame, DataTrackFrame):
            return len(frame.payload) <= self._frame_bytes
        if isinstance(frame, DataFrame):
            return _record_bytes(frame) <= self._frame_bytes
        return i420_size(frame.width, frame.height) <= self._frame_bytes

    def begin(self, number: int, row: Row) -> m.PlayoutOpen:
        """A lane of the form that was fixed, after none or one that was `retire`d; what to say of
        it. Raises `StartupError` when no memory or descriptors are left."""
        assert self.opened is not None
        made = LiveWriter if self.opened.live else ReliableWriter
        self.writer = made(self._ring, row)
        self.number = number
        self.opened = self.opened.replace(lane=number, row=row.index)
        return self.opened

    def note(self, error: RingroomError | None) -> None:
        """The I/O role has published the track, or it has failed."""
        self.ready, self.error = error is None, error

    def close(self) -> None:
        """Idempotent: nothing more is written. What was written is read to its end."""
        if self.writer is not None:
            self.writer.close()

    def retire(self) -> None:
        """Another lane takes the place of this one, if there is one: what it has played stays
        played, and its row is not looked at any more."""
        self._played_before = self.played()
        self.drop_writer()

    def drop_writer(self) -> None:
        """Idempotent: there is no lane until `begin`."""
        self.close()
        self.writer, self.ready = None, False

    def tail(self) -> list[Frame]:
        """Take what the track's resampler still holds: a last piece, or none."""
        resampler = self.unsent.resampler
        if resampler is None:
            return []
        rest = resampler.tail()
        if not len(rest):
            return []
        return [AudioFrame.received(rest, resampler.sample_rate, self.name, (0, 0))]

    def forget_unsent(self) -> float:
        """Throw away what is unsent; the seconds of sound."""
        seconds = self.unsent.seconds
        self.unsent.clear()
        return seconds

    def played(self) -> float:
        """Seconds of the track's sound that were really played; never falls."""
        row, resampler = self.row, self.unsent.resampler
        if row is not None and resampler is not None:
            # In this order, against that in which a playout writes: of a change under way too
            # little is told.
            now = self._play_clock()
            accepted = row.get(Count.PLAYED)
            queued = max(0, row.get(Count.PLAYED_UNTIL_NS) - now) / 1e9
            kept = accepted - row.get(Count.CLEARED)
            seconds = self._played_before + kept / resampler.sample_rate - queued
            self._played_told = max(self._played_told, seconds)
        return self._played_told


def _record_bytes(frame: DataFrame) -> int:
    """What a ring for the message is made for: only a file has more than the smallest."""
    return max(DATA_BYTES, records.size_of(frame)) if isinstance(frame, FileFrame) else DATA_BYTES


def _sound_ring(frame: AudioFrame, seconds: float) -> Geometry:
    piece = int(frame.sample_rate * PIECE_SECONDS) * frame.channels * 2
    # Twice the sound's size: short frames carry as much header as sound.
    return ring_for(piece, 2 * int(seconds / PIECE_SECONDS))
