"""Sending, as the steps that the synchronous and the asyncio face share."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

from ringroom.checks import shown
from ringroom.dtmf import DtmfFrame
from ringroom.errors import (
    BusyError,
    ClosedError,
    ConfigurationError,
    RingroomError,
)
from ringroom.events import Kind, TrackInfo
from ringroom.faces.connection import Connection
from ringroom.faces.face import Face, Steps
from ringroom.faces.features import check_call
from ringroom.frames import AudioFrame, Frame, VideoFrame
from ringroom.options import PublishOptions
from ringroom.pieces import TextPiece
from ringroom.profile import Profile
from ringroom.rpc import OutgoingCall
from ringroom.sessions.filling import Filling
from ringroom.sessions.outgoing_lane import OutgoingLane
from ringroom.sessions.sendable import DEFAULT_AUDIO, as_text, name_of, track_name
from ringroom.sessions.session import check_going_on
from ringroom.subscribers import Allowance
from ringroom.text_out import OpenTexts, TextPieces

__all__ = ["SendingFace"]


class SendingFace(Face):
    """See the module's docstring."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._sending: set[str] = set()
        """The tracks on which a call is sending."""
        self._texts = OpenTexts()
        self._ends: deque[TextPiece] = deque()
        """The last pieces of texts, which could not be sent without waiting."""

    def _send_steps(self, frame: Frame, publish: PublishOptions | None) -> Steps[None]:
        connection = self._connection
        lane = None
        try:
            with connection.lock:
                lane = self._lane_for(frame, publish)
                if lane is None:
                    return
                self._sending.add(lane.name)
                lane.unsent.put(frame)
                if lane.ready and connection.outgoing.push_unsent(lane):
                    return
            if not lane.ready:
                yield from self._until(partial(self._is_ready, lane))
            yield from self._write_rest(lane)
        except TimeoutError as error:
            raise TimeoutError(f"{error}{_as_far_as(lane, frame)}") from None
        except ClosedError:
            self._check_open()
            # The room has ended: until its receivers have come to their ends, the frame is dropped.
            if lane is None or not connection.session.incoming.inboxes:
                raise
        finally:
            if lane is not None:
                with connection.lock:
                    self._sending.discard(lane.name)  # first, for Ctrl-C may come in between
                    lane.unsent.clear()
                    if self._ends:
                        self._send_ends(lane)

    def _digits_steps(self, digits: Sequence[DtmfFrame]) -> Steps[None]:
        for taken, digit in enumerate(digits):
            try:
                yield from self._send_steps(digit, None)
            except TimeoutError as error:
                raise TimeoutError(
                    f"{error}: {taken} of {len(digits)} digits were taken, and are sent"
                ) from None

    def _fill_steps(self, form: VideoFrame, publish: PublishOptions | None) -> Steps[Filling]:
        """Wait until the track is published. Returns a picture of that form, to be filled."""
        outgoing = self._connection.outgoing
        lane = None
        try:
            with self._connection.lock:
                lane = self._lane_for(form, publish)
                if lane is None or lane.ready:
                    return outgoing.fill(lane, form)
                self._sending.add(lane.name)
            yield from self._until(partial(self._is_ready, lane))
            with self._connection.lock:
                return outgoing.fill(lane, form)
        finally:
            if lane is not None:
                with self._connection.lock:
                    self._sending.discard(lane.name)

    def _send_filled(self, filling: Filling) -> VideoFrame | None:
        """Send the picture from where it lies. Returns None, or else a copy to be sent instead."""
        self._check_open()
        connection = self._connection
        with connection.lock:
            connection.session.pump()
            goes_on = connection.session.end is None
            if goes_on and connection.outgoing.send_filled(filling):
                return None
            return filling.copied()

    def _end_filling(self, filling: Filling) -> None:
        if self._forked:  # another thread may have held the lock in the fork
            return
        with self._connection.lock:
            filling.end()

    def _write_all(self, lane: OutgoingLane) -> Steps[None]:
        with self._connection.lock:
            if self._connection.outgoing.push_unsent(lane):
                return
        yield from self._write_rest(lane)

    def _write_rest(self, lane: OutgoingLane) -> Steps[None]:
        """Write a piece at a time: other calls have the lock, or the loop, in between."""
        outgoing = self._connection.outgoing
        push = partial(outgoing.push_unsent, lane)
        freed = partial(outgoing.freed_fileno, lane)
        try:
            while not (yield from self._until(push, freed)):
                pass
        finally:
            self._notify()  # another call that waits for this lane need not wait for more room

    def _flush_steps(self, track: str | TrackInfo | None) -> Steps[float]:
        with self._requests() as requests:
            seconds = self._ask_flush(track, requests)
            for request in requests:
                seconds += yield from self._answer(request)
            return seconds

    def _playout_steps(self, track: str | TrackInfo | None) -> Steps[None]:
        with self._connection.lock:
            lanes = self._connection.outgoing.named(track)
        with self._requests() as requests:
            for lane in lanes:
                self._put_tail(lane)
                yield from self._write_all(lane)
                self._ask_drain(lane, requests)
            for request in requests:
                yield from self._answer(request)
        for lane in lanes:
            self._check_played(lane)

    def _unpublish_steps(self, track: str | TrackInfo | None) -> Steps[None]:
        with self._requests() as requests:
            with self._last_writer(track) as lane:
                yield from self._write_all(lane)
                self._end_track(lane, requests)
            yield from self._answer(requests[0])
            self._check_played(lane)

    def _profile_steps(self, change: Profile) -> Steps[bool]:
        changes = self._connection.session.profile
        return self._asked_steps(changes, partial(changes.ask, change, awaited=True))

    def _call_steps(self, call: OutgoingCall) -> Steps[str]:
        connection = self._connection
        session, calls, now = connection.session, connection.session.calls, connection.machine.now
        ends = now() + call.timeout
        if session.interrupted:  # nothing would be sent
            yield from self._until(lambda: not session.interrupted or None)
        return (
            yield from self._asked_steps(calls, lambda: calls.begin(call, max(0.0, ends - now())))
        )

    def _mute_steps(self, track: str, muted: bool) -> Steps[bool]:
        changes = self._connection.session.muting
        return self._asked_steps(changes, partial(changes.ask, track, muted))

    def _subscriber_steps(self, change: Allowance) -> Steps[bool]:
        changes = self._connection.session.subscribers
        return self._asked_steps(changes, partial(changes.ask, change))

    def _answer(self, request: int) -> Steps[float]:
        return self._until(partial(self._connection.session.requests.take, request))

    def _lane_for(self, frame: Frame, publish: PublishOptions | None) -> OutgoingLane | None:
        """The frame's lane; None once the room has ended and a receiver is still to be told: a loop
        that answers what it receives ends by its receiver, not by an error."""
        connection = self._connection
        connection.session.pump()
        if self._sending or connection.session.end is not None:  # to find the name takes 1 us
            self._check_free(track_name(frame))
        connection.session.check_unfailed()
        if connection.session.end is not None:
            if connection.session.incoming.inboxes:
                return None
            check_going_on(connection.session)
        lane = connection.outgoing.lane_for(frame, publish)
        if self._ends:
            self._send_ends(lane)
        return lane

    def _text_pieces(
        self, topic: str, to: Collection[str], attributes: Mapping[str, str] | None
    ) -> TextPieces:
        """The pieces of a text that is to be written."""
        self._check_open()
        self._check_call("open_text")
        return TextPieces(self._texts, as_text("", topic, to, attributes))

    def _end_text(self, last: TextPiece) -> None:
        """Send the end of a text at once, if it need not wait for that, else with the message that
        is sent next. Its sender is leaving the block with an error, which is not replaced."""
        if self._forked:
            return
        with self._connection.lock, contextlib.suppress(RingroomError):
            self._ends.append(last)
            self._lane_for(last, None)

    def _send_ends(self, lane: OutgoingLane) -> None:
        """Send the ends of texts that had to wait. What fails is left to the call that sends on the
        lane, and raises it."""
        with contextlib.suppress(RingroomError):
            while self._ends and lane.kind is Kind.DATA:
                self._connection.outgoing.send_nowait(lane, self._ends[0])
                self._ends.popleft()

    def _check_call(self, call: str) -> None:
        """Raises `ConfigurationError` if the provider has not what the call of that name does."""
        check_call(self._connection.spec, call)

    def _check_free(self, name: str) -> None:
        if name in self._sending:
            raise BusyError(f"somebody else sends on track {name!r}; a track has one writer")

    @contextlib.contextmanager
    def _last_writer(self, track: str | TrackInfo | None) -> Iterator[OutgoingLane]:
        """The track, on which no other call sends; what its resampler still holds is to be sent."""
        connection = self._connection
        outgoing = connection.outgoing
        lane = None
        try:
            with connection.lock:
                connection.session.check_unfailed()
                wanted = DEFAULT_AUDIO if track is None else name_of(track)
                found = outgoing.find(wanted)
                if found is None:
                    ours = shown(sorted(lane.name for lane in outgoing.lanes if lane.name))
                    raise ConfigurationError(
                        f"we publish no track {shown(wanted)}; our tracks are {ours}"
                    )
                self._check_free(found.name)
                found.check_not_filled()
                lane = found
                self._sending.add(lane.name)
                lane.unsent.put(*lane.tail())
            yield lane
        finally:
            if lane is not None:
                with connection.lock:
                    self._sending.discard(lane.name)

    def _put_tail(self, lane: OutgoingLane) -> None:
        """Have what the track's resampler still holds sent, unless another call is sending more."""
        with self._connection.lock:
            if lane.name not in self._sending:
                lane.unsent.put(*lane.tail())

    def _ask_drain(self, lane: OutgoingLane, requests: list[int]) -> None:
        """Add a request to those that are waited for: it is answered when all has played."""
        with self._connection.lock:
            requests.append(self._connection.outgoing.drain(lane))

    def _end_track(self, lane: OutgoingLane, requests: list[int]) -> None:
        """End the track, all of which is written; add the request that is answered then."""
        with self._connection.lock:
            self._connection.session.check_unclosed()
            self._connection.outgoing.refresh(lane)
            requests.append(self._connection.outgoing.end(lane))
            muting = self._connection.session.muting
            if muting.concerns(lane.name):  # the next of that name is not
                muting.forget(muting.ask(lane.name, False))

    def _check_played(self, lane: OutgoingLane) -> None:
        """Raises what made the track fail, so that nothing of it was played."""
        with self._connection.lock:
            self._connection.outgoing.refresh(lane)

    def _is_ready(self, lane: OutgoingLane) -> bool | None:
        self._connection.outgoing.refresh(lane)
        return lane.ready or None

    def _ask_flush(self, track: str | TrackInfo | None, requests: list[int]) -> float:
        """Add a request for each track with sound; the seconds of sound that are not written yet,
        and thrown away here."""
        with self._connection.lock:
            outgoing = self._connection.outgoing
            lanes = outgoing.sounding(track)
            seconds = sum(lane.forget_unsent() for lane in lanes)
            requests += [outgoing.flush(lane) for lane in lanes]
            self._connection.session.notify()
        return seconds

    @contextlib.contextmanager
    def _requests(self) -> Iterator[list[int]]:
        """The requests whose answers are waited for. At the end they are forgotten, answered or
        not."""
        requests: list[int] = []
        try:
            yield requests
        finally:
            with self._connection.lock:
                for request in requests:
                    self._connection.session.requests.forget(request)


def _as_far_as(lane: OutgoingLane | None, frame: Frame) -> str:
    """How much of long sound was taken, for a message: all of it sent again would repeat
    that."""
    if lane is None or not isinstance(frame, AudioFrame):
        return ""
    taken = max(0.0, frame.duration - lane.unsent.seconds)
    return f": {taken:.2f} of its {frame.duration:.2f} s were taken, and are played"
