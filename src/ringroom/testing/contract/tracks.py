"""Promises about tracks: what is told of them, and that ours end when we say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ringroom.client import Receiver, Transport
from ringroom.errors import RoomError
from ringroom.events import Event, EventKind, TrackInfo
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.options import PublishOptions
from ringroom.testing import sources
from ringroom.testing.contract.events import Told, events_until, expect_sequence, told
from ringroom.testing.contract.hearing import (
    HEIGHT,
    WIDTH,
    collect,
    heard_from_us,
    listen,
    picture,
    say,
)
from ringroom.testing.contract.pictures import CODED_SECONDS
from ringroom.testing.contract.promise import expect, expect_error, promise
from ringroom.testing.contract.score import RATE, Score, missing
from ringroom.testing.contract.subject import Stage, Subject

SOURCES = {"audio": "microphone", "video": "camera"}


# Of others


def sources_of(items: list[Any]) -> dict[str, str]:
    """What the tracks of frames are of, by their kind."""
    tracks = [item.track for item in items if isinstance(item, AudioFrame | VideoFrame)]
    return {str(one.kind): one.source for one in tracks if isinstance(one, TrackInfo)}


@promise("audio_in", "video_in", "sources")
def frames_tell_the_source_of_their_track(subject: Subject) -> None:
    """A frame's track tells what it is of: a microphone, a camera."""
    with subject.opened(kinds=("audio", "video")) as (transport, stage):
        receiver = transport.recv(timeout=CODED_SECONDS)
        say(stage, Score(stage.capabilities))
        stage.driver.publish_video("ann", "camera")
        found: dict[str, str] = {}

        def both(items: list[Any]) -> bool:
            found.update(sources_of(items[-1:]))
            return len(found) == 2

        def shown() -> bool:
            stage.driver.show("ann", "camera", picture(0))  # a codec may lose the first picture
            return both(collect(receiver, both, CODED_SECONDS)[0])

        stage.until(shown, "a frame of sound and a picture")
        expect(found == SOURCES, f"the frames' tracks are of {found}, expected {SOURCES}")


@promise("events", "audio_in", "video_in", "sources")
def a_publication_tells_its_source(subject: Subject) -> None:
    """That a track is published is told with what it is of."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.publish_audio("ann", "mic", RATE, 1)
        stage.driver.publish_video("ann", "camera")
        found: dict[str, str] = {}

        def enough(items: list[Any]) -> bool:
            event = items[-1] if items else None
            if isinstance(event, Event) and event.track is not None:
                found[str(event.track.kind)] = event.track.source
            return len(found) == 2

        collect(receiver, enough, 2 * stage.patience)
        expect(found == SOURCES, f"the tracks are said to be of {found}, expected {SOURCES}")


@promise("events", "audio_in")
def a_track_is_the_same_wherever_it_is_told(subject: Subject) -> None:
    """Publication, beginning and frames of a track name the same sid, name, kind and publisher."""
    with subject.opened(kinds=("audio", "event")) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities))
        items, _ = collect(
            receiver, lambda got: bool(got) and isinstance(got[-1], AudioFrame), stage.patience
        )
        told = {str(getattr(one, "kind", "a frame")): one.track for one in items if one.track}
        expect("a frame" in told, "not one frame of the track arrived")
        # Not its source, which belongs to another capability, `sources`.
        alike = {kind: replace(track, source="") for kind, track in told.items()}
        expect(len({*alike.values()}) == 1, f"one track was published, and is told as {alike}")


@promise("audio_in", "video_in")
def a_kind_that_was_not_asked_for_is_not_subscribed(subject: Subject) -> None:
    """Pictures that nobody asked for cost nothing: none of them comes in at all."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.publish_video("ann", "camera")
        stage.driver.show("ann", "camera", picture(0))
        score = Score(stage.capabilities)
        say(stage, score)
        heard = listen(receiver, score, stage)
        expect(heard.frames, "not one frame of sound arrived")
        lanes = [lane for lane in transport.stats().lanes if lane.track == "camera"]
        count = sum(lane.counts.sent for lane in lanes)
        expect(not lanes, f"{count} pictures came in: does the provider ask `wants`?")


@promise("audio_in", "video_in", "sources")
def a_source_that_was_not_asked_for_is_not_subscribed(subject: Subject) -> None:
    """A track of a source that ``tracks=`` leaves out costs nothing: no frame of it comes in."""
    options = {"kinds": ("audio", "video"), "tracks": ["microphone"]}
    with subject.opened(**options) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.publish_video("ann", "camera")
        stage.driver.show("ann", "camera", picture(0))
        expect_only("mic", receiver, transport, stage)


def is_the_microphone(track: TrackInfo) -> bool:
    return track.name == "mic"


@promise("audio_in", "several_tracks")
def a_track_is_chosen_by_its_name(subject: Subject) -> None:
    """``tracks=`` as a function is asked with the name, and what it leaves out costs nothing."""
    with subject.opened(kinds=("audio",), tracks=is_the_microphone) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities, seed=1), "ann", "guitar")
        expect_only("mic", receiver, transport, stage)


def expect_only(name: str, receiver: Receiver, transport: Transport, stage: Stage) -> None:
    """Ann says something on the track of that name, and nothing else comes in."""
    score = Score(stage.capabilities)
    say(stage, score, "ann", name)
    heard = listen(receiver, score, stage)
    expect(heard.frames, f"not one frame of {name!r} arrived, which tracks= names")
    others = [lane for lane in transport.stats().lanes if lane.track not in ("", name)]
    count = sum(lane.counts.sent for lane in others)
    names = sorted({lane.track for lane in others})
    expect(
        not others,
        f"{count} frames of {names} came in, not wanted: does the provider ask `wants`?",
    )


@promise("events", "video_in", "unpublish")
def the_end_of_pictures_is_told(subject: Subject) -> None:
    """The beginning and the end of a track of pictures are told, once each, in order."""
    with subject.opened(kinds=("video", "event")) as (transport, stage):
        receiver = transport.recv(timeout=CODED_SECONDS)
        stage.driver.publish_video("ann", "camera")
        camera = until_begun(receiver, stage)
        stage.driver.unpublish("ann", "camera")
        stage.until(lambda: camera("track_ended"), "'track_ended of camera' being told")
        expect_sequence(camera.happened, [("track_started", "camera"), ("track_ended", "camera")])


@promise("events", "audio_in", "unpublish")
def the_end_of_a_track_names_whose_it_was(subject: Subject) -> None:
    """That a track was unpublished, and has ended, is told with its publisher."""
    with subject.opened(kinds=("audio", "event")) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities))
        stage.until(lambda: transport.stats().received.sent, "sound coming in")
        stage.driver.unpublish("ann", "mic")
        ends = {EventKind.TRACK_UNPUBLISHED, EventKind.TRACK_ENDED}
        found: dict[EventKind, str] = {}

        def enough(items: list[Any]) -> bool:
            for event in items[-1:]:
                if isinstance(event, Event) and event.kind in ends:
                    found[event.kind] = event.participant.identity if event.participant else ""
            return found.keys() == ends

        collect(receiver, enough, 2 * stage.patience)
        for kind in sorted(ends):
            who = found.get(kind, "nobody: it was never told")
            expect(who == "ann", f"the track was of 'ann'; {kind} names {who!r}")


@promise("events", "video_in", "mute")
def muting_of_pictures_is_told(subject: Subject) -> None:
    """Muting and unmuting of a track of pictures are told, once each, in order."""
    with subject.opened(kinds=("video", "event")) as (transport, stage):
        receiver = transport.recv(timeout=CODED_SECONDS)
        stage.driver.publish_video("ann", "camera")
        camera = until_begun(receiver, stage)
        for muted, kind in ((True, "track_muted"), (False, "track_unmuted")):
            # Each is waited for: a room may tell its present state only, and skip one in between.
            stage.driver.mute("ann", "camera", muted)
            stage.until(lambda kind=kind: camera(kind), f"'{kind} of camera' being told")  # type: ignore[misc]
        wanted = ("track_started", "track_muted", "track_unmuted")
        expect_sequence(camera.happened, [(kind, "camera") for kind in wanted])


class Camera:
    """What is told of Ann's camera, read in small steps."""

    def __init__(self, receiver: Receiver) -> None:
        self.happened: list[Told] = []
        self._receiver = receiver

    def __call__(self, kind: str) -> bool:
        """Whether that was told by now."""
        items, _ = collect(self._receiver, bool, CODED_SECONDS)
        self.happened.extend(told(item) for item in items if isinstance(item, Event))
        return (kind, "camera") in self.happened


def until_begun(receiver: Receiver, stage: Stage) -> Camera:
    """Ann shows pictures until it is told that her track has started."""
    camera = Camera(receiver)

    def shown() -> bool:
        stage.driver.show("ann", "camera", picture(0))  # a codec may lose the first picture
        return camera("track_started")

    stage.until(shown, "'track_started of camera' being told")
    return camera


@promise("events", "audio_in", "mute")
def a_track_that_was_muted_before_us_is_told(subject: Subject) -> None:
    """A track that is muted when we come begins, and is told to be muted."""
    with subject.staged() as stage:
        stage.driver.publish_audio("ann", "mic", RATE, 1)
        stage.driver.mute("ann", "mic", True)
        transport = stage.open(kinds=("audio", "event"))
        try:
            receiver = transport.recv(timeout=stage.patience)
            wanted = [("track_started", "mic"), ("track_muted", "mic")]
            expect_sequence(events_until(receiver, wanted[-1], stage), wanted)
        finally:
            transport.close()


# Of ours


@promise("audio_out", "video_out", "several_tracks", "sources")
def a_track_of_ours_has_the_source_that_we_say(subject: Subject) -> None:
    """The others are told the source that we publish a track with; by default a microphone or a
    camera."""
    with subject.opened(kinds=()) as (transport, stage):
        for source, default in (
            ("microphone", True),
            ("camera", True),
            ("screen_share_audio", False),
            ("screen_share", False),
        ):
            name = f"of a {source}"
            publish = None if default else PublishOptions(source=source)
            frame: AudioFrame | VideoFrame = AudioFrame(
                sources.silence(0.02, RATE), RATE, track=name
            )
            if source in ("camera", "screen_share"):
                frame = VideoFrame(picture(0).data, WIDTH, HEIGHT, track=name)
            transport.send(frame, publish=publish, timeout=stage.patience)
            stage.until(lambda name=name: name in stage.driver.tracks(), f"the track {name!r}")  # type: ignore[misc]
            found = stage.driver.source(name)
            expect(found == source, f"our track {name!r} is said to be of a {found!r}")


def unpublished(stage: Stage, track: str) -> None:
    stage.until(
        lambda: track not in stage.driver.tracks(), f"{track!r}, unpublished, being gone for others"
    )


@promise("audio_out")
def a_track_of_ours_ends_when_we_unpublish_it(subject: Subject) -> None:
    """A track that we unpublish goes for the others, after all that we sent on it was heard."""
    with subject.opened(kinds=()) as (transport, stage):
        score = Score(stage.capabilities)
        limit = stage.patience + score.seconds
        transport.send(score.frame.replace(track="voice"), timeout=limit)
        stage.until(lambda: "voice" in stage.driver.tracks(), "our track being published")
        transport.unpublish("voice", timeout=limit)
        unpublished(stage, "voice")
        lost = missing(heard_from_us(stage, score, "voice").numbers, score)
        expect(not lost, f"pieces {lost} that were sent before the track's end were never heard")


@promise("video_out")
def pictures_of_ours_end_when_we_unpublish_them(subject: Subject) -> None:
    """A track of pictures that we unpublish goes for the others."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.send(picture(0), timeout=stage.patience)
        stage.until(lambda: "video" in stage.driver.tracks(), "our track being published")
        transport.unpublish("video", timeout=stage.patience)
        unpublished(stage, "video")


@promise("audio_out", "several_tracks")
def a_track_that_we_unpublish_takes_no_other_along(subject: Subject) -> None:
    """When we unpublish one track, what we send on another is heard as before."""
    with subject.opened(kinds=()) as (transport, stage):
        sound = AudioFrame(sources.silence(0.02, RATE), RATE)
        for name in ("voice", "music"):
            transport.send(sound.replace(track=name), timeout=stage.patience)
        transport.unpublish("voice", timeout=stage.patience)
        unpublished(stage, "voice")
        expect("music" in stage.driver.tracks(), "'voice' was unpublished, and 'music' has gone")
        score = Score(stage.capabilities)
        transport.send(score.frame.replace(track="music"), timeout=stage.patience + score.seconds)
        lost = missing(heard_from_us(stage, score, "music").numbers, score)
        expect(not lost, f"of 'music' pieces {lost} were never heard after the end of 'voice'")


@promise("audio_out")
def the_name_of_a_track_of_ours_can_be_used_again(subject: Subject) -> None:
    """A track that we unpublished is published anew by the next frame under its name, and heard."""
    with subject.opened(kinds=()) as (transport, stage):
        sound = AudioFrame(sources.silence(0.1, RATE), RATE, track="voice")
        transport.send(sound, timeout=stage.patience)
        transport.unpublish("voice", timeout=stage.patience)
        unpublished(stage, "voice")
        score = Score(stage.capabilities)
        transport.send(score.frame.replace(track="voice"), timeout=stage.patience + score.seconds)
        lost = missing(heard_from_us(stage, score, "voice").numbers, score)
        expect(not lost, f"pieces {lost} that were sent on the track's second life were not heard")
        expect("voice" in stage.driver.tracks(), "the track is heard, and not published")


# What the room does to ours


@promise("audio_out", "events", "moderation")
def a_track_that_the_room_ends_is_told(subject: Subject) -> None:
    """When the room takes away the right to publish, who sends is told why, by `RoomError`
    (``publish_refused``) and as an event."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        silence = AudioFrame(sources.silence(0.02, RATE), RATE)
        transport.send(silence, timeout=stage.patience)
        stage.until(lambda: "audio" in stage.driver.tracks(), "a track of ours being published")
        stage.driver.forbid_publishing()

        def refused() -> bool:
            try:
                transport.send(silence, timeout=stage.patience)
            except RoomError as error:
                return error.reason == "publish_refused"
            return False

        stage.until(refused, "a send on a track that the room has ended being refused")
        events_until(receiver, ("publish_failed", ""), stage)


@promise("audio_out", "events", "moderation")
def an_idle_track_that_the_room_ends_is_told(subject: Subject) -> None:
    """When the room takes away the right to publish while nobody sends, an event tells it all the
    same, and the next who sends is told why (``publish_refused``)."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        silence = AudioFrame(sources.silence(0.02, RATE), RATE)
        transport.send(silence, timeout=stage.patience)
        stage.until(lambda: "audio" in stage.driver.tracks(), "a track of ours being published")
        stage.driver.forbid_publishing()
        events_until(receiver, ("publish_failed", ""), stage)
        refusal = expect_error(
            RoomError, lambda: transport.send(silence, timeout=stage.patience), "sending then"
        )
        reason = getattr(refusal, "reason", "")
        expect(reason == "publish_refused", f"who sends then is told the reason {reason!r}")


@promise("audio_out", "events", "moderation")
def a_track_that_the_room_mutes_is_told(subject: Subject) -> None:
    """That the room mutes a track of ours is told, and that it unmutes it; the track goes on."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        transport.send(AudioFrame(sources.silence(0.02, RATE), RATE), timeout=stage.patience)
        stage.until(lambda: "audio" in stage.driver.tracks(), "a track of ours being published")
        for muted, kind in ((True, "publish_muted"), (False, "publish_unmuted")):
            stage.driver.moderate("audio", muted)
            events_until(receiver, (kind, "audio"), stage)
        score = Score(stage.capabilities)
        transport.send(score.frame, timeout=stage.patience)
        expect(
            score.end in heard_from_us(stage, score).numbers,
            "what was sent after the track was unmuted was never heard",
        )
