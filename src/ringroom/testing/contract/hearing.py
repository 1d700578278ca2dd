"""Both directions of sound and pictures, as promises use them: say, listen until the end came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ringroom.checks import Samples
from ringroom.client import Receiver
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.testing import sources
from ringroom.testing.contract.promise import broken, expect
from ringroom.testing.contract.score import RATE, Score
from ringroom.testing.contract.subject import Stage, Subject

__all__ = [
    "Heard",
    "ann_says",
    "collect",
    "following",
    "heard_from_us",
    "listen",
    "listen_both",
    "pictures_until",
    "say",
    "we_say",
]

WIDTH, HEIGHT = 64, 48


def following(receiver: Receiver) -> Any:
    """The next item, of whatever kind the receiver was opened for."""
    return next(receiver)


def joined(frames: Sequence[AudioFrame]) -> Samples:
    """The sound of frames that have one rate and number of channels."""
    if not frames:
        return np.zeros((0, 1), np.int16)
    return np.concatenate([frame.samples for frame in frames])


@dataclass(kw_only=True)
class Heard:
    """What arrived of one track."""

    frames: list[AudioFrame] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    @property
    def samples(self) -> Samples:
        return joined(self.frames)

    @property
    def rate(self) -> int:
        return self.frames[0].sample_rate if self.frames else RATE


def listen(receiver: Receiver, score: Score, stage: Stage) -> Heard:
    """Until the score's end was heard, or nothing more came in time."""
    return listen_both(receiver, {"": score}, stage)[""]


def listen_both(receiver: Receiver, scores: dict[str, Score], stage: Stage) -> dict[str, Heard]:
    """As `listen`, for several tracks by name; the name "" stands for all tracks."""
    heard = {name: Heard() for name in scores}
    read = dict.fromkeys(scores, 0)
    end = time.monotonic() + stage.patience + max(score.seconds for score in scores.values())
    while time.monotonic() < end:
        try:
            frame = next(receiver)
        except (TimeoutError, StopIteration):
            break
        if not isinstance(frame, AudioFrame):
            continue
        name = "" if "" in scores else _name(frame)
        if name not in scores:
            broken(f"a frame of track {name!r}, which nobody speaks on: {frame!r}")
        one, score = heard[name], scores[name]
        one.frames.append(frame)
        count = sum(len(part.samples) for part in one.frames)
        if (count - read[name]) * 1000 >= 20 * frame.sample_rate:
            read[name] = count
            one.numbers = score.read(one.samples, frame.sample_rate)
        if all(score.end in heard[name].numbers for name, score in scores.items()):
            break
    return heard


def _name(frame: AudioFrame) -> str:
    track = frame.track
    if track is None or isinstance(track, str):
        broken(f"a received frame that names no track: {frame!r}")
    return track.name


def say(stage: Stage, score: Score, who: str = "ann", track: str = "mic") -> None:
    """Somebody publishes a track and says the score on it."""
    stage.driver.publish_audio(who, track, score.rate, 1)
    for part in score.parts:
        stage.driver.speak(who, track, part)


def ann_says(subject: Subject, score: Score, **options: Any) -> Heard:
    """What we receive of a score that Ann says."""
    with subject.opened(**options) as (transport, stage):
        receiver = transport.recv(kinds=("audio",), timeout=subject.capabilities.patience)
        say(stage, score)
        heard = listen(receiver, score, stage)
        expect(heard.frames, "not one frame of the track arrived")
        return heard


def heard_from_us(stage: Stage, score: Score, track: str = "audio") -> Heard:
    """What the others hear on a track of ours, until the score's end or nothing more in time."""
    heard = Heard()
    seconds = stage.patience + score.seconds
    end = time.monotonic() + seconds
    wait = 0.005
    while score.end not in heard.numbers and time.monotonic() < end:
        sound = stage.driver.heard(track)
        if sound is not None and (not heard.frames or len(sound.samples) > len(heard.samples)):
            begun = time.thread_time()
            heard.frames = [sound]
            heard.numbers = score.read(sound.samples, sound.sample_rate)
            # A driver in this process hears nothing while this thread holds the GIL.
            wait = max(0.005, 3 * (time.thread_time() - begun))
        time.sleep(wait)
    return heard


def we_say(subject: Subject, score: Score, **options: Any) -> Heard:
    """What the others hear of a score that we send."""
    with subject.opened(kinds=(), **options) as (transport, stage):
        transport.send(score.frame, timeout=stage.patience + score.seconds)
        heard = heard_from_us(stage, score)
        expect(heard.frames, "nothing was heard of what was sent")
        return heard


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> VideoFrame:
    """Test pictures carry a number that survives coding."""
    return sources.picture(number, width, height)


def collect(
    receiver: Iterator[Any], enough: Callable[[list[Any]], bool], seconds: float
) -> tuple[list[Any], bool]:
    """Items until there are enough, it ends, or the time is up; and whether it ended by itself."""
    items: list[Any] = []
    end = time.monotonic() + seconds
    while not enough(items) and time.monotonic() < end:
        try:
            items.append(next(receiver))
        except TimeoutError:
            break
        except StopIteration:
            return items, True
    return items, False


def pictures_until(receiver: Receiver, last: int, stage: Stage) -> list[VideoFrame]:
    """Received pictures until that number came, or nothing more in time."""

    def enough(items: list[Any]) -> bool:
        return bool(items) and sources.picture_number(items[-1]) == last

    pictures = collect(receiver, enough, 2 * stage.patience)[0]
    expect(pictures, "not one picture arrived")
    return pictures
