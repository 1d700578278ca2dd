"""A pool's children: starts, hears and buries them as the supervisor orders.

Owns, of each child, the process, the control link and the voice. Calls back only the pool that it
belongs to, and is not thread-safe. It waits for two things only, while the pool's lock is held: for
the stack of a child that is stuck; and for the end of one that is buried, a moment, since that is
dead or killed (`BURIAL_SECONDS`, and `KILLED_SECONDS` for one that the kernel does not let go).

A child that dies is killed for good and reaped before its place is given to another: the next
reader of its lanes relies on its counts being final.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from ringroom import messages as m
from ringroom.errors import ClosedError, StartupError, WireError
from ringroom.link import Link, open_links
from ringroom.processes.hosts import IOHost
from ringroom.processes.supervision import supervisor
from ringroom.processes.supervision.member import Death, Member
from ringroom.processes.supervision.supervisor import Care, Order, Supervisor
from ringroom.processes.supervision.tables import Action, ChildHappening
from ringroom.processes.worker.problems import as_problem
from ringroom.processes.worker_voice import is_stopped
from ringroom.processor import Problem
from ringroom.system import interrupts_at_the_end

log = logging.getLogger("ringroom")

# How many looks fall into `stuck_after`.
LOOKS = 8


@dataclass(frozen=True, slots=True)
class Progress:
    """What a place has done so far, from its rows of statistics."""

    count: int = 0
    """Changes with all that is done."""
    within: bool = False
    """Something was taken and is not done."""
    waiting: bool = False
    """Something was not taken yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewCalls:
    """What the crew needs of the pool that it belongs to, and tells it."""

    seat: Callable[[int], tuple[m.Start, tuple[int, ...], Link]]
    """A place is given to a child: what to tell it, the descriptors that go along, and the link
    among them, which is closed here afterwards."""
    settled: Callable[[int, int | None], None]
    """The worker of that place does not use lanes from before that generation; None: any lanes."""
    progress: Callable[[int], Progress]
    problem: Callable[[Problem], None]
    lost: Callable[[str], None]
    replaced: Callable[[str], None]


class Crew:
    """See the module's docstring."""

    def __init__(self, host: IOHost, blob: bytes, care: Care, calls: CrewCalls) -> None:
        self.failure: Exception | None = None
        """Why the pool cannot go on."""
        self.pids = [0] * care.places
        """Process numbers by place. A place that waits for another worker has the last one's."""
        self._host = host
        self._machine = host.machine
        self._blob = blob
        self._care = care
        self._calls = calls
        self._supervisor = Supervisor(care)
        self._members: dict[int, Member] = {}
        self._drain = 0.0
        self._last = Death()
        self._stuck = 0
        self._look_at = 0.0

    @property
    def over(self) -> bool:
        """Whether no child is left."""
        return not self._members

    @property
    def ready(self) -> bool:
        """Whether there is a child for each place."""
        return self._supervisor.warm >= self._care.places

    @property
    def spares(self) -> int:
        """How many are warm and wait for a place."""
        return self._supervisor.warm

    @property
    def filled(self) -> int:
        """How many places have a worker."""
        return self._supervisor.filled

    @property
    def vacant(self) -> int:
        """How many places wait for the next worker, after a death."""
        return self._supervisor.vacant

    def start(self) -> None:
        """Start a child for each place; `ready` tells when they have started."""
        self._obey(self._supervisor.begin(self._machine.now()))
        first = list(self._members.values())[: len(self.pids)]
        self.pids[: len(first)] = [member.pid for member in first]

    def seat(self) -> None:
        """Give the children their places, and keep spares from here on."""
        self._obey(self._supervisor.seat(self._machine.now()))

    @property
    def occupied(self) -> set[int]:
        """Places whose worker is not buried."""
        there = self._supervisor.children.values()
        return {child.place for child in there if child.place is not None}

    def rejoin(self, places: Collection[int]) -> None:
        """There is another I/O process: the children in these places go on with it."""
        for child in tuple(self._supervisor.children.values()):
            place = child.place
            if place is not None and place in places and child.number in self._members:
                self._seat(self._members[child.number], place)

    @property
    def fds(self) -> list[int]:
        """Readable when `turn` has something to do."""
        return [fd for member in self._members.values() for fd in member.fds]

    def patience(self) -> float | None:
        """Seconds until `turn` has something to do, though nothing is readable."""
        times = [due] if (due := self._supervisor.due()) is not None else []
        if self._care.stuck_after is not None:
            times.append(self._look_at)
        return max(0.0, min(times) - self._machine.now()) if times else None

    def turn(self, readable: Iterable[int]) -> None:
        """Hear the children that have said something, and do what follows and what is due."""
        ready = set(readable)
        for member in tuple(self._members.values()):
            if ready.intersection(member.fds):
                self._hear(member, ready)
        now = self._machine.now()
        self._obey(self._supervisor.tick(now))
        if self._care.stuck_after is not None and now >= self._look_at:
            self._look_at = now + self._care.stuck_after / LOOKS
            self._look(now)

    def stop(self, drain: float) -> None:
        """All are to end, after what waits, within that many seconds. May be said again."""
        self._drain = drain
        self._obey(self._supervisor.stop(drain, self._machine.now()))

    def close(self) -> None:
        """Idempotent: the children that are left are killed."""
        members = tuple(self._members.values())
        with contextlib.ExitStack() as burials:  # each is done, whatever becomes of the others
            for member in reversed(members):
                burials.callback(self._bury, member, None)
            for member in members:
                member.process.kill()

    def _hear(self, member: Member, ready: set[int]) -> None:
        try:
            for message in member.heard():
                self._on_message(member, message)
        except (WireError, StartupError) as error:  # user code has written to its link, say
            member.killed = f"was killed, for what it sent is no message of ours: {error}"
            member.process.kill()
            self._happens(member.number, ChildHappening.EXITED)
            return
        except ClosedError:
            self._happens(member.number, ChildHappening.EXITED)
            return
        if member.process.pidfd in ready:
            self._happens(member.number, ChildHappening.EXITED)

    def _on_message(self, member: Member, message: m.Message) -> None:
        match message:
            case m.WorkerReady():
                self._happens(member.number, ChildHappening.READY)
            case m.WorkerFailed(error=error):
                name = self._name(member.number, None)
                member.error = StartupError(f"{name} did not start:\n{error}")
                self._happens(member.number, ChildHappening.FAILED)
            case m.Rejoined(place=place, generation=generation):
                self._calls.settled(place, generation)
            case m.WorkerDone():
                self._happens(member.number, ChildHappening.DONE)
            case m.WorkerProblem():
                self._calls.problem(as_problem(message))

    def _happens(self, number: int, happening: ChildHappening) -> None:
        self._obey(self._supervisor.on(number, happening, self._machine.now()))

    def _name(self, number: int, place: int | None) -> str:
        if place is None and number <= len(self.pids):
            place = number - 1
        return "a spare worker" if place is None else f"worker {place}"

    def _look(self, now: float) -> None:
        """Find out which child is stuck, by what its lanes count: it need not say anything."""
        for child in tuple(self._supervisor.children.values()):
            if child.place is None:
                continue
            progress = self._calls.progress(child.place)
            pid = self._members[child.number].pid
            within = progress.within or (progress.waiting and is_stopped(pid))
            self._obey(self._supervisor.observe(child.number, progress.count, within, now))

    # The supervisor's orders.

    def _obey(self, orders: list[Order]) -> None:
        for order in orders:
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        member = self._members.get(order.child)
        match order.action:
            case Action.SPAWN:
                self._spawn(order.child)
            case Action.TELL_LOST:
                self._calls.lost(self._last.text)
            case Action.TELL_REPLACED:
                self._calls.replaced(f"worker {order.place} goes on in another process")
            case Action.FAIL:
                self.failure = self.failure or self._last.failure(order.place, self._care)
            case _ if member is not None:
                self._carry_out_on(member, order)

    def _carry_out_on(self, member: Member, order: Order) -> None:
        match order.action:
            case Action.SEND_START:
                assert order.place is not None
                self._seat(member, order.place)
            case Action.SEND_STOP:
                with contextlib.suppress(ClosedError):
                    member.control.send(m.Stop(drain=self._drain))
            case Action.KILL:
                self._kill(member, order.place)
            case Action.REPORT_STUCK:
                assert order.place is not None
                self._report_stuck(member, order.place)
            case Action.REPORT_MOVING:
                member.stuck = ""
                log.warning("worker %s goes on after it was stuck", order.place)
            case Action.BURY:
                self._bury(member, order.place)

    def _spawn(self, number: int) -> None:
        try:
            with interrupts_at_the_end():  # a child that is started is known
                self._members[number] = self._start_member(number)
        except StartupError as error:
            self._last = Death(f"a worker does not start: {error}", error)
            self._happens(number, ChildHappening.EXITED)

    def _start_member(self, number: int) -> Member:
        ours, theirs = open_links()
        try:
            process = self._host.start_worker(number - 1, theirs, self._blob)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Member(number, process, ours)

    def _seat(self, member: Member, place: int) -> None:
        self.pids[place] = member.pid
        try:
            message, descriptors, link = self._calls.seat(place)
            with link:
                member.control.send(message, descriptors)
        except ClosedError:
            pass  # it has just died, which will be heard
        except StartupError as error:
            # The machine refuses what it needs: another tries, as after any death.
            log.error("worker %s is not seated: %s", place, error)
            member.error = error
            member.process.kill()

    def _kill(self, member: Member, place: int | None) -> None:
        child = self._supervisor.children.get(member.number)
        warm, stopping = child is None or child.warm_since is not None, self._supervisor.stopping
        if not warm and not stopping and member.error is None:  # else it has said why, in time
            member.error = StartupError(
                f"Processor.start took longer than start_timeout={self._care.start_timeout} s"
            )
        elif warm and stopping and not member.killed:
            seconds = self._drain + supervisor.STOP_GRACE
            member.killed = f"did not end within {seconds:g} s of being told to, and was killed"
            name = self._name(member.number, place)
            log.warning(
                "%s %s: Processor.stop, a frame or a thread took longer", name, member.killed
            )
        elif member.stuck:
            member.killed = f"was killed by restart_stuck: {member.stuck}"
        member.process.kill()

    def _bury(self, member: Member, place: int | None) -> None:
        del self._members[member.number]
        try:
            member.await_end()
        finally:  # interrupted (Ctrl-C) it is done too: nothing else knows of the child any more
            with interrupts_at_the_end():
                self._last = member.lay_to_rest(self._name(member.number, place))
                self._note_burial(member, place)

    def _note_burial(self, member: Member, place: int | None) -> None:
        if place is not None:
            self._calls.settled(place, None)
        elif member.number > len(self.pids) and not self._supervisor.stopping:
            log.warning("%s", member.error or self._last.text)  # nothing else tells of a spare

    def _report_stuck(self, member: Member, place: int) -> None:
        assert self._care.stuck_after is not None
        self._stuck += 1
        member.stuck, stack = member.plight(self._care.stuck_after)
        self._calls.problem(
            Problem(
                worker=place,
                where="stuck",
                summary=member.stuck,
                traceback=stack,
                count=self._stuck,
            )
        )
