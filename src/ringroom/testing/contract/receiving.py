"""Promises about sound that is received."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ringroom.client import Receiver
from ringroom.events import Kind, TrackInfo
from ringroom.frames import AudioFrame
from ringroom.testing import sources
from ringroom.testing.contract.hearing import (
    Heard,
    ann_says,
    collect,
    following,
    listen,
    listen_both,
    say,
)
from ringroom.testing.contract.promise import broken, expect, pause, promise
from ringroom.testing.contract.score import (
    FOREIGN,
    MANY,
    RATE,
    Score,
    disordered,
    level,
    missing,
    pitch,
    repeated,
)
from ringroom.testing.contract.subject import Driver, Subject

PITCH_HZ = 15.0
Sound: TypeAlias = NDArray[np.float64]
"""One channel, full scale 1."""


@promise("audio_in", "lossless_audio")
def sound_arrives_sample_for_sample(subject: Subject) -> None:
    """What Ann says arrives with every sample as she said it."""
    score = Score(subject.capabilities)
    heard = ann_says(subject, score)
    expect_exact(heard, score)


def expect_exact(heard: Heard, score: Score) -> None:
    """All samples, up to where the sound ends, and nothing else."""
    got, said = heard.samples[:, 0], score.samples[:, 0]
    both = min(len(got), len(said))
    wrong = np.flatnonzero(got[:both] != said[:both])
    if len(wrong):
        at = int(wrong[0])
        broken(
            f"sample {at} is {got[at]}, and was {said[at]} when it was said "
            f"({len(wrong)} of {both} samples differ)"
        )
    expect(len(got) >= len(said), f"{len(got)} of {len(said)} samples arrived")


@promise("audio_in")
def sound_arrives_in_order(subject: Subject) -> None:
    """What Ann says first arrives first."""
    score = Score(subject.capabilities, MANY)
    wrong = disordered(ann_says(subject, score).numbers)
    expect(not wrong, f"out of order: piece {wrong[:1]} (earlier number after the later)")


@promise("audio_in")
def no_sound_arrives_twice(subject: Subject) -> None:
    """Nothing of what Ann says arrives twice."""
    score = Score(subject.capabilities, MANY)
    twice = repeated(ann_says(subject, score).numbers)
    expect(not twice, f"pieces {twice} arrived twice")


@promise("audio_in")
def no_sound_is_lost_on_the_way_in(subject: Subject) -> None:
    """All that Ann says arrives, to a reader that keeps up."""
    score = Score(subject.capabilities, MANY)
    heard = ann_says(subject, score)
    lost = missing(heard.numbers, score)
    expect(not lost, f"pieces {lost} of {score.count} never arrived: sound was lost")


@promise("audio_in")
def no_sound_is_invented(subject: Subject) -> None:
    """Nothing arrives that Ann did not say, but silence."""
    score = Score(subject.capabilities)
    heard = ann_says(subject, score)
    foreign = heard.numbers.count(FOREIGN)
    expect(not foreign, f"{foreign} stretches of sound arrived that nobody said")


@promise("audio_in")
def sound_keeps_its_pitch_and_level(subject: Subject) -> None:
    """A tone arrives with its frequency and its loudness."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        said = sources.tone(1000, 0.6, RATE, level=0.4)
        stage.driver.publish_audio("ann", "mic", RATE, 1)
        stage.driver.speak("ann", "mic", AudioFrame(said, RATE))
        tone = middle(collect_sound(receiver, 0.6, stage.patience), RATE)
        expect_tone(tone, RATE, 1000, (0.4 / 2**0.5, stage.capabilities.level_tolerance))


def collect_sound(receiver: Receiver, seconds: float, patience: float) -> Sound:
    """That much sound that is not silence, or what came in time; one channel, full scale 1."""

    def enough(items: list[AudioFrame]) -> bool:
        loud = [f for f in items if np.abs(f.samples).max() > 300]
        return sum(frame.duration for frame in loud) >= seconds - 0.1

    items, _ = collect(receiver, enough, patience + seconds)
    parts = [frame.as_float()[:, 0].astype(np.float64) for frame in items]
    return np.concatenate(parts) if parts else np.zeros(0)


def middle(sound: Sound, rate: int) -> Sound:
    """The loud stretch without its ends, where it fades in and out."""
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    if not len(loud):
        return sound[:0]
    edge = int(0.1 * rate)
    return sound[loud[0] + edge : loud[-1] - edge]


def expect_tone(
    tone: Sound,
    rate: int,
    frequency: float,
    loudness: tuple[float, float],
) -> None:
    """``loudness`` is the level and by how much, relatively, it may differ."""
    expect(len(tone) > rate // 20, "the tone was not heard")
    found = pitch(tone, rate)
    expect(
        abs(found - frequency) < PITCH_HZ,
        f"a tone of {frequency:g} Hz arrived with {found:.0f} Hz: is the sample rate right?",
    )
    wanted, tolerance = loudness
    loud = level(tone)
    expect(
        abs(loud - wanted) <= tolerance * wanted,
        f"a tone of level {wanted:.3f} arrived with level {loud:.3f}",
    )


@promise("audio_in")
def frames_have_the_form_that_was_asked_for(subject: Subject) -> None:
    """Received frames have the transport's sample rate, channels and length."""
    score = Score(subject.capabilities)
    for frame_ms in (20, 50):  # the default, and one that no provider has by itself
        wanted = RATE * frame_ms // 1000
        heard = ann_says(subject, score, frame_ms=frame_ms, sample_rate=RATE, channels=1)
        for frame in heard.frames:
            rate, channels, length = frame.sample_rate, frame.channels, len(frame.samples)
            expect(rate == RATE, f"a frame of {rate} Hz, asked for {RATE}")
            expect(channels == 1, f"a frame of {channels} channels, asked for 1")
            what = f"a frame of {length} samples, asked for {frame_ms} ms ({wanted})"
            expect(length == wanted, what)


@promise("audio_in", "conversion")
def a_track_of_another_rate_is_converted(subject: Subject) -> None:
    """A track of 48 kHz in two channels arrives as the transport asked, at the same pitch."""
    with subject.opened(kinds=("audio",), sample_rate=RATE, channels=1) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.publish_audio("ann", "mic", 48_000, 2)
        said = sources.tone(800, 0.6, 48_000, 2, level=0.4)
        stage.driver.speak("ann", "mic", AudioFrame(said, 48_000))
        frame = following(receiver)
        form = (frame.sample_rate, frame.channels)
        expect(form == (RATE, 1), f"frames of {form} (rate, channels), asked for {(RATE, 1)}")
        tone = middle(collect_sound(receiver, 0.5, stage.patience), RATE)
        expect_tone(tone, RATE, 800, (0.4 / 2**0.5, max(0.05, stage.capabilities.level_tolerance)))


@promise("audio_in", "stereo")
def stereo_keeps_its_sides(subject: Subject) -> None:
    """Of two channels the left one stays left."""
    left, right = sources.tone(500, 0.6, RATE), sources.tone(900, 0.6, RATE)
    with subject.opened(kinds=("audio",), channels=2) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.publish_audio("ann", "mic", RATE, 2)
        stage.driver.speak("ann", "mic", AudioFrame(np.hstack([left, right]), RATE))
        frames, _ = collect(receiver, lambda got: len(got) >= 25, stage.patience)
        expect(frames, "not one frame arrived")
        expect(frames[0].channels == 2, f"{frames[0].channels} channel arrived, asked for 2")
        both = np.concatenate([frame.as_float().astype(np.float64) for frame in frames])[
            -RATE // 5 :
        ]
        for side, frequency in ((0, 500), (1, 900)):
            found = pitch(both[:, side], RATE)
            expect(
                abs(found - frequency) < PITCH_HZ,
                f"channel {side} carries {found:.0f} Hz, expected {frequency}: sides mixed up?",
            )


@promise("audio_in")
def frames_are_numbered_without_a_gap(subject: Subject) -> None:
    """The frames of a track count up by one, so that a reader can tell what it missed."""
    numbers = [frame.sequence for frame in ann_says(subject, Score(subject.capabilities)).frames]
    steps = {later - earlier for earlier, later in itertools.pairwise(numbers)}
    expect(steps <= {1}, f"the numbers go {numbers[:8]}..., expected steps of 1")


@promise("audio_in")
def frames_tell_when_they_came(subject: Subject) -> None:
    """``received_ns`` of frames never goes back and lies between being said and being read."""
    before = time.monotonic_ns()
    stamps = [frame.received_ns for frame in ann_says(subject, Score(subject.capabilities)).frames]
    expect(stamps == sorted(stamps), "the times of arrival go back")
    expect(stamps[0] >= before, "a frame arrived before it was said")
    expect(stamps[-1] <= time.monotonic_ns(), "a frame arrives in the future")


@promise("audio_in")
def frames_name_their_track(subject: Subject) -> None:
    """A frame tells the track's name, kind and sid, and who publishes it."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        score = Score(stage.capabilities)
        say(stage, score, "ann", "guitar")
        heard = listen(receiver, score, stage)
        expect(heard.frames, "not one frame of the track arrived")
        track = heard.frames[0].track
        if not isinstance(track, TrackInfo):
            broken(f"a frame's track is {track!r}, expected a TrackInfo")
        expect(track.name == "guitar", f"the track is called {track.name!r}, published 'guitar'")
        expect(track.kind is Kind.AUDIO, f"the track's kind is {track.kind!r}, expected audio")
        expect(track.participant == "ann", f"it is said to be of {track.participant!r}, not 'ann'")
        expect(track.sid, "the track has no sid")


@promise("audio_in", "several_tracks")
def two_tracks_of_one_participant_do_not_mix(subject: Subject) -> None:
    """Two tracks of one participant stay apart, by name and by sound."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        scores = {"mic": Score(stage.capabilities), "guitar": Score(stage.capabilities, seed=1)}
        for name, score in scores.items():
            say(stage, score, "ann", name)
        expect_apart(listen_both(receiver, scores, stage), scores)


def expect_apart(heard: dict[str, Heard], scores: dict[str, Score]) -> None:
    for name, score in scores.items():
        numbers = heard[name].numbers
        expect(FOREIGN not in numbers, f"track {name!r} has sound that was not said on it")
        lost = missing(numbers, score)
        expect(not lost, f"of track {name!r} pieces {lost} never arrived")


@promise("audio_in", "several_people")
def two_participants_do_not_mix(subject: Subject) -> None:
    """Tracks of two participants stay apart, also when they have the same name."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        stage.driver.join("ben")
        scores = {"ann": Score(stage.capabilities), "ben": Score(stage.capabilities, seed=1)}
        receiver = transport.recv(timeout=stage.patience)
        for who, score in scores.items():
            say(stage, score, who, "mic")
        parts: dict[str, Heard] = {who: Heard() for who in scores}

        def all_heard(frames: list[AudioFrame]) -> bool:
            for who, score in scores.items():
                parts[who].frames = [frame for frame in frames if frame.participant == who]
                if parts[who].frames:
                    parts[who].numbers = score.read(parts[who].samples, parts[who].rate)
            return all(score.end in parts[who].numbers for who, score in scores.items())

        seconds = stage.patience + 2 * scores["ann"].seconds
        frames, _ = collect(receiver, all_heard, seconds)
        strangers = {frame.participant for frame in frames} - scores.keys()
        expect(not strangers, f"frames of {sorted(strangers)}, who are not there")
        expect_apart(parts, scores)


@promise("audio_in", "several_people")
def a_narrowed_reader_hears_only_whom_it_named(subject: Subject) -> None:
    """``recv(participants=...)`` gives nothing of anybody else."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        stage.driver.join("ben")
        receiver = transport.recv(participants=["ann"], timeout=stage.patience)
        say(stage, Score(stage.capabilities, seed=1), "ben", "mic")
        score = Score(stage.capabilities)
        say(stage, score, "ann", "mic")
        heard = listen(receiver, score, stage)
        speakers = {frame.participant for frame in heard.frames}
        expect(speakers == {"ann"}, f"frames of {sorted(speakers)} arrived, asked for 'ann'")


@promise("audio_in", "several_people")
def what_is_not_wanted_is_not_subscribed(subject: Subject) -> None:
    """A track that ``participants=`` leaves out costs nothing: no frame of it comes in at all."""
    with subject.opened(kinds=("audio",), participants=["ann"]) as (transport, stage):
        stage.driver.join("ben")
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities, seed=1), "ben", "mic")
        score = Score(stage.capabilities)
        say(stage, score, "ann", "mic")
        heard = listen(receiver, score, stage)
        expect(heard.frames, "not one frame of the wanted track arrived")
        lanes = [lane for lane in transport.stats().lanes if lane.participant == "ben"]
        count = sum(lane.counts.sent for lane in lanes)
        speakers = {frame.participant for frame in heard.frames}
        expect(
            speakers == {"ann"} and not lanes,
            f"{count} frames of 'ben' came in, who is not wanted: does the provider ask `wants`?",
        )


@promise("audio_in")
def a_track_that_was_there_before_us_is_heard(subject: Subject) -> None:
    """A track that was published before we joined is received as well."""
    with subject.staged() as stage:
        stage.driver.publish_audio("ann", "mic", RATE, 1)
        transport = stage.open(kinds=("audio",))
        try:
            receiver = transport.recv(timeout=stage.patience)
            score = Score(stage.capabilities)
            stage.until(lambda: _reaches(stage.driver, score, receiver), "a frame of the track")
        finally:
            transport.close()


def _reaches(driver: Driver, score: Score, receiver: Receiver) -> bool:
    # Nothing tells when we are subscribed, so Ann says it again until we hear it.
    driver.speak("ann", "mic", score.frame)
    try:
        next(receiver)
    except TimeoutError:
        return False
    return True


@promise("audio_in")
def a_frame_that_is_kept_does_not_change(subject: Subject) -> None:
    """A frame stays as it was while others follow, and nobody can write into it."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        score = Score(stage.capabilities)
        say(stage, score)
        first = following(receiver)
        copy = first.samples.copy()
        expect(not first.samples.flags.writeable, "the samples of a received frame are writable")
        listen(receiver, score, stage)
        expect(np.array_equal(first.samples, copy), "a kept frame changed when others came")
    expect(np.array_equal(first.samples, copy), "a kept frame changed when the transport closed")


@promise("audio_in")
def no_frame_is_older_than_max_age(subject: Subject) -> None:
    """After a stall the reader gets nothing older than ``max_age``, and the newest there is."""
    with subject.opened(kinds=("audio",), max_age=0.1) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience / 5)
        score = Score(stage.capabilities)
        say(stage, score)
        stage.until(
            lambda: transport.stats().received.sent >= min(score.count, 10), "frames coming in"
        )
        pause(0.2)  # the stall that this is about
        last = Score(stage.capabilities, seed=1)
        ages: list[float] = []

        def enough() -> bool:
            # On a slow machine these may have become too old as well before they are asked for.
            stage.driver.speak("ann", "mic", last.frame)
            with contextlib.suppress(TimeoutError):
                while len(ages) < 5:
                    asked = time.monotonic_ns()
                    ages.append((asked - following(receiver).received_ns) / 1e9)
            return len(ages) == 5

        stage.until(enough, "five frames after a stall")
        counts = transport.stats().received
        expect(max(ages) <= 0.1, f"a frame was {max(ages):.3f} s old, max_age is 0.1 s")
        expect(counts.dropped_stale > 0, "what was too old was not counted as dropped")
