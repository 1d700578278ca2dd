"""What a processor may do without being asked (`ringroom.context.Context`), in a worker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import TypeVar

from ringroom.errors import ClosedError, ConfigurationError, RingroomError, RoomError
from ringroom.events import Participant, TrackInfo
from ringroom.frames import Frame, VideoFrame
from ringroom.options import Mode, PublishOptions
from ringroom.pieces import TextPiece
from ringroom.processes.waiting import Deadline, Waiter
from ringroom.processes.worker.answering import Answering
from ringroom.profile import change_of
from ringroom.rpc import OutgoingCall
from ringroom.sessions.filling import blank
from ringroom.sessions.requests import Asked
from ringroom.sessions.roll_calls import room_is_away
from ringroom.sessions.sendable import (
    Content,
    allowance,
    as_digits,
    as_file,
    as_message,
    as_text,
    name_to_mute,
)
from ringroom.sessions.session import Session, check_going_on
from ringroom.text_out import OpenTexts, TextOut, TextPieces

T = TypeVar("T")

ANSWER_SECONDS = 5.0


class WorkerContext:
    """Thread-safe: each call holds the worker's lock, and none waits but `flush`, `participants`,
    `call`, `mute` and `unmute`."""

    def __init__(self, answering: Answering) -> None:
        self._here = answering
        self._texts = OpenTexts()

    @property
    def worker(self) -> int:
        return self._here.place

    @property
    def _answering(self) -> Answering:
        self._here.check_process()  # first: another thread may have held the lock in the fork
        return self._here

    def send(
        self, frame: Frame, *, mode: Mode | None = None, publish: PublishOptions | None = None
    ) -> None:
        _check_one_of(mode, publish)
        self._answering.reply(frame, mode or "speech", publish=publish)

    @contextlib.contextmanager
    def fill_video(
        self,
        width: int,
        height: int,
        *,
        track: str | TrackInfo | None = None,
        mode: Mode | None = None,
        publish: PublishOptions | None = None,
    ) -> Iterator[VideoFrame]:
        _check_one_of(mode, publish)
        filling = self._answering.fill(blank(width, height, track), mode or "speech", publish)
        try:
            yield filling.frame
            rest = self._answering.send_filled(filling)
        finally:
            with self._answering.lock:
                filling.end()
        if rest is not None:
            self._answering.reply(rest, mode or "speech", publish=publish)

    def send_data(
        self,
        payload: bytes | str,
        *,
        topic: str = "",
        reliable: bool = True,
        to: Collection[str] = (),
    ) -> None:
        self._answering.reply(as_message(payload, topic, reliable, to), "speech")

    def send_text(
        self,
        text: str,
        *,
        topic: str = "",
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self._answering.reply(as_text(text, topic, to, attributes), "speech")

    def open_text(
        self,
        *,
        topic: str = "",
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> TextOut:
        pieces = TextPieces(self._texts, as_text("", topic, to, attributes))
        return TextOut(pieces, self._send_piece, self._end_text)

    def _send_piece(self, piece: TextPiece) -> None:
        self._answering.reply(piece, "speech")

    def _end_text(self, last: TextPiece) -> None:
        with contextlib.suppress(RingroomError):  # what ends the block is on its way up
            self._send_piece(last)

    def send_dtmf(self, digits: str) -> None:
        for digit in as_digits(digits):
            self._answering.reply(digit, "speech")

    def send_file(
        self,
        payload: Content,
        *,
        topic: str = "",
        name: str = "",
        mime_type: str | None = None,
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        file = as_file(payload, topic, to, attributes, name, mime_type)
        self._answering.reply(file, "speech")

    def set_profile(
        self,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self._answering.set_profile(change_of(name, metadata, attributes))

    def mute(self, track: str | TrackInfo | None = None) -> None:
        self._set_muted(name_to_mute(track), True)

    def unmute(self, track: str | TrackInfo | None = None) -> None:
        self._set_muted(name_to_mute(track), False)

    def _set_muted(self, track: str, muted: bool) -> None:
        with self._answering.lock:
            session = self._answering.session("mute from open() or process()")
            if session.end is not None:
                return  # nothing is heard any more
            number = session.muting.ask(track, muted)
        # Without an answer nothing of ours plays before it is asked again.
        self._answer(session, session.muting, number, "no answer to what was muted")

    def allow_subscribers(
        self, who: Collection[str] | None, *, track: str | TrackInfo | None = None
    ) -> None:
        change = allowance(who, track)
        with self._answering.lock:
            session = self._answering.session("say who may subscribe in open() or process()")
            if session.end is not None:
                return  # nothing is heard any more
            number = session.subscribers.ask(change)
        # Without an answer nothing of ours plays before it is asked again.
        what = "no answer to who may subscribe"
        self._answer(session, session.subscribers, number, what)

    def flush(self, track: str | TrackInfo | None = None) -> float:
        answering = self._answering
        with answering.lock:
            replies = answering.replies
            if replies is None:
                raise ClosedError("the worker is not connected yet")
            lanes = replies.outgoing.sounding(track)
            seconds = sum(replies.forget(lane) for lane in lanes)
            requests = {replies.outgoing.flush(lane) for lane in lanes}
        return seconds + self._answers(replies.session, requests)

    def _answers(self, session: Session, requests: set[int]) -> float:
        seconds = 0.0

        def all_come() -> bool | None:
            nonlocal seconds
            for request in tuple(requests):
                if (answer := session.requests.take(request)) is not None:
                    requests.discard(request)
                    seconds += answer
            return not requests or None

        try:
            # Without an answer the room is over, and nothing plays any more.
            self._wait(session, all_come, "no answer to flush", ANSWER_SECONDS)
            return seconds
        finally:
            with self._answering.lock:
                for request in requests:
                    session.requests.forget(request)

    def participants(self) -> tuple[Participant, ...]:
        with self._answering.lock:
            session = self._answering.session("ask in open() or process()")
            number = session.roll.ask(waits=False)
        what = "nobody has told who is in the room"
        people = self._answer(session, session.roll, number, what)
        if people is None:
            check_going_on(session)
            raise room_is_away()
        return people

    def call(self, to: str, method: str, payload: str = "", *, timeout: float = 10.0) -> str:
        call = OutgoingCall(to=to, method=method, payload=payload, timeout=timeout)
        with self._answering.lock:
            session = self._answering.session("call from open() or process()")
            check_going_on(session)
            if session.interrupted:
                raise RoomError(
                    "the I/O process has died, and another has not joined the room yet: the call "
                    "was not made",
                    reason="disconnected",
                )
            number = session.calls.begin(call, call.timeout)
        try:
            answer = self._answer(session, session.calls, number, "no answer", call.timeout)
        except TimeoutError:
            raise call.expired() from None
        if answer is None:
            raise ClosedError("the room has ended")
        return answer

    def _answer(
        self,
        session: Session,
        asked: Asked[T],
        number: int,
        what: str,
        seconds: float | None = None,
    ) -> T | None:
        """Wait for what comes of a request, as `_wait` does."""
        try:
            look = partial(asked.take, number)
            return self._wait(session, look, what, ANSWER_SECONDS if seconds is None else seconds)
        finally:
            with self._answering.lock:
                asked.forget(number)

    def _wait(
        self, session: Session, look: Callable[[], T | None], what: str, seconds: float
    ) -> T | None:
        """Wait until ``look`` gives something, and return that; None if the room is over, or the
        I/O process dies. Raises what the session has failed by, and `TimeoutError`."""
        answering = self._answering
        limit = Deadline(answering.machine, seconds, what)
        # The worker's own thread may take the answer off the link; the waiter is told of that.
        with Waiter(answering.machine, answering.lock, session) as waiter:
            while True:
                with answering.lock:
                    session.pump()
                    found = look()
                    if found is not None:
                        return found
                    session.check_unfailed()
                    if session.end is not None or session.interrupted:
                        return None
                    fds = (session.fileno(),)
                if not waiter.wait(fds, limit.remaining()):
                    raise limit.expired()

    def played(self, track: str | TrackInfo | None = None) -> float:
        with self._answering.lock:
            replies = self._answering.replies
            if replies is None:
                return 0.0
            replies.session.pump()  # if the I/O process has died, it plays nothing more
            return sum(lane.played() for lane in replies.outgoing.sounding(track))


def _check_one_of(mode: Mode | None, publish: PublishOptions | None) -> None:
    if mode is not None and publish is not None:
        raise ConfigurationError(
            "both mode= and publish= are given, expected one of them: "
            "publish=PublishOptions(mode=...) says both"
        )
