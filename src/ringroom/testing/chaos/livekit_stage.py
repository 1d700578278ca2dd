"""The same on a real LiveKit server: people who come, go and vanish, and one who listens.

Everybody is a transport; together they have an I/O process, apart from that of the application.
Person 0 has an I/O process of their own, which is killed when somebody is to vanish. Sound that
comes back has been through WebRTC, so of what is heard only messages are judged.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from ringroom.client import Transport, transport
from ringroom.errors import ClosedError, LostProcessError, RingroomError, RoomError, RpcError
from ringroom.events import TrackInfo
from ringroom.frames import AudioFrame, DataFrame
from ringroom.processes.hosts import IOProcess
from ringroom.rpc import RpcAnswer, RpcCall
from ringroom.testing import faults, sources
from ringroom.testing.chaos import plan as p
from ringroom.testing.chaos.actor import SAY
from ringroom.testing.chaos.deeds import always_excused
from ringroom.testing.chaos.ears import OWN_TRACK, Ears
from ringroom.testing.server import LiveKitRoom, LiveKitServer
from ringroom.testing.simulation.call_laws import ASK, CallLedger
from ringroom.testing.simulation.laws import Broken

__all__ = ["LiveKitStage"]

APPLICATION = "app"
_RATE, _PIECE_SECONDS = 48_000, 0.1
_SAYS_EVERY = 0.5
_SEND_SECONDS = 5.0
_MOST_MESSAGES = 1_000
_VANISHES = 0
# WebRTC fills holes with less.
_QUIET = 100


class _Person:
    """Somebody who always speaks, and answers calls, each on a thread of their own."""

    def __init__(
        self, room: LiveKitRoom, number: int, io: IOProcess | None, calls: CallLedger
    ) -> None:
        self.identity = f"p{number}"
        self._calls = calls
        self._room = room
        self._shared = io
        self._io: IOProcess | None = None
        self._messages = 0
        self._saying = threading.Lock()
        self._sound = sources.tone(300 + 40 * number, 1.0, _RATE, level=0.3)
        self._transport: Transport | None = None
        self._threads: list[threading.Thread] = []
        self.enter()

    def enter(self) -> None:
        """Idempotent."""
        if self._transport is not None:
            return
        if self._shared is None:
            self._io = IOProcess()
        token = self._room.token(self.identity)
        io = self._shared or self._io
        assert io is not None
        self._transport = transport(
            "livekit",
            url=self._room.url,
            token=token,
            kinds=("data",),
            rpc_methods=(ASK,),
            participants=(APPLICATION,),
            io=io,
        )
        for run in (self._speak, self._answer):
            thread = threading.Thread(
                target=run, args=(self._transport,), name=self.identity, daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _speak(self, here: Transport) -> None:
        step = round(_RATE * _PIECE_SECONDS)
        with contextlib.suppress(RingroomError):
            while True:
                for start in range(0, len(self._sound), step):
                    here.send(AudioFrame(self._sound[start : start + step], _RATE, track="mic"))

    def _answer(self, here: Transport) -> None:
        with contextlib.suppress(RingroomError):
            for frame in here.recv():
                if isinstance(frame, RpcCall):
                    answer = self._answer_to(frame)
                    if answer is not None:
                        here.send(answer)

    def _answer_to(self, call: RpcCall) -> RpcAnswer | None:
        try:
            text = self._calls.of_guest(self.identity, call)
        except RpcError as error:
            return call.refuse(str(error), code=error.code, data=error.data)
        return None if text is None else call.answer(text)

    def call_us(self, payload: str, seconds: float) -> str:
        """Raises what an SDK would, and `ClosedError` once they have left."""
        here = self._transport
        if here is None:
            raise ClosedError(f"{self.identity!r} is not there")
        try:
            return here.call(APPLICATION, ASK, payload, timeout=seconds)
        except TimeoutError as error:
            raise RpcError(f"{error}", code=RpcError.RESPONSE_TIMEOUT) from None
        except (RoomError, LostProcessError) as error:
            raise ClosedError(f"{self.identity!r} has lost the room: {error}") from None

    def leave(self, vanish: bool) -> None:
        """Idempotent."""
        here, self._transport = self._transport, None
        if here is None:
            return
        if vanish and here.io_pid is not None:
            faults.killed(here.io_pid)
        here.close()
        while self._threads:
            self._threads.pop().join()
        io, self._io = self._io, None
        if io is not None:
            io.close()

    def say(self, topic: str = SAY) -> None:
        here = self._transport
        if here is not None:
            with self._saying, contextlib.suppress(RingroomError, TimeoutError):
                number = str(self._messages)
                here.send_data(number, topic=topic, to=(APPLICATION,), timeout=_SEND_SECONDS)
                self._messages += 1


class _Listener:
    """Hears all that the application sends; a thread of its own."""

    def __init__(
        self, here: Transport, ears: Ears, lock: threading.RLock, note: Callable[[Broken], None]
    ) -> None:
        self.heard_at: dict[str, float] = {}
        """By track, when it was last heard (`time.monotonic`)."""
        self._here, self._ears, self._lock, self._note = here, ears, lock, note
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for frame in self._here.recv():
                if isinstance(frame, DataFrame):
                    with self._lock:
                        self._ears.hear_messages([frame])
                elif isinstance(frame, AudioFrame) and abs(frame.samples).max() > _QUIET:
                    assert isinstance(frame.track, TrackInfo)
                    self.heard_at[frame.track.name] = time.monotonic()
        except Broken as broken:
            self._note(broken)
        except RingroomError:
            return  # closed

    def close(self) -> None:
        self._here.close()
        self._thread.join()


class LiveKitStage:
    """See the module's docstring. A context manager."""

    kind = p.LIVEKIT

    def __init__(self, plan: p.Plan, note: Callable[[Broken], None], server: LiveKitServer) -> None:
        self.ears = Ears()
        self.calls = always_excused(plan, note)
        self.calls.deaf_as_we_join = True
        self.blocked_until = 0.0
        self._plan = plan
        self._note = note
        self._lock = threading.RLock()
        self._undos: list[tuple[float, Callable[[], None]]] = []
        self._says_at = 0.0
        self._rest_at = 0.0
        self._people: list[_Person] = []
        self._listener: _Listener | None = None
        self._closing = contextlib.ExitStack()
        self._room = server.room("chaos")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def options(self) -> dict[str, Any]:
        """The options of a pool in this room."""
        room = self._room
        return {"provider": "livekit", "url": room.url, "token": lambda: room.token(APPLICATION)}

    def begin(self) -> None:
        """Everybody comes."""
        room = self._room
        io = self._closing.enter_context(IOProcess())
        here = transport(
            "livekit",
            url=room.url,
            token=room.token("listener"),
            kinds=("audio", "data"),
            participants=(APPLICATION,),
            io=io,
        )
        self._listener = _Listener(here, self.ears, self._lock, self._note)
        self._closing.callback(self._listener.close)
        for number in range(self._plan.tracks):
            person = _Person(room, number, None if number == _VANISHES else io, self.calls)
            self._closing.callback(person.leave, vanish=False)
            self._people.append(person)

    @property
    def warm(self) -> bool:
        """Whether everybody has been heard and answered once."""
        assert self._listener is not None
        with self._lock:
            answered = self.ears.answers.keys() >= set(self._plan.people)
        return answered and self._listener.heard_at.keys() >= self._tracks()

    def _tracks(self) -> set[str]:
        return {f"{identity}/mic" for identity in self._plan.answered} | {OWN_TRACK}

    def tick(self, now: float) -> None:
        """Called a few times a second: people come back, and say something."""
        with self._lock:
            due = [entry for entry in self._undos if entry[0] <= now]
            self._undos = [entry for entry in self._undos if entry not in due]
        for _, undo in due:
            undo()
        if now >= self._says_at:
            self._says_at = now + _SAYS_EVERY
            for person in self._people:
                person.say()

    def rest(self) -> None:
        """Everything is as at the beginning, once the next `tick` was there."""
        with self._lock:
            self._rest_at = time.monotonic()
            self._undos = [(0.0, undo) for _, undo in self._undos]

    @property
    def rested(self) -> bool:
        """Whether everybody is heard."""
        assert self._listener is not None
        heard = self._listener.heard_at
        return all(heard.get(track, 0.0) > self._rest_at for track in self._tracks())

    def call_us(self, person: int, payload: str, seconds: float) -> str:
        """Somebody calls the application. Raises as their SDK does, and `ClosedError` for somebody
        who is not there."""
        return self._people[person].call_us(payload, seconds)

    def is_muted(self, track: str) -> bool | None:
        """The stage does not know what they were told."""
        return None

    def go_on(self) -> None:
        """They speak on all the time."""

    def close_room(self) -> bool:
        """The room is left as it is: the application leaves it."""
        return False

    def let(self, happening: p.Happening) -> None:
        """Let it begin; it ends by itself, some seconds later, or at `rest`."""
        match happening:
            case p.Leave(person=number, seconds=seconds, vanish=vanish):
                person = self._people[_VANISHES if vanish else number]
                person.leave(vanish)
                with self._lock:
                    self._undos.append((time.monotonic() + seconds, person.enter))
            case p.Flood(person=number, count=count):
                for _ in range(min(count, _MOST_MESSAGES)):
                    self._people[number].say("flood")
                self.blocked_until = time.monotonic() + 1.0
            case _:
                raise NotImplementedError(f"{happening}")
