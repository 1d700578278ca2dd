"""What a track of ours has still to write: frames, converted and cut as that is done.

To convert a long frame takes long, and the caller that does it holds a lock or an event loop: so
each piece is made when its turn has come.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from ringroom.checks import Samples
from ringroom.frames import AudioFrame, Frame
from ringroom.lanes.records import HEADER_BYTES
from ringroom.resampling import TrackResampler

PIECE_SECONDS = 0.1


class Unsent:
    """First in, first out. Of what is thrown away the resampler has seen a piece at the most."""

    def __init__(self, track: str) -> None:
        self.resampler: TrackResampler | None = None
        """None on a track without sound."""
        self._track = track
        self._frames: deque[Frame] = deque()
        self._left = 0
        """Steps of all frames that are not converted: counted as they come, for their sender may
        spoil them afterwards."""
        self._begun = 0
        """Steps of the first frame that are converted."""
        self._rest: Samples | None = None
        """What they came to, beyond whole pieces."""
        self._pieces: deque[Frame] = deque()

    def __len__(self) -> int:
        """How many pieces that is; about so many, where rates differ."""
        return len(self._pieces) + self._left

    def __bool__(self) -> bool:
        return bool(self._pieces or self._frames)

    @property
    def seconds(self) -> float:
        """Seconds of the sound in it."""
        frames = [
            frame for frame in (*self._pieces, *self._frames) if isinstance(frame, AudioFrame)
        ]
        seconds = sum(frame.duration for frame in frames)
        if self._begun and isinstance(first := self._frames[0], AudioFrame):
            seconds -= self._begun * _step(first.sample_rate) / first.sample_rate
        if self._rest is not None and self.resampler is not None:
            seconds += len(self._rest) / self.resampler.sample_rate
        return seconds

    def put(self, *frames: Frame) -> None:
        self._left += sum(map(_steps, frames))
        self._frames.extend(frames)

    def first(self) -> Frame | None:
        """The piece to be written now; None when all is written."""
        while not self._pieces and self._frames:
            self._make()
        return self._pieces[0] if self._pieces else None

    def written(self) -> None:
        """The first piece is written."""
        self._pieces.popleft()

    def take(self) -> Frame | None:
        """The piece to be written now, of which nothing is known here any more: Ctrl-C in the
        middle of the write does not have it written twice. None when all is written."""
        while not self._pieces and self._frames:
            self._make()
        return self._pieces.popleft() if self._pieces else None

    def give_back(self, piece: Frame) -> None:
        """It has no room, and is the first again."""
        self._pieces.appendleft(piece)

    def record_sizes(self, frame: AudioFrame) -> list[int]:
        """Bytes of the records that the frame gives at most, with nothing unsent before it."""
        resampler = self.resampler
        assert resampler is not None
        length, sample = _step(resampler.sample_rate), 2 * resampler.channels
        whole, rest = divmod(resampler.most(frame), length)
        lengths = [length] * whole + [rest] * (rest > 0)
        return [HEADER_BYTES + sample * each for each in lengths]

    def clear(self) -> None:
        self._frames.clear()
        self._pieces.clear()
        self._left, self._begun, self._rest = 0, 0, None

    def _make(self) -> None:
        """Go one step on in the first frame, to as many pieces as that gives, or to none."""
        frame, steps = self._frames[0], _steps(self._frames[0])
        rest: Samples | None = None
        pieces: list[Frame] = []
        if isinstance(frame, AudioFrame):
            part = frame if steps == 1 else _part(frame, self._begun)
            rest = self._cut(part, self._begun + 1 == steps, pieces)
        else:
            pieces.append(frame)
        # Nothing is called from here on: Ctrl-C finds the step done, or undone.
        self._left -= 1
        self._rest = rest
        begun = self._begun + 1
        if begun < steps:
            self._begun = begun
        else:
            self._begun = 0
            del self._frames[0]
        self._pieces += pieces

    def _cut(self, part: AudioFrame, is_last: bool, pieces: list[Frame]) -> Samples | None:
        """Add its pieces to those; what is left for the first piece of the next part."""
        assert self.resampler is not None
        sound, rest = self.resampler.convert(part), None
        if self._rest is not None:
            sound = np.concatenate([self._rest, sound])
        rate, whole = self.resampler.sample_rate, len(sound)
        length = _step(rate)
        if not is_last:
            whole -= whole % length
            rest = sound[whole:] if whole < len(sound) else None
        for at in range(0, whole, length):
            piece = sound[at : min(at + length, whole)]
            pieces.append(AudioFrame.received(piece, rate, self._track, (0, 0)))
        return rest


def _step(rate: int) -> int:
    return int(rate * PIECE_SECONDS)


def _steps(frame: Frame) -> int:
    if isinstance(frame, AudioFrame):
        return -(-len(frame.samples) // _step(frame.sample_rate)) or 1
    return 1


def _part(frame: AudioFrame, number: int) -> AudioFrame:
    step = _step(frame.sample_rate)
    samples = frame.samples[number * step : (number + 1) * step]
    return AudioFrame.received(samples, frame.sample_rate, None, (0, 0))
