"""The people of a fake room, whom the test speaks for.

Every method may be called from any thread, also from inside an asyncio loop: none waits, except
where it says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from ringroom.checks import (
    MAX_IDENTITY_BYTES,
    check_channels,
    check_name,
    check_rate,
    check_size,
    check_text,
)
from ringroom.errors import ClosedError, FrameError, RpcError
from ringroom.events import Kind, Participant, TrackInfo
from ringroom.frames import DataFrame
from ringroom.option_checks import (
    MAX_TIMEOUT,
    RECEIVED_SOURCES,
    TOLD_PARTICIPANT_KINDS,
    check_choice,
    check_flag,
    check_function,
    check_range,
)
from ringroom.providers.fake.messages import Call
from ringroom.rpc import OutgoingCall, RpcAnswer
from ringroom.sessions.sendable import Content, as_digits, as_file, as_message, as_text
from ringroom.testing.calls import ACKNOWLEDGED_WITHIN, Answerer, failed
from ringroom.testing.devices import Camera, Device, Microphone, Sensor
from ringroom.testing.floor import Floor
from ringroom.testing.state import Member
from ringroom.testing.written import WrittenText

__all__ = ["FakeParticipant"]

_AnyDevice = TypeVar("_AnyDevice", bound=Device)
MAX_METADATA_BYTES = 1 << 19


class FakeParticipant:
    """Somebody in the room whom the test plays."""

    def __init__(self, floor: Floor, participant: Participant) -> None:
        self._floor = floor
        _check_person(participant)
        with floor.wire.changed:
            self._member = floor.state.enter(participant)
        self._tracks: list[Device] = []

    @property
    def identity(self) -> str:
        """The identity, unique in the room."""
        return self._member.identity

    @property
    def info(self) -> Participant:
        """The participant as the application sees it."""
        return self._member.participant

    @property
    def received(self) -> list[DataFrame]:
        """The data that reached this participant, oldest first; a text is a `TextFrame`, a file a
        `FileFrame`, a digit a `DtmfFrame`."""
        with self._floor.wire.changed:
            return list(self._member.received)

    @property
    def texts(self) -> list[WrittenText]:
        """The texts that reached this participant, in the order in which they began, as an SDK's
        text stream handler sees them: also what is being written still, and what has broken off."""
        with self._floor.wire.changed:
            return [log.snapshot() for log in self._member.texts]

    def forget(self) -> None:
        """Forgets the data that was received, but for texts that are being written: for runs of
        hours."""
        with self._floor.wire.changed:
            self._member.received.clear()
            self._member.texts = [log for log in self._member.texts if not log.ended]

    def publish_audio(
        self,
        name: str = "mic",
        sample_rate: int = 48_000,
        channels: int = 1,
        *,
        source: str = "microphone",
    ) -> Microphone:
        """Publishes an audio track. It is silent, and sends nothing, until it is spoken into."""
        check_rate(sample_rate)
        check_channels(channels)
        info = self._info(name, Kind.AUDIO, source)
        return self._opened(Microphone(self._floor, self._member, info, (sample_rate, channels)))

    def publish_video(
        self,
        name: str = "camera",
        width: int = 640,
        height: int = 480,
        *,
        source: str = "camera",
        simulcast: bool = False,
    ) -> Camera:
        """Publishes a video track. With ``simulcast``, an application gets its pictures in full, or
        with sides of a half or a quarter, as its ``video_quality`` is ``high``, ``medium`` or
        ``low``; of others it gets them as they are shown."""
        check_size(width, height)
        check_flag("simulcast", simulcast)
        info = self._info(name, Kind.VIDEO, source)
        size = (width, height)
        return self._opened(Camera(self._floor, self._member, info, size, simulcast=simulcast))

    def publish_data_track(self, name: str = "data") -> Sensor:
        """Publishes a data track. It sends nothing until something is pushed into it."""
        info = self._info(name, Kind.DATA_TRACK, "unknown")
        return self._opened(Sensor(self._floor, self._member, info))

    def send_data(
        self,
        payload: bytes | str,
        *,
        topic: str = "",
        to: Collection[str] = (),
        reliable: bool = True,
    ) -> None:
        """A message (text as UTF-8) to everyone, or to the identities in ``to``. Raises
        `FrameError`."""
        frame = as_message(payload, topic, reliable, to)
        with self._floor.wire.changed:
            self._check_present()
            self._floor.state.data(self.identity, frame)

    def send_text(
        self,
        text: str,
        *,
        topic: str = "",
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """A text with attributes, to everyone or to the identities in ``to``. Applications receive
        those whose topic is in their ``text_topics``, as from LiveKit's frontends. Raises
        `FrameError`."""
        frame = as_text(text, topic, to, attributes)
        with self._floor.wire.changed:
            self._check_present()
            self._floor.state.data(self.identity, frame)

    def press(self, digits: str) -> None:
        """Presses these keys of a telephone (0123456789*#ABCD), one after the other: applications
        with ``dtmf=True`` receive a `DtmfFrame` for each, as from a caller of LiveKit SIP. Raises
        `FrameError`."""
        frames = as_digits(digits)
        with self._floor.wire.changed:
            self._check_present()
            for frame in frames:
                self._floor.state.data(self.identity, frame)

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
        """A file, as that of an application (`Transport.send_file`). Applications receive those
        whose topic is in their ``file_topics``. Raises `FrameError`, and `OSError` where a path
        cannot be read."""
        frame = as_file(payload, topic, to, attributes, name, mime_type)
        with self._floor.wire.changed:
            self._check_present()
            self._floor.state.data(self.identity, frame)

    def call(
        self,
        method: str,
        payload: str = "",
        *,
        to: str | None = None,
        timeout: float = 10.0,
    ) -> str:
        """Call a method of an application's (``to`` is its identity; None: of the only one that is
        there), as LiveKit's SDKs do, and wait for the answer. Raises the `RpcError` that an SDK
        would: of 1400 (that method is none of its ``rpc_methods``), 1401 (it is not there), 1501,
        1502 (no answer in time), 1503 (it has left), or whatever it has refused with."""
        asked = OutgoingCall(to=to or "app", method=method, payload=payload, timeout=timeout)
        state, wire = self._floor.state, self._floor.wire
        answers: list[RpcAnswer] = []
        with wire.changed:
            self._check_present()
            callee = self._application(to)
            if callee is None:
                return failed(RpcError.RECIPIENT_NOT_FOUND).result()
            number = state.calls.begin(
                self.identity, callee.identity, asked.timeout, answers.append
            )
            call = Call(
                request=number,
                participant=self.identity,
                method=method,
                timeout_ms=round(asked.timeout * 1000),
                payload=payload.encode(),
            )
            assert callee.audience is not None
            arrives = callee.audience.pass_call(call)
        limit = asked.timeout if arrives else min(asked.timeout, ACKNOWLEDGED_WITHIN)
        wire.wait_until(lambda: answers, limit)
        with wire.changed:
            state.calls.end(number)
        late = RpcError.RESPONSE_TIMEOUT if arrives else RpcError.CONNECTION_TIMEOUT
        return (answers[0] if answers else failed(late)).result()

    def _application(self, identity: str | None) -> Member | None:
        """The only one, or that of the identity. Raises `LookupError` for one of several."""
        found = [one for one in self._floor.state.members.values() if one.audience is not None]
        if identity is not None:
            found = [one for one in found if one.identity == identity]
        if len(found) > 1:
            raise LookupError(f"which application? Give to=\n  {self._floor.summary()}")
        return found[0] if found else None

    def answer(self, method: str, function: Answerer) -> None:
        """From now on, calls of applications to that method of this participant are answered by
        what ``function(call)`` returns (text), or with the `RpcError` that it raises; None: not at
        all, and the application's time passes. ``call`` is a `RpcCall`. The function is called on
        the room's thread, and must not wait. Raises `ConfigurationError`."""
        check_function("the answer", function, "a call")
        checked = OutgoingCall(to="app", method=method, payload="", timeout=1.0)
        with self._floor.wire.changed:
            self._member.methods[checked.method] = function

    def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Sets these; an empty value removes one. The others stay. Raises `FrameError`."""
        self._change(attributes=attributes)

    def set_metadata(self, metadata: str) -> None:
        """Change what the application is told of this participant."""
        self._change(metadata=metadata)

    def set_name(self, name: str) -> None:
        """Change the name that people see."""
        self._change(name=name)

    def leave(self, reason: str = "client initiated") -> None:
        """Leaves the room; its tracks end. Idempotent."""
        with self._floor.wire.changed:
            self._fall_silent()
            self._floor.state.put_out(self._member, reason)

    def vanish(self, noticed_after: float | None = 15.0) -> None:
        """Falls silent without a word, as when a phone loses its network. The room notices after
        that many seconds of its clock (a LiveKit server takes about 15), or, if None, only when
        `leave` or another `join` says so.
        """
        if noticed_after is not None:
            noticed_after = check_range("noticed_after", noticed_after, 0, MAX_TIMEOUT)
        with self._floor.wire.changed:
            self._fall_silent()
            for track in self._tracks:
                track.cut_off = True
        if noticed_after is not None:
            wire = self._floor.wire
            wire.call_at(wire.time() + noticed_after, lambda: self.leave("connection timeout"))

    def _info(self, name: str, kind: Kind, source: str) -> TrackInfo:
        check_name("track name", name)
        check_choice("source", source, RECEIVED_SOURCES)
        return TrackInfo(sid="", name=name, kind=kind, participant=self.identity, source=source)

    def _opened(self, track: _AnyDevice) -> _AnyDevice:
        self._tracks = [one for one in self._tracks if not one.over]
        self._tracks.append(track)
        return track

    def _change(self, **fields: Any) -> None:
        _check_person(dataclasses.replace(self._member.participant, **fields))
        with self._floor.wire.changed:
            self._check_present()
            self._floor.state.describe(self._member, **fields)

    def _fall_silent(self) -> None:
        for track in self._tracks:
            track.stop()

    def _check_present(self) -> None:
        if self._member.gone:
            raise ClosedError(f"{self.identity!r} has left the room ({self._member.reason})")

    def __repr__(self) -> str:
        return f"FakeParticipant({self.identity!r}, sid={self.info.sid!r})"


def _check_person(participant: Participant) -> None:
    """Raises `FrameError` for what no server would let in, `ConfigurationError` for no kind."""
    check_choice("kind", participant.kind, TOLD_PARTICIPANT_KINDS)
    if not check_text("identity", participant.identity, MAX_IDENTITY_BYTES):
        raise FrameError("the identity is empty")
    check_text("name for people", participant.name, MAX_METADATA_BYTES)
    check_text("metadata", participant.metadata, MAX_METADATA_BYTES)
    _check_attributes(participant.attributes)


def _check_attributes(attributes: Mapping[str, str]) -> None:
    if not isinstance(attributes, Mapping):
        raise FrameError(f"the attributes are a {type(attributes).__name__}, expected a mapping")
    for key, value in attributes.items():
        check_text("attribute's name", key, MAX_METADATA_BYTES)
        check_text("attribute", value, MAX_METADATA_BYTES)
