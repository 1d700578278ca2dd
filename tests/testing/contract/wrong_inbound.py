"""Wrong on the way in: sound, pictures, messages and events that a provider spoils."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from wrong_kit import Twist, breaks

from ringroom.events import Event, EventKind
from ringroom.frames import DataFrame, VideoFrame


class Counting(Twist):
    """Counts what passes."""

    def __init__(self) -> None:
        self.count = 0
        self.held: Any = None

    def tick(self) -> int:
        self.count += 1
        return self.count


# Sound


@breaks(
    {
        "sound_arrives_sample_for_sample": r"sample 970 is -?\d+, and was -?\d+ when it was said",
        "no_sound_is_invented": "sound arrived that nobody said",
    }
)
class CorruptsASample(Counting):
    def audio(self, track: Any, samples: Any, rate: int) -> None:
        if self.tick() == 4:
            samples[10, 0] ^= 1
        super().audio(track, samples, rate)


@breaks({"sound_arrives_in_order": r"out of order: piece \[\(4, 3\)\]"})
class SwapsFrames(Counting):
    def audio(self, track: Any, samples: Any, rate: int) -> None:
        if self.tick() == 4:
            self.held = samples
            return
        super().audio(track, samples, rate)
        if self.held is not None:
            super().audio(track, self.held, rate)
            self.held = None


@breaks({"no_sound_arrives_twice": r"pieces \[3\] arrived twice"})
class RepeatsAFrame(Counting):
    def audio(self, track: Any, samples: Any, rate: int) -> None:
        for _ in range(2 if self.tick() == 4 else 1):
            super().audio(track, samples, rate)


@breaks({"no_sound_is_lost_on_the_way_in": r"pieces \[3\] of 50 never arrived"})
class DropsAFrame(Counting):
    def audio(self, track: Any, samples: Any, rate: int) -> None:
        if self.tick() != 4:
            super().audio(track, samples, rate)


@breaks({"sound_keeps_its_pitch_and_level": "1000 Hz arrived with 500 Hz.*sample rate"})
class LowersThePitch(Twist):
    def audio(self, track: Any, samples: Any, rate: int) -> None:
        super().audio(track, np.repeat(samples[: len(samples) // 2], 2, axis=0), rate)


@breaks({"sound_keeps_its_pitch_and_level": r"level 0.283 arrived with level 0.1"})
class IsTooQuiet(Twist):
    def audio(self, track: Any, samples: Any, rate: int) -> None:
        super().audio(track, samples // 2, rate)


@breaks({"frames_have_the_form_that_was_asked_for": "a frame of 160 samples, asked for 20 ms"})
class CutsShortFrames(Twist):
    def audio(self, track: Any, samples: Any, rate: int) -> None:
        for half in np.split(samples, 2):
            super().audio(track, half, rate)


@breaks({"frames_have_the_form_that_was_asked_for": "a frame of 320 samples, asked for 50 ms"})
class KeepsToItsOwnLength(Twist):
    async def connect(self, provider: Any, sink: Any, options: Any) -> Any:
        return await super().connect(provider, sink, replace(options, frame_ms=20))


@breaks(
    {
        "a_track_of_another_rate_is_converted": r"frames of \(48000, 1\) \(rate, channels\)",
        "frames_have_the_form_that_was_asked_for": "a frame of 48000 Hz, asked for 16000",
    }
)
class ForgetsToConvert(Twist):
    def audio(self, track: Any, samples: Any, rate: int) -> None:
        super().audio(track, samples, 48_000)


@breaks({"stereo_keeps_its_sides": "channel 0 carries 900 Hz, expected 500: sides mixed up"})
class SwapsSides(Twist):
    def audio(self, track: Any, samples: Any, rate: int) -> None:
        super().audio(track, samples[:, ::-1], rate)


@breaks({"frames_are_numbered_without_a_gap": r"the numbers go \[0, 1, 2, 0"})
class BeginsTheTrackAnew(Counting):
    def open_track(self, sink: Any, track: Any, who: Any) -> Any:
        self.again = lambda: sink.open_track(track, who)
        self.track = self.again()
        return self.track

    def audio(self, track: Any, samples: Any, rate: int) -> None:
        if self.tick() == 4:
            self.track.close()
            self.track = self.again()
        super().audio(self.track, samples, rate)


@breaks({"frames_name_their_track": "the track is called ''"})
class ForgetsTheName(Twist):
    def open_track(self, sink: Any, track: Any, who: Any) -> Any:
        return super().open_track(sink, replace(track, name=""), who)


@breaks(
    {
        "two_tracks_of_one_participant_do_not_mix": "pieces|has sound that was not said on it",
        "two_participants_do_not_mix": "has sound that was not said on it",
    }
)
class MixesTracks(Twist):
    def open_track(self, sink: Any, track: Any, who: Any) -> Any:
        if not hasattr(self, "first"):
            self.first = super().open_track(sink, track, who)
        return self.first


@breaks({"what_is_not_wanted_is_not_subscribed": "of 'ben' came in.*does the provider ask"})
class SubscribesToEverything(Twist):
    def wants(self, sink: Any, track: Any, who: Any) -> bool:
        return True


@breaks({"a_track_that_was_there_before_us_is_heard": "a frame of the track: not within"})
class OverlooksTheFirstTrack(Counting):
    def wants(self, sink: Any, track: Any, who: Any) -> bool:
        return self.tick() > 1 and super().wants(sink, track, who)


@breaks({"a_track_can_be_published_again": "no frame came of the track that was published"})
class OverlooksTheSecondTrack(Counting):
    def wants(self, sink: Any, track: Any, who: Any) -> bool:
        return self.tick() == 1 and super().wants(sink, track, who)


# Pictures


@breaks({"pictures_arrive_in_order_and_once": r"in the order \[0, 1, 3, 2"})
class SwapsPictures(Counting):
    def video(self, track: Any, i420: Any, size: Any, origin: Any) -> None:
        if self.tick() == 3:
            self.held = i420
            return
        super().video(track, i420, size, origin)
        if self.held is not None:
            super().video(track, self.held, size, origin)
            self.held = None


@breaks({"pictures_arrive_in_order_and_once": r"pictures \[2\] came more than once"})
class RepeatsAPicture(Counting):
    def video(self, track: Any, i420: Any, size: Any, origin: Any) -> None:
        for _ in range(2 if self.tick() == 3 else 1):
            super().video(track, i420, size, origin)


@breaks({"pictures_arrive_byte_for_byte": "1 bytes of picture 0 are not as they were shown"})
class CorruptsAPicture(Twist):
    def video(self, track: Any, i420: Any, size: Any, origin: Any) -> None:
        i420[-1] ^= 1
        super().video(track, i420, size, origin)


@breaks({"pictures_arrive_byte_for_byte": "bytes of picture 0 are not as they were shown"})
class ShowsBlackFirst(Counting):
    """As sources do that have no picture yet; in both directions."""

    def video(self, track: Any, i420: Any, size: Any, origin: Any) -> None:
        if self.tick() == 1:
            super().video(track, black(*size).data, size, origin)
        super().video(track, i420, size, origin)

    async def play(self, playout: Any, frame: Any) -> None:
        if self.tick() == 1:
            await super().play(playout, black(frame.width, frame.height))
        await super().play(playout, frame)


@breaks(
    {
        "pictures_arrive_byte_for_byte": "bytes of picture 0 are not as they were shown",
        "pictures_are_seen_in_order_and_once": r"in the order \[0, 0, 1, 0",
    }
)
class ShowsBlackBetween(Counting):
    def video(self, track: Any, i420: Any, size: Any, origin: Any) -> None:
        shown = black(*size).data if self.tick() % 3 == 0 else i420
        super().video(track, shown, size, origin)

    async def play(self, playout: Any, frame: Any) -> None:
        await super().play(playout, frame)
        await super().play(playout, black(frame.width, frame.height))


@breaks({"pictures_are_seen_byte_for_byte": "bytes of picture 0 are not as they were"})
class ShowsOnlyBlack(Twist):
    async def play(self, playout: Any, frame: Any) -> None:
        await super().play(playout, black(frame.width, frame.height))


def black(width: int, height: int) -> VideoFrame:
    return VideoFrame.from_gray(np.zeros((height, width), np.uint8))


@breaks({"no_picture_is_lost_on_the_way_in": r"pictures \[2\] never came"})
class DropsAPicture(Counting):
    def video(self, track: Any, i420: Any, size: Any, origin: Any) -> None:
        if self.tick() != 3:
            super().video(track, i420, size, origin)


@breaks(
    {
        "pictures_name_their_track_and_count": r"said to be of \['eve'\], shown by 'ann'",
        "frames_name_their_track": "said to be of 'eve', not 'ann'",
    }
)
class NamesSomebodyElse(Twist):
    def open_track(self, sink: Any, track: Any, who: Any) -> Any:
        return super().open_track(sink, replace(track, participant="eve"), who)


@breaks({"a_picture_may_grow": r"pictures of \[\(64, 48\), \(64, 48\)\] arrived"})
class KeepsTheFirstSize(Twist):
    def video(self, track: Any, i420: Any, size: Any, origin: Any) -> None:
        if size == (64, 48):
            super().video(track, i420, size, origin)


@breaks({"pictures_keep_the_time_of_their_source": r"came with \[0, 0, 0, 0\]"})
class ForgetsTheTime(Twist):
    def video(self, track: Any, i420: Any, size: Any, origin: Any) -> None:
        super().video(track, i420, size, (origin[0], 0))


@breaks({"a_picture_keeps_its_rotation": "with rotation 90 arrived with 0"})
class ForgetsTheRotation(Twist):
    def video(self, track: Any, i420: Any, size: Any, origin: Any) -> None:
        super().video(track, i420, size, (0, origin[1]))


# Messages


@breaks({"messages_arrive_in_order": r"in the order \[0, 1, 3, 2"})
class SwapsMessages(Counting):
    def data(self, sink: Any, frame: DataFrame) -> None:
        if self.tick() == 3:
            self.held = frame
            return
        super().data(sink, frame)
        if self.held is not None:
            super().data(sink, self.held)
            self.held = None


@breaks({"no_message_arrives_twice": r"messages \[2\] came more than once"})
class RepeatsAMessage(Counting):
    def data(self, sink: Any, frame: DataFrame) -> None:
        for _ in range(2 if self.tick() == 3 else 1):
            super().data(sink, frame)


@breaks({"no_message_is_lost_on_the_way_in": r"1 of 20 messages never came.*\[2\]"})
class DropsAMessage(Counting):
    def data(self, sink: Any, frame: DataFrame) -> None:
        if self.tick() != 3:
            super().data(sink, frame)


@breaks({"a_message_arrives_byte_for_byte": r"a message of 256 bytes, .* arrived as 384 bytes"})
class TakesBytesForText(Twist):
    def data(self, sink: Any, frame: DataFrame) -> None:
        super().data(sink, replace(frame, payload=frame.payload.decode("latin-1").encode()))


@breaks({"the_largest_message_arrives": r"62000 bytes, .* arrived as 15000 bytes"})
class CutsLongMessages(Twist):
    def data(self, sink: Any, frame: DataFrame) -> None:
        super().data(sink, replace(frame, payload=frame.payload[:15_000]))


@breaks({"messages_wait_for_a_slow_reader": "200 of 300 messages never came"})
class KeepsFewMessages(Counting):
    def data(self, sink: Any, frame: DataFrame) -> None:
        if self.tick() <= 100:
            super().data(sink, frame)


@breaks({"a_message_keeps_its_topic": "arrived as ''"})
class ForgetsTheTopic(Twist):
    def data(self, sink: Any, frame: DataFrame) -> None:
        super().data(sink, replace(frame, topic=""))


@breaks({"a_message_names_its_sender": "'ann' sent the message, it is said to be of ''"})
class ForgetsTheSender(Twist):
    def data(self, sink: Any, frame: DataFrame) -> None:
        super().data(sink, replace(frame, participant=""))


@breaks({"a_message_tells_whether_it_is_sent_again": "may be lost is said to be sent again"})
class TakesAllForReliable(Twist):
    def data(self, sink: Any, frame: DataFrame) -> None:
        super().data(sink, replace(frame, reliable=True))


@breaks({"a_message_tells_whether_it_is_sent_again": "sent again is said not to be"})
class TakesNothingForReliable(Twist):
    def data(self, sink: Any, frame: DataFrame) -> None:
        super().data(sink, replace(frame, reliable=False))


# Events


@breaks({"who_comes_and_goes_is_told_in_order": r"told were \[.*'ben'\), .*'ben'\)"})
class TellsTwice(Twist):
    def event(self, sink: Any, event: Event) -> None:
        super().event(sink, event)
        super().event(sink, event)


@breaks({"who_comes_and_goes_is_told_in_order": "'participant_left of ben' was never told"})
class TellsNobodyLeft(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is not EventKind.PARTICIPANT_LEFT:
            super().event(sink, event)


@breaks({"a_publication_is_told_in_order": "never told|told were"})
class TellsLate(Counting):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is EventKind.TRACK_PUBLISHED:
            self.held = event
            return
        super().event(sink, event)
        if self.held is not None:
            super().event(sink, self.held)
            self.held = None


@breaks({"events_name_who_and_when": "'ann' published the track, the event names ''"})
class TellsNoName(Twist):
    def event(self, sink: Any, event: Event) -> None:
        super().event(sink, replace(event, participant=None))


@breaks(
    {
        "a_track_begins_before_it_ends": "'track_ended of mic' was never told",
        "who_leaves_takes_tracks_along": "never told to have ended",
    }
)
class NeverEndsATrack(Twist):
    def close_track(self, track: Any, reason: str) -> None:
        pass


@breaks({"a_track_ends_after_its_last_frame": "the track ended after 960 of 2240 samples"})
class EndsATrackEarly(Counting):
    def audio(self, track: Any, samples: Any, rate: int) -> None:
        super().audio(track, samples, rate)
        if self.tick() == 3:
            track.close("")


@breaks({"muting_is_told_in_order": "'track_muted of mic' was never told"})
class TellsNoMuting(Twist):
    def muted(self, track: Any, muted: bool) -> None:
        pass


@breaks({"muting_is_told_in_order": "told were .*track_unmuted|never told"})
class TellsTheOppositeOfMuting(Twist):
    def muted(self, track: Any, muted: bool) -> None:
        super().muted(track, not muted)


@breaks({"a_lost_connection_is_told": "'connection_back of ' was never told"})
class NeverSaysItIsBack(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is not EventKind.CONNECTION_BACK:
            super().event(sink, event)


@breaks({"sound_goes_on_after_a_loss": "after the connection was back never arrived"})
class StaysDeafAfterALoss(Twist):
    lost = False

    def event(self, sink: Any, event: Event) -> None:
        self.lost |= event.kind is EventKind.CONNECTION_LOST
        super().event(sink, event)

    def wants(self, sink: Any, track: Any, who: Any) -> bool:
        return not self.lost and super().wants(sink, track, who)


# Ends


@breaks({"a_track_that_ends_does_not_end_the_room": "and the room did not"})
class EndsTheRoomWithATrack(Twist):
    def open_track(self, sink: Any, track: Any, who: Any) -> Any:
        self.sink = sink
        return super().open_track(sink, track, who)

    def close_track(self, track: Any, reason: str) -> None:
        super().close_track(track, reason)
        self.sink.ended("track ended")


@breaks(
    {
        "the_end_of_the_room_ends_the_loop": "the reader's loop has not come back",
        "sending_ends_with_the_room": "the room's end: not within",
        "being_put_out_ends_the_loop": "the reader's loop has not come back",
        "the_async_loop_ends_with_the_room": "the async loop goes on",
    }
)
class NeverSaysTheRoomHasEnded(Twist):
    def ended(self, sink: Any, reason: str, error: str) -> None:
        pass


@breaks({"the_end_of_the_room_is_told_once": "the room's end was told 2 times"})
class SaysTwiceThatItEnded(Twist):
    def ended(self, sink: Any, reason: str, error: str) -> None:
        sink.event(Event(kind=EventKind.DISCONNECTED, reason=reason))
        super().ended(sink, reason, error)


@breaks({"a_connection_that_does_not_come_back_is_an_error": "raised nothing.*RoomError"})
class TakesALossForAnEnd(Twist):
    def ended(self, sink: Any, reason: str, error: str) -> None:
        super().ended(sink, reason, "")
