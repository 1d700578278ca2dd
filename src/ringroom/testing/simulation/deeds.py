"""What the application and its people do in a story beside the pool's work: they call each other,
and the application mutes a track of its own, each in a role of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ringroom.context import Context
from ringroom.errors import RingroomError
from ringroom.pool import Pool
from ringroom.processor import Replies
from ringroom.rpc import RpcCall
from ringroom.testing.participants import FakeParticipant
from ringroom.testing.simulation import call_laws as c
from ringroom.testing.simulation.laws import END_SECONDS, Broken
from ringroom.testing.simulation.mute_laws import MuteLedger
from ringroom.testing.simulation.scheduler import SeededClock
from ringroom.testing.simulation.story import CallThem, CallUs, Deed, Mute
from ringroom.testing.virtual.roles import Role

__all__ = ["Deeds"]

# A role is held up for 15 ms at a time, and not often.
_SLACK = 0.25
_LOOK_SECONDS = 0.05


class Deeds:
    """``own_track`` is what is muted. ``note`` takes laws that are found broken in any role."""

    def __init__(
        self,
        clock: SeededClock,
        own_track: str,
        pool: Callable[[], Pool | None],
        guest_in: Callable[[int], FakeParticipant],
        note: Callable[[Broken], None],
    ) -> None:
        self.calls = c.CallLedger(_SLACK, note)
        self.muting = MuteLedger()
        self._clock = clock
        self._own_track = own_track
        self._pool = pool
        self._guest_in = guest_in
        self._note = note
        self._roles: list[Role] = []
        self._callers: list[Role] = []
        self.paused = self._at_mute = False

    def start(self, deeds: Sequence[Deed], begin: float) -> None:
        """Have them done, at their moments from ``begin`` on."""
        for name, kinds in (("caller", (CallThem, CallUs)), ("muter", (Mute,))):
            mine = [deed for deed in deeds if isinstance(deed, kinds)]
            if mine:
                play = partial(self._play, mine, begin)
                self._roles.append(self._clock.start_process(name, play))

    def pause(self) -> None:
        """Begin nothing more until `go_on`, and wait for the end of what is under way."""
        self.paused = True
        end = self._clock.now() + END_SECONDS
        while self._at_mute and self._clock.now() < end:
            self._clock.sleep(_LOOK_SECONDS)
        self._join(self._callers)

    def go_on(self) -> None:
        """The end of `pause`."""
        self.paused = False

    def end(self) -> None:
        """Wait for all roles, once the story is over. Raises `Broken`."""
        self._join(self._roles)
        self._join(self._callers)

    def _join(self, roles: list[Role]) -> None:
        for role in roles:
            self._clock.join(role, END_SECONDS)
            if role.lives:
                raise Broken("end", f"{role.name} has not ended within {END_SECONDS} s")
        roles.clear()

    def _play(self, deeds: Sequence[Deed], begin: float) -> None:
        for number, deed in enumerate(deeds):
            self._clock.sleep(max(0.0, begin + deed.at - self._clock.now()))
            pool = self._pool()
            if self.calls.over:
                return
            if self.paused or pool is None:
                continue
            if isinstance(deed, Mute):
                self.mute_own(pool, deed.muted)
            else:
                call = partial(self._let_call, deed, pool)
                self._callers.append(self._clock.start_process(f"call {number}", call))

    def _let_call(self, deed: Deed, pool: Pool) -> None:
        assert isinstance(deed, CallThem | CallUs)
        guest = self._guest_in(deed.seat)
        if isinstance(deed, CallThem):
            self.call_them(pool.call, guest.identity, deed.wanted, deed.seconds)
        else:
            self.call_us(guest, deed.wanted, deed.seconds)

    # Calls, from both ends.

    def call_them(
        self, call: Callable[..., str], guest: str, wanted: str, seconds: float
    ) -> str | Exception:
        """``call`` is that of a pool or a worker. The answer, or what was raised."""
        return self._call(partial(call, guest, c.ASK), True, guest, wanted, seconds)

    def call_us(self, guest: FakeParticipant, wanted: str, seconds: float) -> None:
        """The guest calls whoever of the application gets its messages."""
        self._call(partial(guest.call, c.ASK), False, guest.identity, wanted, seconds)

    def _call(
        self, make: Callable[..., str], ours: bool, guest: str, wanted: str, seconds: float
    ) -> str | Exception:
        clock = self._clock
        outcome: str | Exception
        call = self.calls.begin(
            ours=ours,
            guest=guest,
            wanted=wanted,
            seconds=seconds,
            now=clock.now(),
            by=clock.role().name,
        )
        try:
            outcome = make(call.payload, timeout=seconds)
        except Exception as error:  # noqa: BLE001 (the law says which may be)
            outcome = error
        self.calls.end(call, outcome, clock.now())
        return outcome

    def of_worker(self, call: RpcCall, context: Context) -> Replies:
        """What a worker answers."""
        number, wanted = c.wanted_of(call.text)
        guest = call.participant
        self.calls.reached(number)
        answers = c.answers_of_us(call)
        match wanted:
            case c.RAISE:
                raise ArithmeticError("on purpose")
            case c.ASK_BACK:
                back = c.REFUSAL if number % 3 == 0 else c.ANSWER
                found = self.call_them(context.call, guest, back, max(0.1, call.timeout / 2))
                return answers if isinstance(found, str) else c.refusal_of(call)
            case c.MUTE | c.UNMUTE:
                track = f"{guest}/mic"
                muted = wanted == c.MUTE
                change = partial(context.mute if muted else context.unmute, track)
                return answers if self._set_muted(change, track, muted, patient=False) else None
        return answers

    # Muting.

    def mute_own(self, pool: Pool, muted: bool) -> None:
        """The application mutes or unmutes its own track."""
        self._at_mute = True
        change = partial(pool.mute if muted else pool.unmute, self._own_track, timeout=END_SECONDS)
        self._set_muted(change, self._own_track, muted, patient=True)
        self._at_mute = False

    def _set_muted(
        self, change: Callable[[], None], track: str, muted: bool, *, patient: bool
    ) -> bool:
        """Whether it was done. ``patient``: it waits however long it takes."""
        begun = self._clock.now()
        self.muting.begin(track, muted, begun)
        try:
            change()
        except (RingroomError, TimeoutError) as error:
            if not self.calls.over and (patient or self.calls.troubled_until < begun):
                text = f"{'' if muted else 'un'}mute of {track!r}: {type(error).__name__}: {error}"
                self._note(Broken("muting", text))
            return False
        self.muting.done(track, muted, self._clock.now())
        return True
