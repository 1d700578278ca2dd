"""A chaos run: a pool over a room, people, a thread that lets things go wrong, and one that looks.

Three threads: the caller's, which plays the plan; one that looks at all laws a few times a second
and keeps the people going; and one of the application, which sends sound and messages of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, Self

from ringroom.errors import ClosedError, RingroomError, RoomError
from ringroom.frames import AudioFrame
from ringroom.options import Reconnect
from ringroom.pool import Pool
from ringroom.processor import Problem
from ringroom.testing.belongings import belongings
from ringroom.testing.chaos import plan as p
from ringroom.testing.chaos.actor import Actor
from ringroom.testing.chaos.deaths import PAUSE, Deaths
from ringroom.testing.chaos.deeds import Deeds
from ringroom.testing.chaos.ears import OWN_TRACK, PIECE_SECONDS, Ears, numbered
from ringroom.testing.chaos.fake_stage import FakeStage
from ringroom.testing.chaos.gauges import (
    cpu_ticks,
    grown,
    held_by,
    left_behind,
    memory_grown,
    steal_between,
)
from ringroom.testing.chaos.livekit_stage import LiveKitStage
from ringroom.testing.chaos.report import Report
from ringroom.testing.server import LiveKitServer
from ringroom.testing.simulation.call_laws import ASK, CallLedger
from ringroom.testing.simulation.laws import Broken, check_lanes

__all__ = ["Stage", "run"]

Tell = Callable[[str], None]
_LOOK_SECONDS = 0.25
_TELL_SECONDS = 5.0
_STUCK_AFTER = 1.0
_OWN_RATE = 16_000
_MANY = 1_000_000


class Stage(Protocol):
    """A room, its people, and what can go wrong with them: see `FakeStage`."""

    kind: str
    ears: Ears
    calls: CallLedger
    blocked_until: float

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def options(self) -> dict[str, Any]: ...
    def begin(self) -> None: ...
    @property
    def warm(self) -> bool: ...
    def tick(self, now: float) -> None: ...
    def let(self, happening: p.Happening) -> None: ...
    def rest(self) -> None: ...
    @property
    def rested(self) -> bool: ...
    def go_on(self) -> None: ...
    def call_us(self, person: int, payload: str, seconds: float) -> str: ...
    def is_muted(self, track: str) -> bool | None:
        """Whether the far end was told so of a track of ours; None: the stage does not know."""

    def close_room(self) -> bool:
        """Close the room. Returns whether that ends the application's stay."""


@dataclass(eq=False)
class _Run:
    plan: p.Plan
    stage: Stage
    tell: Tell
    report: Report
    broken: list[Broken]
    """Broken laws, noted by threads that cannot raise them to the caller."""
    story: Sequence[p.Happening] | None = None
    over: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)
    pool: Pool | None = None

    # What `Deaths` needs.

    @property
    def blocked_until(self) -> float:
        return self.stage.blocked_until

    def check(self) -> None:
        """Raises `Broken` if a law was broken on any thread."""
        if self.broken:
            raise self.broken[0]

    # The application.

    def play(self) -> None:
        """All of it. Raises `Broken`, and what ends a pool."""
        plan = self.plan
        options = self.stage.options()
        if not plan.counted:
            options |= {"stuck_after": _STUCK_AFTER, "restart_stuck": True}
        pool = Pool(
            Actor(plan.answered),
            options.pop("provider"),
            **options,
            workers=plan.places,
            spares=plan.spares,
            standby=plan.standby,
            restarts=_MANY,
            rpc_methods=(ASK,),
            reconnect=Reconnect(deadline=_MANY),  # kills without a pause are one outage
            on_error=self._on_error,
        )
        try:
            with pool:
                self.pool = pool
                self.stage.begin()
                self._play_beside(pool, Deeds(pool, self.stage, plan))
                if self.stage.close_room():
                    pool.wait(plan.patience)
                pool.drain()
            expired = self.stage.calls.expired(time.monotonic())
            check_lanes(pool.stats().lanes, over=True, expired=expired)
        finally:
            self.over.set()
            if hasattr(pool._connection, "session"):
                self.report.statistics = pool.stats()

    def _play_beside(self, pool: Pool, deeds: Deeds) -> None:
        """Play the plan beside all that has a thread of its own."""
        with contextlib.ExitStack() as beside:
            beside.enter_context(self._thread("watch", lambda: self._watch(deeds)))
            beside.enter_context(self._thread("speaker", self._speak))
            for name, function in deeds.threads.items():
                beside.enter_context(self._thread(name, function))
            beside.callback(deeds.end)
            self._play_plan(pool, deeds)
            self.over.set()

    @contextlib.contextmanager
    def _thread(self, name: str, function: Callable[[], None]) -> Iterator[None]:
        def guarded() -> None:
            try:
                function()
            except Broken as broken:
                self.broken.append(broken)
            except Exception as error:  # noqa: BLE001 (told to the one who plays)
                self.broken.append(Broken("errors", f"{name}: {type(error).__name__}: {error}"))

        thread = threading.Thread(target=guarded, name=f"chaos-{name}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.over.set()
            thread.join(self.plan.patience)

    def _on_error(self, problem: Problem) -> None:
        where = problem.where
        self.report.problems[where] = self.report.problems.get(where, 0) + 1
        if where not in ("stuck", "reply"):
            self.broken.append(Broken("order", f"worker {problem.worker}: {problem.summary}"))

    def _speak(self) -> None:
        """A track and messages of the application's own."""
        assert self.pool is not None
        for turn in itertools.count():
            if self.over.is_set():
                return
            sound = AudioFrame(numbered(5 * turn, 5, _OWN_RATE, 1), _OWN_RATE, track=OWN_TRACK)
            try:
                self.pool.send(sound, timeout=self.plan.patience)
                if not turn % 10:
                    self.pool.send_data(str(turn), topic="number", timeout=self.plan.patience)
                if not turn % 50:
                    self.pool.flush(OWN_TRACK, timeout=self.plan.patience)
            except ClosedError:
                if not self.over.is_set():
                    raise
                return
            except TimeoutError as error:
                raise Broken("deadline", f"{error}") from None
            except RoomError as error:
                # A lost connection and a dead I/O process make a send wait, they do not fail it.
                if error.reason != "publish_refused":
                    raise
                self.over.wait(5 * PIECE_SECONDS)

    # The thread that looks.

    def _watch(self, deeds: Deeds) -> None:
        told = time.monotonic()
        while not self.over.wait(_LOOK_SECONDS):
            now = time.monotonic()
            self.stage.tick(now)
            assert self.pool is not None
            statistics = self.pool.stats()
            check_lanes(statistics.lanes, expired=self.stage.calls.expired(time.monotonic()))
            deeds.check()
            if self.pool.ended is not None or self.pool._watch.failure is not None:
                raise Broken("errors", f"the pool has ended: {self.pool._watch.failure}")
            if now > told + _TELL_SECONDS:
                told = now
                received, kills = statistics.received, sum(self.report.kills.values())
                self.tell(
                    f"{now - self.began:5.0f} s  {kills} kills, "
                    f"{sum(self.report.happenings.values())} other happenings; frames received: "
                    f"{received.sent}, {received.dropped} dropped, {received.lost} lost"
                )

    # The thread that lets things go wrong.

    def _play_plan(self, pool: Pool, deeds: Deeds) -> None:
        deaths = Deaths(pool, self.plan, self)
        self.report.kills, self.report.recoveries = deaths.kills, deaths.recoveries
        deaths.until(lambda: self.stage.warm, "everybody to be heard and answered", PAUSE)
        self._gauge("start", deeds, deaths)
        for name, happenings, seconds in self._halves():
            self._let_all(happenings, seconds, deaths)
            self._gauge(name, deeds, deaths)
        text = memory_grown(self.report.gauges["middle"], self.report.gauges["end"])
        if text:
            raise Broken("memory", text)

    def _halves(self) -> Iterator[tuple[str, Iterator[p.Happening], float | None]]:
        """What happens until the middle, and from there: all of it, or for that many seconds."""
        all_of_it = p.happenings(self.plan, self.stage.kind) if self.story is None else self.story
        if self.story is None and not self.plan.counted:
            happenings, seconds = iter(all_of_it), self.plan.seconds / 2
            yield from (("middle", happenings, seconds), ("end", happenings, seconds))
            return
        steps = tuple(all_of_it)
        half = (len(steps) + 1) // 2
        yield from (("middle", iter(steps[:half]), None), ("end", iter(steps[half:]), None))

    def _let_all(
        self, happenings: Iterator[p.Happening], seconds: float | None, deaths: Deaths
    ) -> None:
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            happening = next(happenings, None)
            if happening is None:
                self._pause(0.0 if end is None else end - time.monotonic())
                return
            pause = happening.after
            if end is not None:
                pause = min(pause, end - time.monotonic())
            self._pause(pause)
            self.check()
            self.report.last.append(f"{time.monotonic() - self.began:.2f} s: {happening}")
            if not deaths.let(happening):
                self.stage.let(happening)
            if not isinstance(happening, p.Kill):
                name = type(happening).__name__
                self.report.happenings[name] = self.report.happenings.get(name, 0) + 1

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _LOOK_SECONDS))

    def _settle(self, deeds: Deeds, deaths: Deaths) -> None:
        """Calls are answered, and the far end knows what is muted; that our track is heard once it
        is unmuted, the rest that follows waits for."""
        deeds.rest()
        deaths.until(deeds.are_calls_answered, "calls both ways to be answered", PAUSE)
        for muted in (True, False):
            deeds.set_muted(muted)
            told = partial(self._is_told, muted)
            deaths.until(told, "the far end to know what is muted", PAUSE)

    def _is_told(self, muted: bool) -> bool:
        return self.stage.is_muted(OWN_TRACK) in (muted, None)

    def _gauge(self, name: str, deeds: Deeds, deaths: Deaths) -> None:
        """Let everything come to rest, and look what is held."""
        self._settle(deeds, deaths)
        self.stage.rest()
        deaths.until(
            lambda: self.stage.rested,
            "everybody to be back, and all that was said to arrive",
            PAUSE,
        )
        deaths.wait_until_ready()
        start = self.report.gauges.get("start")

        def settled() -> bool:
            gauge = self.report.gauges[name] = held_by(deeds.pool)
            return start is None or not grown(start, gauge)

        try:
            deaths.until(settled, "what is held to be as at the start", PAUSE)
        except Broken:
            assert start is not None
            self.check()
            raise Broken("leak", grown(start, self.report.gauges[name])) from None
        self.stage.go_on()
        deeds.go_on()


def run(
    plan: p.Plan,
    story: Sequence[p.Happening] | None = None,
    *,
    livekit: LiveKitServer | None = None,
    tell: Tell | None = None,
) -> Report:
    """Plays the plan, on a fake room, or on a LiveKit server that runs. ``story`` is what happens
    instead of what the seed says. ``tell`` gets a line every few seconds. What breaks a law is in
    the report.
    """
    report = Report(title=f"seed {plan.seed}: {plan.tracks} tracks, {plan.places} workers")
    before, ticks, began = belongings(), cpu_ticks(), time.monotonic()
    broken: list[Broken] = []
    with _stage(plan, livekit, broken.append) as stage:
        playing = _Run(plan, stage, tell or (lambda text: None), report, broken, story)
        try:
            playing.play()
            playing.check()
        except Broken as error:
            report.law, report.text = error.law, str(error).removeprefix(f"{error.law}: ")
        except (RingroomError, TimeoutError) as error:
            report.law, report.text = "errors", f"{type(error).__name__}: {error}"
        report.answers = stage.ears.answered
        report.calls, report.mutes = stage.calls.ended, stage.ears.muting.changes
    if report.ok:
        report.text = left_behind(before, plan.patience)
        report.law = "leak" if report.text else ""
    report.seconds = time.monotonic() - began
    report.steal = steal_between(ticks, cpu_ticks())
    return report


def _stage(plan: p.Plan, livekit: LiveKitServer | None, note: Callable[[Broken], None]) -> Stage:
    return FakeStage(plan, note) if livekit is None else LiveKitStage(plan, note, livekit)
