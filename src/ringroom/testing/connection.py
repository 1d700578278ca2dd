"""One application's connection to a fake room, seen from the room: from its join to its end, with
the times at which it is lost.

What the application publishes is in `own_tracks.py`, what it was told of the others in
`announcements.py`. All of it runs under `Wire.changed`.
"""

from __future__ import annotations

from collections import deque

from ringroom.checks import MAX_IDENTITY_BYTES
from ringroom.errors import RpcError, WireError
from ringroom.events import EventKind, Participant
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.providers.fake import messages
from ringroom.providers.fake.envelopes import Envelope, opened, sealed
from ringroom.providers.fake.wire import subscribers_of
from ringroom.rpc import RpcAnswer
from ringroom.testing.announcements import Announcements
from ringroom.testing.calls import answer_of, as_message, failed
from ringroom.testing.own_tracks import OwnTracks
from ringroom.testing.state import (
    Media,
    Member,
    Publication,
    Refusal,
    RoomState,
    check_reason,
)
from ringroom.testing.wire import Line
from ringroom.testing.writing import Writings

__all__ = ["Connection", "connections"]


# What an application is told at its end, in the words of the provider ``livekit``; for others it is
# the server's own word.
_ENDS = {
    "participant removed": "removed from the room",
    "duplicate identity": "another participant joined with the same identity",
}

_MAY_NOT_SEND = "sending data is not allowed (canPublishData)"
_MAY_NOT_DESCRIBE = "changing our own profile is not allowed (canUpdateOwnMetadata)"


class Connection:
    """A `LineReader` and an `Audience`."""

    def __init__(self, state: RoomState) -> None:
        self._state = state
        self._line: Line
        self._waiting = False
        """Whether it has asked to be let in."""
        self._member: Member | None = None
        """None until it is; what follows is there from then on."""
        self._allowed: messages.Join
        self.own: OwnTracks
        self._others: Announcements
        self._writings: Writings
        self._held: deque[messages.Message] = deque()
        self._known_orders: set[int] = set()
        self.lost = False
        self.losses = 0
        """How often the connection was lost."""

    @property
    def identity(self) -> str:
        return self._member.identity if self._member is not None else ""

    # What comes over the line.

    def received(self, line: Line, message: messages.Message) -> None:
        self._line = line
        if self._member is None:
            self._arrive(message)
        elif not self.lost or isinstance(message, messages.Leave | messages.Done):
            self._handle(message, self._member)
        elif not isinstance(message, Media):
            self._held.append(message)

    def hung_up(self, line: Line) -> None:
        if self._member is not None:
            self._state.put_out(self._member, "connection timeout")

    def _handle(self, message: messages.Message, member: Member) -> None:  # noqa: C901
        match message:
            case messages.Audio() | messages.AudioPause() | messages.Video() | messages.Reading():
                self.own.play(message)
            case messages.Publish():
                self.own.publish(message)
            case messages.Unpublish():
                self.own.unpublish(message)
            case messages.Mute():
                self.own.mute_own(message)
            case messages.AllowSubscribers():
                allowed = subscribers_of(message)
                self._state.application(self.identity).allow_subscribers(allowed)
                self._state.announce()
            case messages.Subscription():
                self._others.subscription(message)
            case (
                messages.Data()
                | messages.Text()
                | messages.File()
                | messages.Dtmf()
                | messages.Piece()
            ):
                self._data(message)
            case messages.Answered():
                answer = RpcAnswer(message.payload, code=message.code, detail=message.detail)
                self._state.calls.answered(self.identity, message.request, answer)
                self._state.announce()
            case messages.Call():
                self._call(message)
            case messages.SetProfile():
                self._set_profile(message, member)
            case messages.Done(request=order):
                self._known_orders.add(order)
            case messages.Leave():
                self._state.put_out(member, "client initiated")
            case _:
                name = type(message).__name__
                raise WireError(f"the application sent {name}, which is ours to send")

    def _arrive(self, message: messages.Message) -> None:
        if self._waiting and isinstance(message, messages.Leave):
            self._line.end()  # the application gave up before it was let in
            return
        if self._waiting or not isinstance(message, messages.Join):
            raise WireError(f"{type(message).__name__} before Join")
        if not 0 < len(message.identity.encode()) <= MAX_IDENTITY_BYTES:
            raise WireError("who joins has no identity, or too long a one")
        self._waiting = True

        def admit() -> None:
            if not self._line.ending:
                self._join(message)

        self._state.entrance.value(admit)

    def _join(self, message: messages.Join) -> None:
        state, line = self._state, self._line
        refusal = state.refused_connects.value
        if refusal is not None:
            # A timeout is what the application makes of no answer at all.
            if refusal.reason != "timeout":
                line.send(refusal.of(0))
                line.end()
            return
        if "connect" in state.raising:
            line.send(messages.Misbehave(request=0, where="connect", on=True))
            line.end()
            return
        who = Participant(identity=message.identity, kind=message.kind)
        member = self._member = state.enter(who, self)
        self._allowed = message
        self.own = OwnTracks(state, member, line, message)
        self._others = Announcements(state, member, line)
        self._writings = Writings(state, member)
        for where in state.raising:
            self.make_raise(where, True, 0)
        line.send(messages.Joined(room=state.info, participant=member.participant))
        state.application(member.identity).enter(line)
        state.audience.append(self)
        self.catch_up()
        line.send(messages.AllTold())

    def _data(self, message: Envelope | messages.Piece) -> None:
        refusal = self._state.refused_data.value
        if refusal is None and not self._allowed.publish_data:
            refusal = Refusal(reason="data_refused", text=_MAY_NOT_SEND)
        if isinstance(message, messages.Piece):
            refusal = self._writings.take(message, refusal)
        elif refusal is None:
            to = () if isinstance(message, messages.Dtmf) else message.to
            frame = opened(message, self.identity, to=to)
            self._state.application(self.identity).add_data(frame)
            self._state.data(self.identity, frame)
        done = messages.Done(request=message.request)
        self._line.send(done if refusal is None else refusal.of(message.request))

    def _call(self, call: messages.Call) -> None:
        state, line, us = self._state, self._line, self.identity

        def tell(answer: RpcAnswer) -> None:
            line.send(as_message(call.request, answer))

        callee = state.members.get(call.participant)
        if not self._allowed.publish_data:
            tell(RpcAnswer(_MAY_NOT_SEND.encode(), code=RpcError.SEND_FAILED))
        elif callee is None or callee is self._member:
            tell(failed(RpcError.RECIPIENT_NOT_FOUND))
        else:
            number = state.calls.begin(us, callee.identity, call.timeout_ms / 1000, tell)
            if callee.audience is not None:
                callee.audience.pass_call(call.replace(request=number, participant=us))
            elif (answer := answer_of(callee.methods, call, us)) is not None:
                state.calls.answered(callee.identity, number, answer)
        state.announce()

    def _set_profile(self, message: messages.SetProfile, member: Member) -> None:
        refusal = self._state.refused_profile.value
        if refusal is None and not self._allowed.set_profile:
            refusal = Refusal(reason="profile_refused", text=_MAY_NOT_DESCRIBE)
        if refusal is not None:
            self._line.send(refusal.of(message.request))
            return
        texts = {"name": message.name, "metadata": message.metadata}
        given = {key: text for key, text in texts.items() if text}
        self._state.describe(member, attributes=message.attributes, **given)
        self._line.send(messages.Done(request=message.request))

    # What the room tells: an `Audience`.

    def catch_up(self) -> None:
        if self.lost:
            return
        self.own.tell()
        self._others.tell_departures()
        self._others.tell_room()
        self._others.tell_people()
        self._others.tell_tracks()
        self._others.tell_qualities()

    def pass_media(self, publication: Publication, message: Media) -> None:
        if self._allowed.subscribe and not self.lost:
            self._others.pass_media(publication, message)

    def pass_data(self, sender: str, frame: DataFrame) -> None:
        if self.lost:
            return
        self._line.send(sealed(frame, participant=sender))

    def pass_call(self, call: messages.Call) -> bool:
        if not self.lost:
            self._line.send(call)
        return not self.lost

    def pass_broken(self, sender: Participant, frame: TextFrame | FileFrame, reason: str) -> None:
        if not self.lost:
            is_text = isinstance(frame, TextFrame)
            broken = messages.TextBroken if is_text else messages.FileBroken
            self._line.send(broken(participant=sender, topic=frame.topic, reason=reason))

    def end(self, reason: str) -> None:
        if self in self._state.audience:
            self._state.audience.remove(self)
        self._others.end()
        self._writings.break_off(f"its sender has left: {reason}")
        self._state.application(self.identity).leave(reason)
        if self.lost:
            # What the room says does not get through either.
            self._line.cut()
            return
        self._line.send(messages.Ended(reason=_ENDS.get(reason, reason)))
        self._line.end()

    # Faults.

    def lose(self, reason: str) -> None:
        """Nothing gets through from here on, in either direction."""
        check_reason(reason)
        if not self.lost:
            self._happened(EventKind.CONNECTION_LOST, reason)
            self.losses += 1
            self.own.fall_silent()
        self.lost = True

    def restore(self, *, resume: bool) -> None:
        """What changed meanwhile is told. Unless it is resumed, every track starts anew, with a
        new sid: the application's own, and those that it receives; and what it was writing breaks
        off."""
        if not self.lost:
            return
        assert self._member is not None
        if not resume:
            self._others.end_tracks("connection lost")
            self.own.publish_anew()
            self._writings.break_off("the connection of its sender was made anew")
        self.lost = False
        self._others.tell_departures()
        self._happened(EventKind.CONNECTION_BACK)
        self.catch_up()
        while self._held:
            self._handle(self._held.popleft(), self._member)

    def _happened(self, kind: EventKind, reason: str = "") -> None:
        self._line.send(messages.Happened(kind=kind, participant=None, reason=reason))

    def make_raise(self, where: str, on: bool, order: int) -> bool:
        """Have the provider raise there from now on, or no more. Returns whether it will answer."""
        if self._line.ending:
            return False
        self._line.send(messages.Misbehave(request=order, where=where, on=on))
        return where != "receive"

    def knows(self, order: int) -> bool:
        """Whether the provider has heard of that order, or never will."""
        return order in self._known_orders or self._line.ending

    def break_off(self) -> None:
        """Hangs up without a word."""
        self._line.cut()


def connections(state: RoomState, identity: str | None = None) -> list[Connection]:
    """The applications in the room, or the one of that identity. Raises `LookupError`."""
    found = [
        one
        for one in state.audience
        if isinstance(one, Connection) and identity in (None, one.identity)
    ]
    if identity is not None and not found:
        there = ", ".join(map(repr, state.members)) or "nobody"
        raise LookupError(f"no application {identity!r}; in the room: {there}")
    return found
