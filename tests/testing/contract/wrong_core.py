"""Wrong in the core, where no provider can break the promise: transports that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from wrong_kit import WrongCore, breaks, receiving

from ringroom import aio, client
from ringroom.errors import BusyError, ClosedError, FrameError
from ringroom.events import Event, Participant
from ringroom.faces.connection import Statistics
from ringroom.sessions.sendable import track_name

Sync = client.Transport


# Receiving


@breaks({"a_timeout_does_not_end_the_loop": "a timeout of 0.1 s came after 0.0"})
class LosesPatience(WrongCore):
    class Transport(Sync):
        def recv(self, *, timeout: Any = None, **options: Any) -> client.Receiver:
            return super().recv(timeout=timeout and timeout / 10, **options)


def ends_by_timeout(receiver: Any) -> Any:
    try:
        return next(receiver)
    except TimeoutError:
        receiver.outer.close()
        raise


@breaks({"a_timeout_does_not_end_the_loop": "the reader raised StopIteration"})
class EndsByTimeout(WrongCore):
    Transport = receiving(ends_by_timeout)


@breaks({"a_kind_has_one_reader": "a second reader of sound raised nothing"})
class LetsReadersIn(WrongCore):
    class Transport(Sync):
        def recv(self, **options: Any) -> client.Receiver:
            for inbox in tuple(self._connection.session.incoming.inboxes):
                inbox.close()
            return super().recv(**options)


@breaks({"only_what_was_asked_for_can_be_read": "raised nothing, expected ConfigurationError"})
class ReadsSomethingElse(WrongCore):
    class Transport(Sync):
        def recv(self, *, kinds: Any = None, **options: Any) -> client.Receiver:
            return super().recv(**options)


@breaks(
    {"a_transport_that_failed_to_open_can_be_tried_again": "a sample rate of 1 Hz raised nothing"}
)
class RoundsTheRate(WrongCore):
    @classmethod
    def options(cls, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "sample_rate": max(8_000, options.get("sample_rate", 16_000))}


@breaks({"frames_tell_when_they_came": "a frame arrived before it was said"})
class StampsTooLate(WrongCore):
    @staticmethod
    def change(receiver: Any) -> Any:
        frame = next(receiver)
        frame.received_ns = 1
        return frame

    Transport = receiving(change)


@breaks({"a_narrowed_reader_hears_only_whom_it_named": r"\['ann', 'ben'\] arrived|\['ben'\]"})
class HearsEverybody(WrongCore):
    class Transport(Sync):
        def recv(self, *, participants: Any = None, **options: Any) -> client.Receiver:
            return super().recv(**options)


@breaks({"a_frame_that_is_kept_does_not_change": "the samples of a received frame are writ"})
class LendsItsMemory(WrongCore):
    @staticmethod
    def change(receiver: Any) -> Any:
        frame = next(receiver)
        frame.samples = frame.samples.copy()
        return frame

    Transport = receiving(change)


_memory = np.zeros((320, 1), np.int16)


@breaks({"a_frame_that_is_kept_does_not_change": "a kept frame changed when others came"})
class UsesItsMemoryAgain(WrongCore):
    @staticmethod
    def change(receiver: Any) -> Any:
        frame = next(receiver)
        _memory[:] = frame.samples
        frame.samples = _memory.view()
        frame.samples.flags.writeable = False
        return frame

    Transport = receiving(change)


@breaks(
    {
        "no_frame_is_older_than_max_age": r"a frame was 0\.[2-9]\d* s old, max_age is 0\.1 s",
        "after_a_stall_the_newest_picture_comes": "picture 0 came after the stall, the newest is 4",
        "what_is_dropped_is_counted": "nobody read for longer than max_age, and nothing was drop",
    }
)
class KeepsWhatIsStale(WrongCore):
    @classmethod
    def options(cls, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "max_age": 30.0}


@breaks({"a_track_is_told_before_its_frames": r"before the first frame was told: \["})
class TellsOfNoBeginning(WrongCore):
    @staticmethod
    def change(receiver: Any) -> Any:
        item = next(receiver)
        told = isinstance(item, Event) and item.kind == "track_started"
        return next(receiver) if told else item

    Transport = receiving(change)


@breaks(
    {
        "a_track_that_the_room_ends_is_told": "'publish_failed of ' was never told",
        "an_idle_track_that_the_room_ends_is_told": "'publish_failed of ' was never told",
    }
)
class HidesFailedTracks(WrongCore):
    @staticmethod
    def change(receiver: Any) -> Any:
        item = next(receiver)
        failed = isinstance(item, Event) and item.kind == "publish_failed"
        return next(receiver) if failed else item

    Transport = receiving(change)


@breaks({"who_wants_no_events_gets_none": r"asked for sound, and \['Event'\] came"})
class TellsWhatNobodyAsked(WrongCore):
    @classmethod
    def options(cls, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "kinds": ("audio", "event")}

    class Transport(Sync):
        def recv(self, *, kinds: Any = None, **options: Any) -> client.Receiver:
            return super().recv(**options)


@breaks({"what_was_said_before_the_end_arrives": "0 frames came, 6 came in before"})
class ForgetsWhatCameBefore(WrongCore):
    @staticmethod
    def change(receiver: Any) -> Any:
        if receiver.outer._owner.ended:
            raise StopIteration
        return next(receiver)

    Transport = receiving(change)


# Sending


@breaks({"live_sound_never_waits": "TimeoutError: the frame was not taken within 0.5 s"})
class ForgetsTheMode(WrongCore):
    class Transport(Sync):
        def send(self, frame: Any, *, publish: Any = None, timeout: Any = None) -> None:
            super().send(frame, timeout=timeout)


@breaks({"an_exception_does_not_play_out": "the block left at once; nothing counts as lost"})
class AlwaysPlaysOut(WrongCore):
    class Transport(Sync):
        def __exit__(self, *_: object) -> None:
            super().__exit__(None, None, None)


@breaks({"a_track_has_one_writer": "a second writer's send raised nothing, expected BusyError"})
class LetsWritersIn(WrongCore):
    class Transport(Sync):
        def send(self, frame: Any, **options: Any) -> None:
            with contextlib.suppress(BusyError):
                super().send(frame, **options)


@breaks({"a_wrong_frame_harms_nothing": "a picture on a track of sound raised nothing"})
class SwallowsAWrongFrame(WrongCore):
    class Transport(Sync):
        def send(self, frame: Any, **options: Any) -> None:
            with contextlib.suppress(FrameError):
                super().send(frame, **options)


@breaks({"a_message_that_is_too_large_is_refused": "sending 70,000 bytes at once raised noth"})
class CutsWhatIsTooLarge(WrongCore):
    class Transport(Sync):
        def send_data(self, payload: Any, **options: Any) -> None:
            super().send_data(payload[:62_000], **options)


# Ends


@breaks(
    {
        "a_waiting_reader_wakes_at_close": "a waiting reader has not come back",
        "closing_leaves_the_room": "leaving the room at close: not within",
        "a_track_of_ours_ends_with_us": "our track's end at close: not within",
        "after_close_everything_says_so": "recv after close raised BusyError",
    }
)
class ClosesLater(WrongCore):
    """The first close does nothing."""

    class Transport(Sync):
        asked = 0

        def close(self) -> None:
            self.asked += 1
            if self.asked > 1:
                super().close()
            else:
                WrongCore.opened.append(self)  # there may be no other call


@breaks({"closing_twice_is_closing_once": "ClosedError: closed already"})
class ClosesOnce(WrongCore):
    class Transport(Sync):
        asked = 0

        def close(self) -> None:
            self.asked += 1
            if self.asked in (2, 3):
                raise ClosedError("closed already")
            super().close()


@breaks({"after_close_everything_says_so": "played after close raised nothing"})
class PlaysAfterClose(WrongCore):
    class Transport(Sync):
        def played(self, track: Any = None) -> float:
            with contextlib.suppress(ClosedError):
                return super().played(track)
            return 0.0


@breaks({"who_closed_can_come_again": "the second time pieces .* never arrived"})
class KnowsItsGuests(WrongCore):
    guests: ClassVar[set[int]] = set()

    @classmethod
    def options(cls, options: dict[str, Any]) -> dict[str, Any]:
        known = id(options["room"]) in cls.guests
        cls.guests.add(id(options["room"]))
        return {**options, "participants": ["nobody"] if known else None}


# Cancellation


@breaks({"a_cancelled_receive_loses_nothing": "were waited for and cancelled"})
class LosesWhatItTook(WrongCore):
    class Receiver(aio.Receiver):
        async def __anext__(self) -> Any:
            item = await super().__anext__()
            await asyncio.sleep(0)
            return item

    class AioTransport(aio.Transport):
        def recv(self, **options: Any) -> aio.Receiver:
            receiver = super().recv(**options)
            receiver.__class__ = LosesWhatItTook.Receiver
            return receiver


@breaks(
    {"a_cancelled_receive_loses_nothing": "no more than 1 came after cancelled waits, and none"}
)
class HangsOnceCancelled(WrongCore):
    """It gives one more frame."""

    class Receiver(aio.Receiver):
        cancelled = came = False

        async def __anext__(self) -> Any:
            if self.cancelled and self.came:
                await asyncio.Event().wait()
            try:
                item = await super().__anext__()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
            self.came = True
            return item

    class AioTransport(aio.Transport):
        def recv(self, **options: Any) -> aio.Receiver:
            receiver = super().recv(**options)
            receiver.__class__ = HangsOnceCancelled.Receiver
            return receiver


@breaks(
    {
        "a_cancelled_send_leaves_the_track_whole": "BusyError",
    }
)
class StaysBusy(WrongCore):
    class AioTransport(aio.Transport):
        async def send(self, frame: Any, **options: Any) -> None:
            try:
                await super().send(frame, **options)
            except asyncio.CancelledError:
                self._sending.add(track_name(frame))
                raise


@breaks({"a_cancelled_message_leaves_the_next_whole": r"messages came as \[.*(\d+), \1"})
class SendsAgain(WrongCore):
    class AioTransport(aio.Transport):
        async def send_data(self, payload: Any, **options: Any) -> None:
            await super().send_data(payload, **options)
            await super().send_data(payload, **options)


@breaks({"a_cancelled_wait_for_playout_harms_nothing": "ClosedError: fake: transport is clos"})
class GivesUpWhenCancelled(WrongCore):
    class AioTransport(aio.Transport):
        async def wait_playout(self, track: Any = None) -> None:
            try:
                await super().wait_playout(track)
            except asyncio.CancelledError:
                await self.close()
                raise


@breaks({"a_cancelled_open_leaves_nothing_running": r"a cancelled opening took \d+\.\d+ s to end"})
class OpensAtItsLeisure(WrongCore):
    class AioTransport(aio.Transport):
        async def open(self) -> Any:
            try:
                for _ in range(12):  # a slow machine, too, cancels it before it is open
                    await asyncio.sleep(0)
                return await super().open()
            except asyncio.CancelledError:
                await asyncio.sleep(0.7)
                raise


@breaks({"a_cancelled_close_still_leaves_the_room": "a close that was cancelled after 2 steps"})
class StaysWhenCancelled(WrongCore):
    class AioTransport(aio.Transport):
        async def close(self) -> None:
            WrongCore.opened.append(self)
            for _ in range(9):  # cancelled meanwhile, it has done nothing; the next close would
                await asyncio.sleep(0)
            await super().close()


# Counts


@breaks(
    {
        "what_is_sent_adds_up": r"sent, but \d+ done \+ \d+ dropped \+ \d+ lost",
        "counts_outlive_the_close": r"sent, but \d+ done \+ \d+ dropped \+ \d+ lost",
    }
)
class Miscounts(WrongCore):
    class Transport(Sync):
        def stats(self) -> Statistics:
            lanes = super().stats().lanes
            wrong = (
                replace(one, counts=replace(one.counts, done=one.counts.done + 9)) for one in lanes
            )
            return Statistics(lanes=tuple(wrong))


@breaks({"what_is_received_adds_up": "1[34] frames were received, the counts say 7"})
class CountsAtTheTake(WrongCore):
    @staticmethod
    def change(receiver: Any) -> Any:
        outer = receiver.outer
        if (held := getattr(outer, "held", None)) is not None:
            outer.held = None
            return held
        outer.held = next(receiver)
        return outer.held

    Transport = receiving(change)


@breaks({"every_lane_tells_what_it_is": "our track is not among the lanes"})
class ListsHalf(WrongCore):
    class Transport(Sync):
        def stats(self) -> Statistics:
            lanes = super().stats().lanes
            return Statistics(lanes=tuple(one for one in lanes if one.direction == "in"))


# Who is there


@breaks({"who_is_there_is_listed_whatever_is_received": r"listed were \['ann', 'app'\]"})
class ListsUs(WrongCore):
    class Transport(Sync):
        def participants(self, *, timeout: float | None = None) -> Any:
            us = Participant(identity=self.identity)
            return (*super().participants(timeout=timeout), us)


@breaks({"who_comes_and_goes_is_listed_as_they_are": r"listed were \['ann', 'al'\]"})
class ListsThemBackwards(WrongCore):
    class Transport(Sync):
        def participants(self, *, timeout: float | None = None) -> Any:
            return super().participants(timeout=timeout)[::-1]


@breaks({"who_comes_and_goes_is_listed_as_they_are": r"listed were \['al', 'ann'\]"})
class ListsWhoeverHasBeenThere(WrongCore):
    class Transport(Sync):
        def participants(self, *, timeout: float | None = None) -> Any:
            been = {who.identity: who for who in getattr(self, "been", ())}
            been |= {who.identity: who for who in super().participants(timeout=timeout)}
            self.been = tuple(been[identity] for identity in sorted(been))
            return self.been


@breaks({"who_is_there_is_listed_after_a_loss": r"participants\(\) did not wait for the room"})
class ListsWhoWasThere(WrongCore):
    class Transport(Sync):
        def participants(self, *, timeout: float | None = None) -> Any:
            with contextlib.suppress(TimeoutError):
                self.known = super().participants(timeout=0.01)
            return self.known
