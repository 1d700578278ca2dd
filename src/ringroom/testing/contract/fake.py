"""The contract's driver for `FakeRoom`, and the subject that it makes of the provider ``fake``.

It is also the model for a driver of your own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields

import numpy as np

from ringroom.events import Participant
from ringroom.frames import AudioFrame, DataFrame, DataTrackFrame, FileFrame, VideoFrame
from ringroom.processes.hosts import Where
from ringroom.testing.contract.subject import (
    LAYERED,
    Answerer,
    Capabilities,
    Refused,
    Room,
    Subject,
)
from ringroom.testing.devices import Camera, Microphone, Sensor
from ringroom.testing.participants import FakeParticipant
from ringroom.testing.room import FakeRoom
from ringroom.testing.room_faults import Fault
from ringroom.testing.written import WrittenText

__all__ = ["FAKE", "FakeDriver", "fake_rooms", "fake_subject"]

FAKE = Capabilities(**{claim.name: True for claim in fields(Capabilities) if claim.type == "bool"})
"""The provider ``fake`` claims every capability."""
APP = "app"


class FakeDriver:
    """The people of a `FakeRoom`; the application in it is called "app"."""

    def __init__(self, room: FakeRoom) -> None:
        self._room = room
        self._people: dict[str, FakeParticipant] = {}
        self._tracks: dict[tuple[str, str], Microphone | Camera | Sensor] = {}
        self._profiles: dict[str, tuple[str, str, Mapping[str, str]]] = {}
        self._mutes: dict[str, Fault] = {}

    def join(self, who: str) -> None:
        self.join_as(who, "standard")

    def join_as(self, who: str, kind: str) -> None:
        self._people[who] = self._room.join(who, *self._profiles.get(who, ()), kind=kind)

    def leave(self, who: str) -> None:
        self._people[who].leave()

    def people(self) -> Collection[str]:
        return {one.identity for one in self._room.participants}

    def describe(self, who: str, name: str, metadata: str, attributes: Mapping[str, str]) -> None:
        self._profiles[who] = (name, metadata, attributes)
        if who in self._people:
            person = self._people[who]
            person.set_name(name)
            person.set_metadata(metadata)
            person.set_attributes({**dict.fromkeys(person.info.attributes, ""), **attributes})

    def describe_room(self, metadata: str) -> None:
        self._room.set_metadata(metadata)

    def quality(self, who: str) -> str:
        self._room.set_quality(who or APP, "poor")
        return "poor"

    def publish_audio(self, who: str, track: str, sample_rate: int, channels: int) -> None:
        self._tracks[who, track] = self._people[who].publish_audio(track, sample_rate, channels)

    def publish_video(self, who: str, track: str) -> None:
        self._tracks[who, track] = self._people[who].publish_video(track)

    def publish_layers(self, who: str, track: str) -> None:
        person = self._people[who]
        self._tracks[who, track] = person.publish_video(track, *LAYERED, simulcast=True)

    def publish_data_track(self, who: str, track: str) -> None:
        self._tracks[who, track] = self._people[who].publish_data_track(track)

    def push(self, who: str, track: str, payload: bytes, timestamp: int | None) -> None:
        sensor = self._tracks[who, track]
        assert isinstance(sensor, Sensor)
        sensor.push(payload, timestamp)

    def unpublish(self, who: str, track: str) -> None:
        self._tracks[who, track].unpublish()

    def mute(self, who: str, track: str, muted: bool) -> None:
        one = self._tracks[who, track]
        (one.mute if muted else one.unmute)()

    def speak(self, who: str, track: str, sound: AudioFrame) -> None:
        microphone = self._tracks[who, track]
        assert isinstance(microphone, Microphone)
        microphone.speak(sound, realtime=False)

    def show(self, who: str, track: str, picture: VideoFrame) -> None:
        camera = self._tracks[who, track]
        assert isinstance(camera, Camera)
        camera.show(picture)

    def send_data(self, who: str, payload: bytes, topic: str, to: tuple[str, ...]) -> None:
        self._people[who].send_data(payload, topic=topic, to=to)

    def send_unreliably(self, who: str, payload: bytes) -> None:
        self._people[who].send_data(payload, reliable=False)

    def send_text(self, who: str, text: str, topic: str, attributes: Mapping[str, str]) -> None:
        self._people[who].send_text(text, topic=topic, attributes=attributes)

    def press(self, who: str, digits: str) -> None:
        self._people[who].press(digits)

    def break_off_text(self, who: str, text: str, topic: str) -> None:
        with self._room.faults.texts_broken_off(who):
            self._people[who].send_text(text, topic=topic)

    def send_file(self, who: str, file: FileFrame) -> None:
        self._people[who].send_file(
            file.payload,
            topic=file.topic,
            name=file.name,
            mime_type=file.mime_type,
            attributes=file.attributes,
        )

    def break_off_file(self, who: str, file: FileFrame) -> None:
        with self._room.faults.files_broken_off(who):
            self.send_file(who, file)

    def call(self, who: str, method: str, payload: str, seconds: float) -> str:
        return self._people[who].call(method, payload, to=APP, timeout=seconds)

    def answer(self, who: str, method: str, function: Answerer) -> None:
        self._people[who].answer(
            method, lambda call: function(call.participant, call.text, call.timeout)
        )

    def heard(self, track: str) -> AudioFrame | None:
        with contextlib.suppress(LookupError):
            recording = self._room.heard(track)
            if recording.frames:
                samples = np.concatenate([frame.samples for frame in recording.frames])
                return AudioFrame(samples, recording.sample_rate)
        return None

    def hears(self, who: str, track: str) -> bool:
        application = self._room.application
        there = track in application.tracks and bool(application.heard(track).frames)
        return there and application.subscribers.allows(who, track)

    def seen(self, track: str) -> Sequence[VideoFrame]:
        with contextlib.suppress(LookupError):
            return self._room.seen(track).frames
        return ()

    def pushed(self, track: str) -> Sequence[DataTrackFrame]:
        with contextlib.suppress(LookupError):
            return self._room.pushed(track).frames
        return ()

    def received(self, who: str) -> Sequence[DataFrame]:
        return self._people[who].received

    def texts(self, who: str) -> Sequence[WrittenText]:
        return self._people[who].texts

    def tracks(self) -> Collection[str]:
        applications = self._room.applications
        return applications[APP].tracks.keys() if APP in applications else ()

    def profile(self) -> Participant | None:
        return next((one for one in self._room.participants if one.identity == APP), None)

    def source(self, track: str) -> str:
        applications = self._room.applications
        info = applications[APP].tracks.get(track) if APP in applications else None
        return info.source if info is not None else ""

    def muted(self, track: str) -> bool:
        return track in self._room.applications[APP].muted

    def close_room(self) -> None:
        self._room.close_room()

    def remove(self) -> None:
        self._room.remove(APP)

    def break_connection(self) -> None:
        self._room.break_connection()

    def lose_connection(self) -> None:
        self._room.lose_connection()

    def restore_connection(self) -> None:
        self._room.restore_connection()

    def refuse(self, what: Refused) -> None:
        if what == "connect":
            self._room.refuse_connects()
        elif what == "publish":
            self._room.refuse_publish()
        elif what == "data":
            self._room.refuse_data()
        else:
            self._room.refuse_profile()

    def moderate(self, track: str, muted: bool) -> None:
        self._mutes[track] = self._mutes.get(track) or self._room.faults.muted_by_server(track)
        if not muted:
            self._mutes.pop(track).end()

    def forbid_publishing(self) -> None:
        self._room.faults.publishing_forbidden()


@contextlib.contextmanager
def fake_rooms() -> Iterator[Room]:
    """A fresh room in memory."""
    with FakeRoom() as room:
        options = {"room": room, "identity": APP}
        yield Room(provider="fake", options=options, driver=FakeDriver(room))


def fake_subject(io: Where = "thread") -> Subject:
    """The provider ``fake``, which claims everything."""
    name = "fake/thread" if io == "thread" else "fake/process"
    return Subject(name=name, rooms=fake_rooms, capabilities=FAKE, io=io)
