"""The simulated system: a fake room with people, an application with a pool of workers, and the
role that plays the story.

Beside the pool another thread of the application sends sound and messages of its own, and now and
then flushes, or asks who is there. Other processes take the place of those that die.
"""

from __future__ import annotations

import contextlib
import itertools
from functools import partial

import numpy as np

from ringroom.context import Context
from ringroom.errors import RingroomError
from ringroom.events import Event
from ringroom.frames import AudioFrame, DataFrame, Frame
from ringroom.options import Reconnect
from ringroom.pool import Pool
from ringroom.processor import Processor, Replies
from ringroom.rpc import RpcCall
from ringroom.testing.participants import FakeParticipant
from ringroom.testing.room import FakeRoom
from ringroom.testing.simulation.call_laws import ANSWER, ASK
from ringroom.testing.simulation.deeds import Deeds
from ringroom.testing.simulation.laws import (
    END_SECONDS,
    MAX_AGE,
    RECOVERY_SECONDS,
    Broken,
    Ledger,
    check_heard,
    check_lanes,
    check_people,
    is_recovery,
)
from ringroom.testing.simulation.scheduler import SeededClock
from ringroom.testing.simulation.story import (
    WORKERS,
    Bursts,
    Deed,
    Freeze,
    Happening,
    Kill,
    Late,
    Lose,
    Say,
    Settle,
    Story,
    Turn,
)
from ringroom.testing.virtual.hosts import VirtualHost

__all__ = ["World"]

RATE = 16_000
PIECE = RATE // 10
_UTTERANCE_SECONDS = 10
# Of the frames of a track: how many in a row are answered, of how many; one is slow, one raises.
_ANSWERED, _ROUND = 20, 500
_SLOW, _RAISES = 97, 701
_FRAME_SECONDS = 0.004
_APPLICATION, _OWN_TRACK = "app", "speaker"
_LONG_TURN, _LONG_PIECES = 12, 25
# A story never dies too often for the pool.
_RESTARTS = 1_000
_PAUSE = 0.4
_SETTLING = 1.0
_FIRST_WORDS = 0.3

_worlds: list[World] = []


class Actor(Processor):
    """Answers some frames and all messages, is slow at times, and raises at times."""

    kinds = ("audio", "data")

    def start(self, context: Context) -> None:
        self._context = context
        self._world = _worlds[-1]

    def process(self, frame: Frame) -> Replies:
        ledger = self._world.ledger
        if isinstance(frame, RpcCall):
            return self._world.deeds.of_worker(frame, self._context)
        if isinstance(frame, DataFrame):
            ledger.message(frame)
            self._context.send_data(frame.payload, topic="answer")
            return None
        assert isinstance(frame, AudioFrame)
        ledger.frame(frame)
        if not frame.sequence % _SLOW:
            self._world.clock.sleep(_FRAME_SECONDS)
        if frame.sequence % _RAISES == _RAISES - 1:
            raise ArithmeticError("on purpose")
        return frame if frame.sequence % _ROUND < _ANSWERED else None


class World:
    """One story's room, people and application. `play` it once."""

    def __init__(self, story: Story, clock: SeededClock) -> None:
        self.story = story
        self.clock = clock
        self.ledger = Ledger()
        self.deeds = Deeds(clock, _OWN_TRACK, lambda: self._pool, self._guest_in, self._note)
        self._recoveries = 0
        self._room = FakeRoom("simulation", clock, kept_pictures=0)
        self._pool: Pool | None = None
        self._seats: list[FakeParticipant | None] = [None] * Story.SEATS
        self._names = itertools.count()
        self._came: set[str] = set()
        self._numbers = itertools.count()
        self._over = False
        self._pieces_sent = 0
        self._sends = 0

    # The role that plays the story.

    def play(self) -> None:
        """Raises `Broken` or `Stuck`."""
        clock = self.clock
        _worlds.append(self)
        clock.check = self._check
        begin = clock.now()
        try:
            application = clock.start_process("application", self._application)
            speaker = clock.start_process("speaker", self._speaker)
            self._room.wait_for_app(timeout=END_SECONDS)
            self._sleep_until(begin + _FIRST_WORDS)
            for seat in range(Story.SEATS):
                self._take_turn(seat)
            happenings = self.story.happenings
            self.deeds.start([one for one in happenings if isinstance(one, Deed)], begin)
            for happening in happenings:
                if not isinstance(happening, Deed):
                    self._sleep_until(begin + happening.at)
                    self._let(happening)
            self._sleep_until(begin + self.story.seconds)
            self._end()
            for role in (application, speaker):
                clock.join(role, END_SECONDS)
                if role.lives:
                    raise Broken("end", f"{role.name} has not ended within {END_SECONDS} s")
            self.deeds.end()
            if self.ledger.broken:
                raise self.ledger.broken[0]
        finally:
            clock.check = lambda: None
            self._end()
            _worlds.remove(self)

    def _sleep_until(self, moment: float) -> None:
        self.clock.sleep(max(0.0, moment - self.clock.now()))
        if self.ledger.broken:
            raise self.ledger.broken[0]

    def _end(self) -> None:
        self._over = self.deeds.calls.over = True
        self._room.close()

    def _let(self, happening: Happening) -> None:
        match happening:
            case Turn(seat=seat):
                self._take_turn(seat)
            case Say(seat=seat):
                self._say(seat)
            case Settle():
                self._settle()
            case Lose(seconds=seconds, resume=resume):
                self._trouble(seconds, away=True)
                with contextlib.suppress(LookupError):
                    self._room.faults.connection_lost(resume=resume).lasting(seconds)
            case Late(seconds=seconds, by=by):
                self._room.faults.late(by).lasting(seconds)
            case Bursts(seconds=seconds, of=of):
                self._room.faults.bursts(of).lasting(seconds)
            case Freeze(role=role, seconds=seconds):
                self.clock.freeze(self._living(role), seconds)
                calls = self.deeds.calls
                calls.excused_until = max(calls.excused_until, self.clock.now() + seconds)
                self._trouble(seconds)
            case Kill(role=role, points=points):
                self._kill(role, points)

    def _kill(self, role: str, points: int) -> None:
        """It dies at one of its next points, or where it waits; another must take its place."""
        name, before = self._living(role), self._recoveries
        excused = self.deeds.calls.excused_until
        wait = RECOVERY_SECONDS + max(0.0, excused - self.clock.now())
        self._trouble(_PAUSE + wait, away=role not in WORKERS)
        self.clock.doom(name, points)
        self.clock.sleep(_PAUSE)
        if name == self._living(role) and self._recoveries == before:
            self.clock.kill(name)
        self.ledger.deaths += 1
        wait = RECOVERY_SECONDS + max(0.0, excused - self.clock.now())
        self.clock.sleep(wait)
        if self._recoveries == before:
            raise Broken("recovery", f"{wait:.1f} s after the death of {name} no other is there")

    def _trouble(self, seconds: float, *, away: bool = False) -> None:
        """Something goes wrong for so long. ``away``: we are out of the room meanwhile."""
        calls, until = self.deeds.calls, self.clock.now() + seconds
        calls.troubled_until = max(calls.troubled_until, until)
        if away:
            calls.away_until = max(calls.away_until, until)

    def _settle(self) -> None:
        """The dust settles; then calls are answered, and what is muted is muted."""
        deeds, clock = self.deeds, self.clock
        deeds.pause()
        clock.sleep(max(0.0, deeds.calls.troubled_until - clock.now()) + _SETTLING)
        self._sleep_until(clock.now())
        pool = self._pool
        assert pool is not None
        for seat in range(Story.SEATS):
            guest = self._guest_in(seat)
            deeds.call_them(pool.call, guest.identity, ANSWER, END_SECONDS)
            deeds.call_us(guest, ANSWER, END_SECONDS)
        us = self._room.applications[_APPLICATION]
        for name in us.tracks:
            deeds.muting.check_state(name, name in us.muted)
        deeds.mute_own(pool, False)
        self._check_unmuted(pool)
        deeds.go_on()

    def _check_unmuted(self, pool: Pool) -> None:
        """What is sent from here on is heard: of two sends the second begins after this."""
        sends = self._sends
        while self._sends < sends + 2:
            self._sleep_until(self.clock.now() + _PAUSE)
        last = self._pieces_sent - 1
        try:
            pool.wait_playout(_OWN_TRACK, timeout=END_SECONDS)
        except (RingroomError, TimeoutError) as error:
            raise Broken("deadline", f"wait_playout: {type(error).__name__}: {error}") from None
        heard = self._room.applications[_APPLICATION].heard(_OWN_TRACK)
        if last not in {int(frame.samples[0, 0]) for frame in heard.frames}:
            raise Broken("muting", f"sound {last} is not heard, though the track is unmuted")

    def _guest_in(self, seat: int) -> FakeParticipant:
        guest = self._seats[seat]
        assert guest is not None
        return guest

    def _living(self, role: str) -> str:
        """The role that has that place now: workers that came later are spares."""
        if role not in WORKERS:
            return role
        workers = [name for name in self.clock.roles if name.startswith("ringroom-worker")]
        return workers[WORKERS.index(role)]

    def _take_turn(self, seat: int) -> None:
        before = self._seats[seat]
        if before is not None:
            self.deeds.calls.left.add(before.identity)
            before.leave()
        name = f"guest{next(self._names)}"
        self._came.add(name)
        guest = self._seats[seat] = self._room.join(name)
        guest.answer(ASK, partial(self.deeds.calls.of_guest, name))
        microphone = guest.publish_audio(sample_rate=RATE)
        piece = np.full(_UTTERANCE_SECONDS * RATE, seat + 1, np.int16)
        for _ in range(int(self.story.seconds / _UTTERANCE_SECONDS) + 1):
            microphone.speak(piece)

    def _say(self, seat: int) -> None:
        self._guest_in(seat).send_data(str(next(self._numbers)).encode())

    # The application.

    def _application(self) -> None:
        try:
            self._run_pool()
        except RingroomError as error:
            # A room that closes while the connection is lost only hangs up, for the pool an error.
            if not self._over:
                self._note(Broken("errors", f"{type(error).__name__}: {error}"))
        except Broken as broken:
            self._note(broken)

    def _on_event(self, event: Event) -> None:
        self._recoveries += is_recovery(event)

    def _run_pool(self) -> None:
        with VirtualHost(self.clock) as host:
            pool = Pool(
                Actor(),
                "fake",
                room=self._room,
                io=host,
                workers=2,
                max_age=MAX_AGE,
                rpc_methods=(ASK,),
                restarts=_RESTARTS,
                # A room that closes while the connection is lost is given up before the story is;
                # several losses are several outages.
                reconnect=Reconnect(deadline=END_SECONDS / 2, longest=1.0),
                on_event=self._on_event,
            )
            try:
                with pool:
                    self._pool = pool
                    pool.wait()
                    pool.drain()
            finally:
                self._pool = None
                if hasattr(pool._connection, "session"):
                    expired = self.deeds.calls.expired(self.clock.now())
                    check_lanes(pool.stats().lanes, over=True, expired=expired)
                self._check_heard()

    def _speaker(self) -> None:
        """A thread of the application with a track and messages of its own."""
        turn = 0
        while not self._over:
            pool = self._pool
            if pool is None:
                self.clock.sleep(0.05)
                continue
            turn += 1
            # Now and then more than the track takes at once, so that its sender waits.
            pieces = 1 if turn % _LONG_TURN else _LONG_PIECES
            try:
                pool.send(_sound(self._pieces_sent, pieces), timeout=END_SECONDS)
                if not turn % 3:
                    pool.send_data(str(turn), topic="number", timeout=END_SECONDS)
                if not turn % 5 and not self.deeds.paused:
                    pool.flush(_OWN_TRACK, timeout=END_SECONDS)
                if not turn % 4:
                    people = pool.participants(timeout=END_SECONDS)
                    check_people([who.identity for who in people], self._came)
            except Broken as broken:
                self._note(broken)
                return
            except Exception as error:  # noqa: BLE001 (as long as the room is open there is none)
                if not self._over:
                    law = "deadline" if isinstance(error, TimeoutError) else "errors"
                    self._note(Broken(law, f"speaker: {type(error).__name__}: {error}"))
                return
            self._pieces_sent += pieces
            self._sends += 1
            self.clock.sleep(1.0)

    # The laws.

    def _check(self) -> None:
        pool = self._pool
        if pool is not None:
            lanes = pool._connection.session.statistics()
            check_lanes(lanes, expired=self.deeds.calls.expired(self.clock.now()))
        self.deeds.calls.check_overdue(self.clock.now(), self.clock.roles)

    def _check_heard(self) -> None:
        us = self._room.applications.get(_APPLICATION)
        if us is None:
            return
        with contextlib.suppress(LookupError):
            heard = us.heard(_OWN_TRACK)
            pieces = ((int(frame.samples[0, 0]), len(frame.samples)) for frame in heard.frames)
            check_heard(pieces, PIECE)
        for name in self.deeds.muting.names:
            with contextlib.suppress(LookupError):
                begins = (frame.received_ns / 1e9 for frame in us.heard(name).frames)
                self.deeds.muting.check_heard(name, begins)

    def _note(self, broken: Broken) -> None:
        self.ledger.broken.append(broken)
        self._over = True


def _sound(first: int, pieces: int) -> AudioFrame:
    """So many pieces of a tenth of a second, each of its own number."""
    numbers = np.arange(first, first + pieces, dtype=np.int16)
    return AudioFrame(np.repeat(numbers, PIECE), RATE, track=_OWN_TRACK)
