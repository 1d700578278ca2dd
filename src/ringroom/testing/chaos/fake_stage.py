"""The fake room of a chaos run, its people, and all that can go wrong with them.

People speak all the time, in numbered pieces, a few seconds ahead. A second application listens
to some of them. Two threads call it, the one that lets things go wrong and the one that looks:
under one lock.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from ringroom.client import Transport, transport
from ringroom.errors import ClosedError, RingroomError
from ringroom.events import TrackInfo
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.rpc import RpcCall
from ringroom.testing import faults, sources
from ringroom.testing.chaos import plan as p
from ringroom.testing.chaos.actor import SAY
from ringroom.testing.chaos.deeds import always_excused
from ringroom.testing.chaos.ears import OWN_TRACK, PIECE_SECONDS, Ears, numbered
from ringroom.testing.devices import Camera, Microphone
from ringroom.testing.participants import FakeParticipant
from ringroom.testing.room import FakeRoom
from ringroom.testing.simulation.call_laws import ASK
from ringroom.testing.simulation.laws import Broken, check_lanes

__all__ = ["FakeStage"]

APPLICATION = "app"
_RATE, _SIZE = 16_000, (160, 120)
# How far ahead a person speaks, and in how long pieces, at least.
_AHEAD, _CHUNK = 4.0, 1.0
# One person in this many shows pictures as well.
_SHOWS = 8
_SAYS_EVERY = 0.5
_HEARD_BY_READER = 2
# After a fault's end, until media flows as before.
_AFTERWARDS = 1.0


class _Person:
    """Somebody who always speaks."""

    def __init__(
        self, room: FakeRoom, identity: str, shows: bool, answer: Callable[[RpcCall], str | None]
    ) -> None:
        self.identity = identity
        self._answer = answer
        self.form, self.size = (_RATE, 1), _SIZE
        self._shows = shows
        self._room = room
        self._pieces = 0
        self._messages = 0
        self._pictures: dict[tuple[int, int], VideoFrame] = {}
        self._until = 0.0
        self._guest: FakeParticipant | None = None
        self._mic: Microphone | None = None
        self._camera: Camera | None = None
        self.enter()

    def enter(self) -> None:
        """Join; also when still there, as a person that vanished comes back."""
        self._guest = self._room.join(self.identity)
        self._guest.answer(ASK, self._answer)
        self._mic = self._guest.publish_audio("mic", sample_rate=_RATE)
        self._camera = self._guest.publish_video("camera") if self._shows else None
        self._until = 0.0

    def leave(self, vanish: bool) -> None:
        guest, self._guest = self._guest, None
        if guest is not None and vanish:
            guest.vanish(noticed_after=None)
        elif guest is not None:
            guest.leave()

    def mute(self, muted: bool) -> None:
        if self._guest is not None and self._mic is not None:
            (self._mic.mute if muted else self._mic.unmute)()

    def say(self, topic: str = SAY) -> None:
        if self._guest is not None:
            number = str(self._messages).encode()
            self._guest.send_data(number, topic=topic, to=(APPLICATION,))
            self._messages += 1

    def call_us(self, payload: str, seconds: float) -> str:
        guest = self._guest
        if guest is None:
            raise ClosedError(f"{self.identity!r} is not there")
        return guest.call(ASK, payload, to=APPLICATION, timeout=seconds)

    @property
    def is_heard(self) -> bool:
        return self._mic is not None and APPLICATION in self._mic.subscribers

    def hush(self) -> None:
        """Be silent until `go_on`."""
        self._until = 0.0
        if self._mic is not None:
            self._mic.stop()

    def go_on(self, now: float) -> None:
        if self._guest is None or self._mic is None:
            return
        self._guest.forget()
        if now > self._until - _AHEAD:
            count = round(_CHUNK / PIECE_SECONDS)
            while self._until < now + _AHEAD:
                sound = numbered(self._pieces, count, *self.form)
                self._mic.speak(AudioFrame(sound, self.form[0]))
                self._pieces += count
                self._until = max(self._until, now) + _CHUNK
        if self._camera is not None:
            if self.size not in self._pictures:
                self._pictures[self.size] = sources.picture(0, *self.size)
            self._camera.show(self._pictures[self.size])


class _Reader:
    """Another application in the room: a transport whose thread reads all the time."""

    def __init__(self, room: FakeRoom, note: Callable[[Broken], None], heard: list[str]) -> None:
        self.transport: Transport = transport(
            "fake", room=room, identity="reader", participants=heard, io="thread"
        )
        self._note = note
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)
        self._thread.start()
        self._held: contextlib.AbstractContextManager[None] | None = None

    def pause(self) -> None:
        """Read nothing, until `go_on`."""
        if self._held is None:
            self._held = faults.not_reading(self.transport)
            self._held.__enter__()

    def go_on(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.__exit__(None, None, None)

    def _read(self) -> None:
        last: dict[str, tuple[int, int]] = {}
        try:
            for frame in self.transport.recv():
                assert isinstance(frame, AudioFrame)
                assert isinstance(frame.track, TrackInfo)
                this, sid = (frame.received_ns, frame.sequence), frame.track.sid
                if this <= last.get(sid, (-1, -1)):
                    self._note(Broken("order", f"frame {this} of {sid} after {last[sid]}"))
                last[sid] = this
        except RingroomError as error:
            self._note(Broken("errors", f"the reader: {type(error).__name__}: {error}"))

    def close(self) -> None:
        self._thread.join(10.0)
        self.transport.close()


class FakeStage:
    """See the module's docstring. A context manager."""

    kind = p.FAKE

    def __init__(self, plan: p.Plan, note: Callable[[Broken], None]) -> None:
        self.ears = Ears()
        self.calls = always_excused(plan, note)
        self.blocked_until = 0.0
        """Until then frames need not flow (`time.monotonic`)."""
        self._plan = plan
        self._note = note
        self._draw = random.Random(plan.seed)  # noqa: S311 (it must be repeatable)
        self._lock = threading.RLock()
        self._undos: list[tuple[float, Callable[[], None]]] = []
        self._says_at = 0.0
        self._resting = False
        self._own_at_rest = -1
        self._closing = contextlib.ExitStack()
        self._room = FakeRoom("chaos", kept_pictures=0)
        self._people: list[_Person] = []
        self._reader: _Reader | None = None

    def __enter__(self) -> Self:
        self._closing.callback(self._room.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def options(self) -> dict[str, Any]:
        """The options of a pool in this room."""
        return {"provider": "fake", "room": self._room, "identity": APPLICATION}

    def begin(self) -> None:
        """Everybody comes."""
        self._people = [
            _Person(
                self._room, identity, number % _SHOWS == 0, partial(self.calls.of_guest, identity)
            )
            for number, identity in enumerate(self._plan.people)
        ]
        heard = list(self._plan.people[:_HEARD_BY_READER])
        self._reader = _Reader(self._room, self._note, heard)
        self._closing.callback(self._reader.close)
        # First, also where a run breaks off: the reader ends with the room.
        self._closing.callback(self._room.close_room)

    @property
    def warm(self) -> bool:
        """Whether everybody has been heard and answered once."""
        with self._lock:
            tracks = {OWN_TRACK, *(f"{identity}/mic" for identity in self._plan.answered)}
            answered = self.ears.answers.keys() >= set(self._plan.people)
            return answered and self.ears.tracks.keys() >= tracks

    def tick(self, now: float) -> None:
        """Called a few times a second: people go on, faults end, what was heard is judged."""
        with self._lock:
            for entry in [entry for entry in self._undos if entry[0] <= now]:
                self._undos.remove(entry)
                entry[1]()
            if not self._resting:
                self._let_people_talk(now)
            for application in self._room.applications.values():
                self.ears.hear(application.take())
        if self._reader is not None:
            check_lanes(self._reader.transport.stats().lanes)

    def _let_people_talk(self, now: float) -> None:
        for person in self._people:
            person.go_on(now)
        if now >= self._says_at:
            self._says_at = now + _SAYS_EVERY
            for person in self._people:
                person.say()

    def call_us(self, person: int, payload: str, seconds: float) -> str:
        """Somebody calls the application: without the lock, for it waits. Raises as their SDK
        does, and `ClosedError` for somebody who is not there."""
        return self._people[person].call_us(payload, seconds)

    def is_muted(self, track: str) -> bool | None:
        """Whether the far end was told so of a track of the application's."""
        us = self._room.applications.get(APPLICATION)
        return us is not None and track in us.muted

    def rest(self) -> None:
        """Everything is as at the beginning, and nobody speaks, until `go_on`."""
        with self._lock:
            while self._undos:
                self._undos.pop()[1]()
            self._resting = True
            self._own_at_rest = self._own_heard()
            for person in self._people:
                person.form, person.size = (_RATE, 1), _SIZE
                person.hush()

    @property
    def rested(self) -> bool:
        """Whether everybody would be heard, the application's own track is, and all that was said
        has reached the applications: a fake room keeps a minute of sound for one that gets no
        processor."""
        with self._lock:
            here = all(person.is_heard for person in self._people)
            here = here and self._own_heard() != self._own_at_rest
        return here and not any(one.behind for one in self._room.applications.values())

    def _own_heard(self) -> int:
        """The last piece that was heard of the application's own track; -1 for none."""
        track = self.ears.tracks.get(OWN_TRACK)
        return -1 if track is None else track.last

    def go_on(self) -> None:
        """The end of `rest`."""
        with self._lock:
            self._resting = False

    def close_room(self) -> bool:
        """The room's end."""
        with self._lock:
            self._undos.clear()
            self._room.close_room()
        return True

    def let(self, happening: p.Happening) -> None:
        """Let it begin; it ends by itself, some seconds later, or at `rest`."""
        now = time.monotonic()
        with self._lock:
            match happening:
                case p.Leave(person=number, seconds=seconds, vanish=vanish):
                    self._people[number].leave(vanish)
                    self._undo(now + seconds, self._people[number].enter)
                case p.Mute(person=number, seconds=seconds):
                    self._people[number].mute(True)
                    self._undo(now + seconds, lambda: self._people[number].mute(False))
                case p.Reform(person=number):
                    person = self._people[number]
                    person.form = (happening.sample_rate, happening.channels)
                    person.size = happening.size
                case p.Flood(person=number, count=count):
                    for _ in range(count):
                        self._people[number].say("flood")
                    self._hold_up(time.monotonic())
                case _:
                    self._let_room(happening, now)

    def _undo(self, at: float, undo: Callable[[], None]) -> None:
        self._undos.append((at, undo))

    def _let_room(self, happening: p.Happening, now: float) -> None:
        found = self._room.faults
        match happening:
            case p.Lose(seconds=seconds, resume=resume):
                with contextlib.suppress(LookupError):
                    fault = found.connection_lost(resume=resume)
                    self._lasting(fault.end, now + seconds)
            case p.Late(seconds=seconds, by=by):
                self._lasting(found.late(by).end, now + seconds)
            case p.Burst(seconds=seconds, of=of):
                self._lasting(found.bursts(of).end, now + seconds)
            case p.Refuse(person=number, seconds=seconds):
                self._undo(now + seconds, found.publish_refused().end)
                self._people[number].leave(vanish=False)
                self._people[number].enter()
            case p.NotReading(seconds=seconds):
                assert self._reader is not None
                self._reader.pause()
                self._undo(now + seconds, self._reader.go_on)
            case _:
                raise NotImplementedError(f"{happening}")

    def _lasting(self, end: Callable[[], None], until: float) -> None:
        self._undo(until, end)
        self._hold_up(until)

    def _hold_up(self, until: float) -> None:
        self.blocked_until = max(self.blocked_until, until + _AFTERWARDS)
