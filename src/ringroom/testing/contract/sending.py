"""Promises about sound that is sent."""

from __future__ import annotations

import contextlib
import time

import numpy as np

from ringroom.client import Transport
from ringroom.errors import BusyError, FrameError, RoomError, WouldBlock
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.options import PublishOptions
from ringroom.testing import sources
from ringroom.testing.contract.hearing import HEIGHT, WIDTH, heard_from_us, picture, we_say
from ringroom.testing.contract.promise import Call, expect, expect_error, pause, promise
from ringroom.testing.contract.receiving import (
    PITCH_HZ,
    Sound,
    expect_apart,
    expect_exact,
    expect_tone,
    middle,
)
from ringroom.testing.contract.score import (
    FOREIGN,
    MANY,
    RATE,
    Score,
    disordered,
    missing,
    pitch,
    repeated,
    tone_seconds,
)
from ringroom.testing.contract.subject import LOOK_SECONDS, Stage, Subject

# A lane of speech holds a second of sound, and the source what `queue_ms` says; more must wait.
MORE_THAN_FITS = 4.0
# Sound goes to the source in pieces of 0.1 s. The piece that plays during a flush may count as
# neither played nor flushed.
ONE_PIECE = 0.15


@promise("audio_out", "lossless_audio")
def sound_is_heard_sample_for_sample(subject: Subject) -> None:
    """What we send is heard with every sample as it was."""
    score = Score(subject.capabilities)
    expect_exact(we_say(subject, score), score)


@promise("audio_out")
def sound_is_heard_in_order(subject: Subject) -> None:
    """What we send first is heard first."""
    wrong = disordered(we_say(subject, Score(subject.capabilities, 10)).numbers)
    expect(not wrong, f"heard out of order: piece {wrong[:1]} (the later before the earlier)")


@promise("audio_out")
def no_sound_is_heard_twice(subject: Subject) -> None:
    """Nothing that we send is heard twice."""
    twice = repeated(we_say(subject, Score(subject.capabilities, MANY)).numbers)
    expect(not twice, f"pieces {twice} were heard twice")


@promise("audio_out")
def no_sound_is_lost_on_the_way_out(subject: Subject) -> None:
    """All that we send in ``speech`` mode is heard."""
    score = Score(subject.capabilities, MANY)
    lost = missing(we_say(subject, score).numbers, score)
    expect(not lost, f"pieces {lost} of {score.count} were never heard: sound was lost")


@promise("audio_out")
def no_sound_is_heard_that_was_not_sent(subject: Subject) -> None:
    """Nothing is heard that we did not send, but silence."""
    foreign = we_say(subject, Score(subject.capabilities)).numbers.count(FOREIGN)
    expect(not foreign, f"{foreign} stretches of sound were heard that nobody sent")


@promise("audio_out")
def sound_of_ours_keeps_its_pitch_and_level(subject: Subject) -> None:
    """A tone that we send is heard with its frequency and its loudness."""
    seconds, judged = tone_seconds(subject.capabilities)
    tone = sources.tone(1000, seconds, RATE, level=0.4)
    with subject.opened(kinds=()) as (transport, stage):
        transport.send(AudioFrame(tone, RATE), timeout=stage.patience)
        sound, rate = heard_seconds(stage, judged)
        tolerance = stage.capabilities.level_tolerance
        expect_tone(sound, rate, 1000, (0.4 / 2**0.5, tolerance))


def heard_seconds(stage: Stage, seconds: float) -> tuple[Sound, int]:
    """That much sound of ours that is not silence, without its ends, and its rate."""

    def loud() -> AudioFrame | None:
        sound = stage.driver.heard("audio")
        if sound is None:
            return None
        count = int((np.abs(sound.samples[:, 0].astype(np.int32)) > 300).sum())
        return sound if count >= 0.9 * seconds * sound.sample_rate else None

    sound = stage.until(loud, f"{seconds:g} s of our sound being heard", stage.patience + seconds)
    assert sound is not None
    return middle(sound.as_float()[:, 0].astype(np.float64), sound.sample_rate), sound.sample_rate


@promise("audio_out")
def sound_of_another_rate_keeps_its_pitch(subject: Subject) -> None:
    """A track that began with one rate takes frames of another, at the same pitch."""
    with subject.opened(kinds=()) as (transport, stage):
        first = AudioFrame(sources.silence(0.02, RATE), RATE)
        transport.send(first, timeout=stage.patience)
        seconds, judged = tone_seconds(stage.capabilities)
        tone = sources.tone(700, seconds, 48_000, level=0.4)
        transport.send(AudioFrame(tone, 48_000), timeout=stage.patience)
        sound, rate = heard_seconds(stage, judged)
        found = pitch(sound, rate)
        expect(abs(found - 700) < PITCH_HZ, f"700 Hz were sent and {found:.0f} Hz heard")


@promise("audio_out", "stereo")
def stereo_of_ours_keeps_its_sides(subject: Subject) -> None:
    """Of two channels that we send the left one stays left."""
    seconds, judged = tone_seconds(subject.capabilities)
    both = np.hstack([sources.tone(500, seconds, RATE), sources.tone(900, seconds, RATE)])
    with subject.opened(kinds=()) as (transport, stage):
        transport.send(AudioFrame(both, RATE), timeout=stage.patience)
        heard_seconds(stage, judged)
        sound = stage.driver.heard("audio")
        assert sound is not None
        expect(sound.channels == 2, f"{sound.channels} channel is heard, sent were 2")
        for side, frequency in ((0, 500), (1, 900)):
            found = pitch(sound.as_float()[:, side].astype(np.float64), sound.sample_rate)
            expect(abs(found - frequency) < PITCH_HZ, f"channel {side} carries {found:.0f} Hz")


@promise("audio_out", "several_tracks")
def two_tracks_of_ours_do_not_mix(subject: Subject) -> None:
    """What we send on one track is not heard on another."""
    with subject.opened(kinds=()) as (transport, stage):
        scores = {"voice": Score(stage.capabilities), "music": Score(stage.capabilities, seed=1)}
        for name, score in scores.items():
            transport.send(score.frame.replace(track=name), timeout=stage.patience)
        heard = {name: heard_from_us(stage, score, name) for name, score in scores.items()}
        expect_apart(heard, scores)


@promise("audio_out")
def a_track_of_ours_is_published_under_its_name(subject: Subject) -> None:
    """The others see our track by the name that we gave it, and no other."""
    with subject.opened(kinds=()) as (transport, stage):
        silence = AudioFrame(sources.silence(0.1, RATE), RATE, track="voice")
        transport.send(silence, timeout=stage.patience)
        tracks = stage.until(stage.driver.tracks, "a track of ours being published")
        expect({*tracks} == {"voice"}, f"we sent on 'voice', published are {sorted(tracks)}")


@promise("audio_out")
def raw_pcm_is_heard(subject: Subject) -> None:
    """What is written to ``audio_out()`` is heard as sound."""
    score = Score(subject.capabilities)
    with subject.opened(kinds=()) as (transport, stage):
        with transport.audio_out() as stream:
            taken = stream.write(score.frame.data)
        expect(taken == len(score.frame.data), f"{taken} bytes taken, a write takes all of it")
        heard = heard_from_us(stage, score)
        lost = missing(heard.numbers, score)
        expect(not lost, f"pieces {lost} that were written were never heard")


# Pace


def long_speech(seconds: float = MORE_THAN_FITS) -> AudioFrame:
    return AudioFrame(sources.noise(seconds, RATE, seed=9), RATE)


@promise("audio_out", "pacing")
def speech_waits_for_the_room(subject: Subject) -> None:
    """A sender of speech waits while what it sent is being played: nothing is swallowed whole."""
    with subject.opened(kinds=()) as (transport, _):
        sound, begun = long_speech(), time.monotonic()
        expect_error(
            TimeoutError,
            lambda: transport.send(sound, timeout=0.3),
            f"sending {MORE_THAN_FITS:g} s of sound within 0.3 s",
        )
        played = transport.played()
        passed = time.monotonic() - begun
        expect(played < passed + 0.7, f"{played:.2f} s are said to be played after {passed:.1f} s")


@promise("audio_out", "pacing")
def a_full_track_would_block(subject: Subject) -> None:
    """``send_nowait`` raises `WouldBlock` when the track is full."""
    with subject.opened(kinds=()) as (transport, _):
        piece, begun = long_speech(0.2), time.monotonic()

        def fill() -> None:
            sent = 0.0
            # What is played meanwhile makes room, on a slow machine as much as is sent.
            while sent < MORE_THAN_FITS + time.monotonic() - begun:
                transport.send_nowait(piece)
                sent += piece.duration
                pause(0.01)  # a provider that does not pace gets the time to take it all

        expect_error(WouldBlock, fill, f"{MORE_THAN_FITS:g} s of send_nowait")


@promise("audio_out", "pacing")
def live_sound_never_waits(subject: Subject) -> None:
    """A sender in ``live`` mode never waits; what does not fit is dropped and counted."""
    live = PublishOptions(mode="live")
    with subject.opened(kinds=()) as (transport, stage):
        first = AudioFrame(sources.silence(0.02, RATE), RATE)
        transport.send(first, publish=live, timeout=stage.patience)
        for _ in range(2):
            transport.send(long_speech(), timeout=0.5)
        counts = transport.stats().sent
        expect(counts.dropped > 0, "twice 4 s in no time, and nothing was dropped: where is it?")


@promise("audio_out", "pacing")
def wait_playout_waits_for_the_end(subject: Subject) -> None:
    """``wait_playout`` returns when all was played, not before; `played` tells how much."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.send(long_speech(0.02), timeout=stage.patience)
        transport.wait_playout(timeout=stage.patience)
        before, position = time.monotonic(), transport.played()
        transport.send(long_speech(0.3), timeout=stage.patience)
        transport.wait_playout(timeout=stage.patience)
        took = time.monotonic() - before
        expect(took >= 0.25, f"0.3 s of sound were said to be played out after {took:.3f} s")
        played = transport.played() - position
        expect(abs(played - 0.3) < 0.05, f"0.3 s were played out, `played` says {played:.3f} s")


@promise("audio_out", "pacing")
def played_never_runs_ahead(subject: Subject) -> None:
    """`played` never tells more than time has passed."""
    with subject.opened(kinds=()) as (transport, stage):
        begun, passed = time.monotonic(), 0.0
        transport.send(long_speech(0.5), timeout=stage.patience)
        while passed < 0.4:
            played = transport.played()
            passed = time.monotonic() - begun  # the later of the two, whatever comes in between
            expect(
                played <= passed + 0.1,
                f"{played:.2f} s are said to be played {passed:.2f} s after the first was sent",
            )
            time.sleep(0.01)
        stage.until(lambda: transport.played() > 0, "sound being said to be played")


@promise("audio_out", "pacing")
def flush_tells_what_it_threw_away(subject: Subject) -> None:
    """What was sent is played or flushed: the two add up, and flushed sound is not heard."""
    seconds = 1.0
    # Several pieces wait at the source: without them more would be missing than the one that plays.
    publish = PublishOptions(queue_ms=400)
    with subject.opened(kinds=()) as (transport, stage):
        sound, begun = long_speech(seconds), time.monotonic()
        transport.send(sound, publish=publish, timeout=stage.patience)
        stage.until(lambda: transport.played() > 0.05, "sound being played")
        flushed = transport.flush()
        passed = time.monotonic() - begun
        expect(
            flushed > min(0.3, seconds - passed - ONE_PIECE),
            f"{seconds:g} s were sent {passed:.2f} s ago, and flush threw away {flushed:.2f} s",
        )
        played = transport.played()
        total = played + flushed
        expect(
            abs(total - seconds) < ONE_PIECE,
            f"{seconds:g} s were sent: {played:.2f} s played + {flushed:.2f} s flushed",
        )
        transport.wait_playout(timeout=stage.patience)
        if stage.capabilities.lossless_audio:
            heard = heard_duration(stage, played - ONE_PIECE)
            expect(
                abs(heard - played) < ONE_PIECE,
                f"{heard:.2f} s were heard, {played:.2f} s are said to be played before the flush",
            )


def heard_duration(stage: Stage, wanted: float) -> float:
    """Seconds of our sound that were heard, once it is as much as wanted, or time is up."""
    end = time.monotonic() + stage.patience
    while True:
        sound = stage.driver.heard("audio")
        seconds = 0.0 if sound is None else sound.duration
        if seconds >= wanted or time.monotonic() > end:
            return seconds
        time.sleep(LOOK_SECONDS)


@promise("audio_out", "pacing")
def sound_after_a_flush_is_heard(subject: Subject) -> None:
    """Flush throws away what came before it, and nothing that comes after."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.send(long_speech(0.8), timeout=stage.patience)
        transport.flush()
        score = Score(stage.capabilities)
        transport.send(score.frame, timeout=stage.patience)
        heard = heard_from_us(stage, score)
        lost = missing(heard.numbers, score)
        expect(not lost, f"pieces {lost} that were sent after the flush were never heard")


@promise("audio_out", "pacing")
def leaving_the_block_plays_out(subject: Subject) -> None:
    """Leaving the ``with`` block normally plays out what was sent."""
    score = Score(subject.capabilities)
    with subject.staged() as stage:
        with stage.open(kinds=()) as transport:
            transport.send(score.frame, timeout=stage.patience)
        heard = heard_from_us(stage, score)
        lost = missing(heard.numbers, score)
        expect(not lost, f"pieces {lost} were never heard: the block ended before they were played")


class _Stop(Exception):
    pass


@promise("audio_out", "pacing")
def an_exception_does_not_play_out(subject: Subject) -> None:
    """Leaving the ``with`` block by an exception does not wait for the sound's end."""
    with subject.staged() as stage:
        transport = stage.open(kinds=())
        with contextlib.suppress(_Stop), transport:
            send_and_stop(transport)
        played = transport.stats().sent
        expect(played.lost > 0, "1 s was sent and the block left at once; nothing counts as lost")


def send_and_stop(transport: Transport) -> None:
    transport.send(long_speech(1.0), timeout=5)
    raise _Stop


# Who may send what


@promise("audio_out", "pacing")
def a_track_has_one_writer(subject: Subject) -> None:
    """While one thread sends on a track, another gets `BusyError`."""
    with subject.opened(kinds=()) as (transport, stage):
        first = Call("a send", transport.send, long_speech(), timeout=stage.patience)
        stage.until(lambda: transport.stats().sent.sent or not first.waits(0), "sound being sent")
        expect(first.waits(), f"{MORE_THAN_FITS:g} s of sound were taken at once")
        expect_error(BusyError, lambda: transport.send(long_speech(0.1)), "a second writer's send")
        transport.flush()
        first.result(stage.patience)


@promise("audio_out")
def a_wrong_frame_harms_nothing(subject: Subject) -> None:
    """What cannot be sent raises `FrameError`, and the track goes on."""
    with subject.opened(kinds=()) as (transport, stage):
        score = Score(stage.capabilities)
        transport.send(AudioFrame(sources.silence(0.02, RATE), RATE), timeout=stage.patience)
        wrong = VideoFrame(picture(0).data, WIDTH, HEIGHT, track="audio")
        expect_error(FrameError, lambda: transport.send(wrong), "a picture on a track of sound")
        nothing: object = "sound"
        expect_error(FrameError, lambda: transport.send(nothing), "sending text")  # type: ignore[arg-type]
        transport.send(score.frame, timeout=stage.patience)
        lost = missing(heard_from_us(stage, score).numbers, score)
        expect(not lost, f"after the wrong frame pieces {lost} were never heard")


@promise("audio_out", "refusals")
def a_refused_track_is_an_error(subject: Subject) -> None:
    """A track that the room refuses raises `RoomError` at the send, which names the reason."""
    with subject.opened(kinds=()) as (transport, stage):
        stage.driver.refuse("publish")
        frame = AudioFrame(sources.silence(0.1, RATE), RATE)
        error = expect_error(
            RoomError, lambda: transport.send(frame, timeout=stage.patience), "a refused track"
        )
        reason = getattr(error, "reason", "")
        expect(reason == "publish_refused", f"the reason is {reason!r}, expected publish_refused")
