"""Wrong on the way out: what a provider does with sound, pictures, messages, and at its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from wrong_inbound import Counting
from wrong_kit import Twist, breaks

from ringroom.errors import RoomError
from ringroom.frames import AudioFrame, DataFrame, VideoFrame
from ringroom.providers.provider import Joined, Playout


def copied(frame: Any) -> Any:
    """The frame's memory belongs to the lane once `play` returns."""
    if isinstance(frame, AudioFrame):
        return frame.replace(samples=frame.samples.copy())
    origin = {"rotation": frame.rotation, "timestamp_us": frame.timestamp_us}
    return VideoFrame(frame.data.copy(), frame.width, frame.height, **origin)


@breaks({"who_opens_is_in_a_room": "does not tell the room's name"})
class NamesNoRoom(Twist):
    async def connect(self, provider: Any, sink: Any, options: Any) -> Joined:
        return replace(await super().connect(provider, sink, options), room="")


@breaks({"who_opens_is_in_a_room": r"said to be 'eve'; in the room are \['ann', 'app'\]"})
class NamesAnotherIdentity(Twist):
    async def connect(self, provider: Any, sink: Any, options: Any) -> Joined:
        return replace(await super().connect(provider, sink, options), identity="eve")


@breaks({"a_refused_connection_is_an_error": "refused the connection, and a transport was"})
class IgnoresARefusal(Twist):
    async def connect(self, provider: Any, sink: Any, options: Any) -> Joined:
        try:
            return await super().connect(provider, sink, options)
        except RoomError:
            return Joined(room="room", identity="app")


@breaks({"a_refused_connection_is_an_error": "the reason is 'failed', expected 'unauth"})
class GivesAnotherReason(Twist):
    async def connect(self, provider: Any, sink: Any, options: Any) -> Joined:
        try:
            return await super().connect(provider, sink, options)
        except RoomError as error:
            raise RoomError(str(error)) from None


# Sound


@breaks(
    {
        "sound_is_heard_sample_for_sample": r"sample 1610 is -?\d+, and was -?\d+",
        "no_sound_is_heard_that_was_not_sent": "heard that nobody sent",
    }
)
class CorruptsWhatWeSay(Counting):
    async def play(self, playout: Any, frame: Any) -> None:
        frame = copied(frame)
        if self.tick() == 2:
            frame.samples[10, 0] ^= 1
        await super().play(playout, frame)


@breaks({"sound_is_heard_in_order": r"heard out of order: piece \[\(9, 0\)\]"})
class SwapsWhatWeSay(Counting):
    async def play(self, playout: Any, frame: Any) -> None:
        if self.tick() == 1:
            self.held = copied(frame)
            return
        await super().play(playout, frame)
        if self.held is not None:
            await super().play(playout, self.held)
            self.held = None


@breaks({"no_sound_is_heard_twice": r"pieces \[0, 1, 2, 3, 4\] were heard twice"})
class RepeatsWhatWeSay(Counting):
    async def play(self, playout: Any, frame: Any) -> None:
        for _ in range(2 if self.tick() == 1 else 1):
            await super().play(playout, frame)


@breaks(
    {
        "no_sound_is_lost_on_the_way_out": r"pieces \[5, 6, 7, 8, 9\] of 50 were never heard",
        "raw_pcm_is_heard": r"pieces \[5\] that were written were never heard",
    }
)
class DropsWhatWeSay(Counting):
    async def play(self, playout: Any, frame: Any) -> None:
        if self.tick() != 2:
            await super().play(playout, frame)


@breaks(
    {
        "sound_of_ours_keeps_its_pitch_and_level": "1000 Hz arrived with 500 Hz",
        "sound_of_another_rate_keeps_its_pitch": "700 Hz were sent and 3[45]. Hz heard",
    }
)
class LowersOurPitch(Twist):
    async def play(self, playout: Any, frame: Any) -> None:
        half = frame.samples[: (len(frame.samples) + 1) // 2]
        slower = np.repeat(half, 2, axis=0)[: len(frame.samples)]
        await super().play(playout, frame.replace(samples=slower))


@breaks({"stereo_of_ours_keeps_its_sides": "channel 0 carries 900 Hz"})
class SwapsOurSides(Twist):
    async def play(self, playout: Any, frame: Any) -> None:
        await super().play(playout, frame.replace(samples=frame.samples[:, ::-1].copy()))


@breaks({"two_tracks_of_ours_do_not_mix": "has sound that was not said on it|never arrived"})
class MixesOurTracks(Twist):
    first: Any = None

    async def play(self, playout: Any, frame: Any) -> None:
        self.first = self.first or playout
        await super().play(self.first, frame)


@breaks({"a_track_of_ours_is_published_under_its_name": r"published are \['track-1'\]"})
class RenamesOurTrack(Twist):
    async def publish(self, provider: Any, track: Any) -> Playout:
        return await super().publish(provider, replace(track, name="track-1"))


@breaks({"a_track_of_ours_is_published_under_its_name": r"are \[.*'voice 2'\]"})
class PublishesOneMore(Twist):
    async def publish(self, provider: Any, track: Any) -> Playout:
        await super().publish(provider, replace(track, name=f"{track.name} 2"))
        return await super().publish(provider, track)


@breaks(
    {
        "speech_waits_for_the_room": "sending 4 s of sound within 0.3 s raised nothing",
        "a_full_track_would_block": "4 s of send_nowait raised nothing",
        "wait_playout_waits_for_the_end": "0.3 s of sound were said to be played out after 0.0",
        "played_never_runs_ahead": "are said to be played 0.[01]",
        "a_send_keeps_its_time_limit": "raised nothing, expected TimeoutError",
        "a_wait_for_playout_keeps_its_time_limit": "raised nothing, expected TimeoutError",
        "a_waiting_sender_wakes_at_close": "a waiting sender did not wait",
        "a_wait_for_playout_wakes_at_close": "a wait for playout did not wait",
    }
)
class SwallowsSound(Twist):
    """Takes sound as fast as it comes, and says that it is played."""

    async def play(self, playout: Any, frame: Any) -> None:
        pass

    def queued(self, playout: Any) -> float:
        return 0.0


@breaks({"leaving_the_block_plays_out": "the block ended before they were played"})
class SaysNothingIsQueued(Twist):
    def queued(self, playout: Any) -> float:
        return 0.0


@breaks({"flush_tells_what_it_threw_away": "s were heard, .* s are said to be played"})
class ClearsAndSaysNothing(Twist):
    def clear(self, playout: Any) -> float:
        super().clear(playout)
        return 0.0


@breaks({"flush_tells_what_it_threw_away": r"s played \+ .* s flushed|s are said to be played"})
class SaysItClears(Twist):
    def clear(self, playout: Any) -> float:
        return super().queued(playout)


@breaks({"sound_after_a_flush_is_heard": "sent after the flush were never heard"})
class StaysSilentAfterAFlush(Twist):
    flushed = False

    def clear(self, playout: Any) -> float:
        self.flushed = True
        return super().clear(playout)

    async def play(self, playout: Any, frame: Any) -> None:
        if not self.flushed:
            await super().play(playout, frame)


@breaks({"a_refused_track_is_an_error": "a refused track raised nothing, expected RoomError"})
class IgnoresARefusedTrack(Twist):
    async def publish(self, provider: Any, track: Any) -> Playout:
        try:
            return await super().publish(provider, track)
        except RoomError:
            return Nowhere()


class Nowhere(Playout):
    async def play(self, frame: Any) -> None:
        pass

    def queued(self) -> float:
        return 0.0

    def clear(self) -> float:
        return 0.0

    async def close(self) -> None:
        pass


@breaks({"our_sound_goes_on_after_a_loss": "after the connection was back was never heard"})
class StaysMuteAfterALoss(Twist):
    lost = False

    def event(self, sink: Any, event: Any) -> None:
        self.lost |= event.kind == "connection_lost"
        super().event(sink, event)

    async def play(self, playout: Any, frame: Any) -> None:
        if not self.lost:
            await super().play(playout, frame)


# Pictures


@breaks({"pictures_are_seen_in_order_and_once": r"in the order \[0, 1, 3, 2"})
class SwapsOurPictures(Counting):
    async def play(self, playout: Any, frame: Any) -> None:
        if self.tick() == 3:
            self.held = copied(frame)
            return
        await super().play(playout, frame)
        if self.held is not None:
            await super().play(playout, self.held)
            self.held = None


@breaks({"pictures_are_seen_byte_for_byte": "1 bytes of picture 0 are not as they were"})
class CorruptsOurPictures(Twist):
    async def play(self, playout: Any, frame: Any) -> None:
        frame = copied(frame)
        frame.data[-1] ^= 1
        await super().play(playout, frame)


@breaks({"no_picture_is_lost_on_the_way_out": r"pictures \[2\] never came"})
class DropsOurPicture(Counting):
    async def play(self, playout: Any, frame: Any) -> None:
        if self.tick() != 3:
            await super().play(playout, frame)


@breaks({"a_picture_of_ours_keeps_its_rotation": "was seen with 0"})
class ForgetsOurRotation(Twist):
    async def play(self, playout: Playout, frame: Any) -> None:
        await super().play(playout, VideoFrame(frame.data.copy(), frame.width, frame.height))


@breaks({"pictures_of_ours_keep_their_time": r"came with \[0, 0, 0, 0\]"})
class ForgetsOurTime(Twist):
    async def play(self, playout: Playout, frame: Any) -> None:
        if isinstance(frame, VideoFrame):
            frame = VideoFrame(frame.data.copy(), frame.width, frame.height)
        await super().play(playout, frame)


@breaks({"a_picture_of_ours_may_grow": r"pictures of \[\(64, 48\)\] were seen"})
class RefusesLargerPictures(Twist):
    async def play(self, playout: Any, frame: Any) -> None:
        if frame.width > 64:
            raise RoomError("the size is fixed")
        await super().play(playout, frame)


# Messages


@breaks({"messages_of_ours_arrive_in_order": r"in the order \[0, 1, 3, 2"})
class SwapsOurMessages(Counting):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        if self.tick() == 3:
            self.held = frame
            return
        await super().send_data(provider, frame)
        if self.held is not None:
            await super().send_data(provider, self.held)
            self.held = None


@breaks({"no_message_of_ours_arrives_twice": r"messages \[2\] came more than once"})
class RepeatsOurMessage(Counting):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        for _ in range(2 if self.tick() == 3 else 1):
            await super().send_data(provider, frame)


@breaks({"no_message_is_lost_on_the_way_out": r"1 of 20 messages never came.*\[2\]"})
class DropsOurMessage(Counting):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        if self.tick() != 3:
            await super().send_data(provider, frame)


@breaks({"messages_wait_for_the_next_room": r"of 20 messages never came|not one message of ours"})
class TakesALossForARefusal(Twist):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        try:
            await super().send_data(provider, frame)
        except RoomError as error:
            raise RoomError(str(error), reason="data_refused") from None


@breaks({"a_message_of_ours_arrives_byte_for_byte": r"256 bytes, .* arrived as 384 bytes"})
class TakesOurBytesForText(Twist):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        text = frame.payload.decode("latin-1").encode()
        await super().send_data(provider, replace(frame, payload=text))


@breaks({"the_largest_message_of_ours_arrives": r"62000 bytes, .* arrived as 15000 bytes"})
class CutsOurLongMessages(Twist):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        await super().send_data(provider, replace(frame, payload=frame.payload[:15_000]))


@breaks({"a_message_of_ours_keeps_its_topic": "was received as ''"})
class ForgetsOurTopic(Twist):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        await super().send_data(provider, replace(frame, topic=""))


@breaks({"a_message_of_ours_is_sent_again_as_we_say": "and it was sent reliably"})
class SendsAllReliably(Twist):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        await super().send_data(provider, replace(frame, reliable=True))


@breaks({"a_message_of_ours_is_sent_again_as_we_say": "was not sent reliably"})
class SendsNothingReliably(Twist):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        await super().send_data(provider, replace(frame, reliable=False))


@breaks({"a_message_reaches_whom_it_is_for": r"reached \['ben'\]"})
class TellsTheFirstAlone(Twist):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        await super().send_data(provider, replace(frame, to=frame.to[:1]))


@breaks({"a_message_reaches_whom_it_is_for": r"reached \['ann', 'ben', 'eve'\]"})
class TellsEverybody(Twist):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        await super().send_data(provider, replace(frame, to=()))


@breaks({"we_do_not_hear_ourselves": "the first message to arrive is b'ours'"})
class EchoesOurMessages(Twist):
    async def connect(self, provider: Any, sink: Any, options: Any) -> Joined:
        self.sink = sink
        return await super().connect(provider, sink, options)

    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        self.sink.data(frame)
        await super().send_data(provider, frame)


@breaks({"a_refused_message_is_told": "a refused message was not told"})
class HidesARefusal(Twist):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        with contextlib.suppress(RoomError):
            await super().send_data(provider, frame)


@breaks({"messages_add_up": "the messages being done: not within"})
class NeverFinishesAMessage(Twist):
    count = 0

    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        await super().send_data(provider, frame)
        self.count += 1
        if self.count == 10:
            await asyncio.sleep(3600)


# The end


@breaks({"closing_takes_no_longer_than_it_may": r"closing took \d+\.\d+ s, claimed are 0\.3 s"})
class HangsAtClose(Twist):
    async def close(self, provider: Any) -> None:
        await provider.close()
        await asyncio.sleep(3600)


@breaks({"closing_leaves_nothing_behind": "close left behind: descriptor"})
class LeaksADescriptor(Twist):
    leaked: ClassVar[list[int]] = []

    async def close(self, provider: Any) -> None:
        self.leaked.append(os.open(os.devnull, os.O_RDONLY))
        await provider.close()
