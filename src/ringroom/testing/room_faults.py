"""The faults of a fake room, all of one form: `FakeRoom.faults`.

A fault begins with the call. It ends with its ``with`` block, whatever the block raises, or with
`Fault.end`, or by itself after `Fault.lasting`; then the room is as it was before. Faults may
overlap: of one kind the newest counts, and those of the media's way act one after the other.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Self

from ringroom.option_checks import check_choice, check_range, check_whole
from ringroom.testing.connection import Connection, connections
from ringroom.testing.floor import Floor
from ringroom.testing.media_path import Bursts, Late, OutOfOrder, Stage
from ringroom.testing.pacing import check_positive
from ringroom.testing.state import Refusal
from ringroom.testing.wire import Wire

__all__ = ["Fault", "RoomFaults"]

# Where the provider `fake` can be made to raise.
PLACES = ("connect", "publish", "play", "send_data", "set_profile", "call", "receive", "close")
_ANSWER_SECONDS = 5.0
_MOST_PPM = 500_000


class Fault:
    """A fault that has begun; a context manager."""

    def __init__(
        self,
        wire: Wire,
        text: str,
        undo: Callable[[], None] | None = None,
        settle: Callable[[], None] | None = None,
    ) -> None:
        self._wire = wire
        self._text = text
        self._undo = undo
        self._settle = settle

    @property
    def over(self) -> bool:
        """Whether it has ended; always true of what happens in a moment."""
        return self._undo is None

    def end(self) -> None:
        """Ends it. Idempotent."""
        self._end()
        settle, self._settle = self._settle, None
        if settle is not None:
            settle()

    def _end(self) -> None:
        with self._wire.changed:
            undo, self._undo = self._undo, None
            if undo is not None:
                undo()
                self._wire.changed.notify_all()

    def lasting(self, seconds: float) -> Self:
        """Ends it after that many seconds of the room's clock; returns itself at once."""
        seconds = check_positive("seconds", seconds)
        self._wire.call_at(self._wire.time() + seconds, self._end)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def __repr__(self) -> str:
        return f"<fault {self._text}, {'over' if self.over else 'lasting'}>"


class RoomFaults:
    """``app`` names one of several applications, ``participant`` one of several sources; None:
    all of them."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._numbers = itertools.count(1)

    # Connecting.

    def connects_refused(self, reason: str = "unauthorized") -> Fault:
        """Applications that join are refused: `RoomError` of that reason."""
        refusal = Refusal(reason=reason, text=f"the room refuses to let anybody in ({reason})")
        return self._begin(
            f"connects refused ({reason})",
            lambda: self._floor.state.refused_connects.lay(refusal),
        )

    def slow_connect(self, seconds: float) -> Fault:
        """Applications that join wait that long for the room's answer."""
        seconds = check_positive("seconds", seconds)
        wire = self._floor.wire

        def later(admit: Callable[[], None]) -> None:
            wire.call_at(wire.time() + seconds, admit)

        return self._begin(
            f"slow connect ({seconds} s)", lambda: self._floor.state.entrance.lay(later)
        )

    def hanging_connect(self) -> Fault:
        """Applications that join get no answer while it lasts; those waiting at its end get in."""
        entrance = self._floor.state.entrance
        waiting: list[Callable[[], None]] = []

        def begin() -> Callable[[], None]:
            take_away = entrance.lay(waiting.append)

            def end() -> None:
                take_away()
                for admit in waiting:
                    entrance.value(admit)

            return end

        return self._begin("hanging connect", begin)

    # The connection.

    def connection_lost(
        self, app: str | None = None, *, resume: bool = False, reason: str = ""
    ) -> Fault:
        """Nothing gets through, in either direction: media is lost, requests wait. At its end the
        connection is back, with every track published anew under a new sid, unless it resumes.

        Raises `LookupError` when that application is not in the room.
        """
        state = self._floor.state

        def begin() -> Callable[[], None]:
            lost = [one for one in connections(state, app) if not one.lost]
            for connection in lost:
                connection.lose(reason)

            def end() -> None:
                for connection in lost:
                    if connection in state.audience:
                        connection.restore(resume=resume)

            return end

        return self._begin("connection lost", begin)

    def connection_broken(self, app: str | None = None) -> Fault:
        """Hangs up without a word, in a moment: a loss that does not heal."""
        with self._floor.wire.changed:
            for connection in connections(self._floor.state, app):
                connection.break_off()
        return Fault(self._floor.wire, "connection broken")

    def server_gone(self) -> Fault:
        """Hangs up on every application without a word, and cannot be reached while it lasts
        (``unreachable``): a server that is restarted, or a port that is blocked."""
        state = self._floor.state
        refusal = Refusal(reason="unreachable", text="the server is not there")

        def begin() -> Callable[[], None]:
            come_back = state.refused_connects.lay(refusal)
            for connection in connections(state):
                connection.break_off()
            return come_back

        return self._begin("server gone", begin)

    def room_closed(self, reason: str = "room closed") -> Fault:
        """The server closes the room: everybody is put out, and nobody gets in while it lasts
        (``unreachable``)."""
        state = self._floor.state
        refusal = Refusal(reason="unreachable", text=f"the room is not there ({reason})")

        def begin() -> Callable[[], None]:
            state.put_all_out(reason)
            return state.refused_connects.lay(refusal)

        return self._begin(f"room closed ({reason})", begin)

    # Requests.

    def publish_refused(self) -> Fault:
        """Tracks that applications publish are refused."""
        refusal = Refusal(reason="publish_refused", text="the room refuses the track")
        return self._begin(
            "publish refused", lambda: self._floor.state.refused_publish.lay(refusal)
        )

    def data_refused(self) -> Fault:
        """Messages that applications send are refused."""
        refusal = Refusal(reason="data_refused", text="the room refuses the message")
        return self._begin("data refused", lambda: self._floor.state.refused_data.lay(refusal))

    def profile_refused(self) -> Fault:
        """What applications set of themselves (`set_profile`) is refused."""
        refusal = Refusal(reason="profile_refused", text="the room refuses the profile")
        return self._begin(
            "profile refused", lambda: self._floor.state.refused_profile.lay(refusal)
        )

    def messages_nameless(self, participant: str | None = None) -> Fault:
        """Messages of a participant reach the applications without their sender, as the first ones
        of somebody may on LiveKit, before that participant is announced."""
        nameless = self._floor.state.nameless

        def begin() -> Callable[[], None]:
            nameless.append(participant)
            return lambda: nameless.remove(participant)

        return self._begin("messages nameless", begin)

    def texts_broken_off(self, participant: str | None = None) -> Fault:
        """Texts that are sent (by that participant) break off on their way, as when a sender leaves
        or its connection is lost: applications are told by ``TEXT_FAILED``."""
        return self._broken_off("text", participant)

    def files_broken_off(self, participant: str | None = None) -> Fault:
        """Files likewise: ``FILE_FAILED``."""
        return self._broken_off("file", participant)

    def _broken_off(self, what: str, participant: str | None) -> Fault:
        breaking = self._floor.state.breaking_off[what]

        def begin() -> Callable[[], None]:
            breaking.append(participant)
            return lambda: breaking.remove(participant)

        return self._begin(f"{what}s broken off", begin)

    def publishing_forbidden(self, app: str | None = None) -> Fault:
        """The server takes away the right to publish: what the application publishes is ended, and
        further tracks are refused while it lasts.

        Raises `LookupError` when that application is not in the room.
        """
        state = self._floor.state

        def begin() -> Callable[[], None]:
            found = connections(state, app)
            state.forbidden.append(app)
            for connection in found:
                connection.own.end_forbidden()
            return lambda: state.forbidden.remove(app)

        return self._begin("publishing forbidden", begin)

    def muted_by_server(self, track: str, app: str | None = None) -> Fault:
        """The server mutes a track of the application's, which nobody hears or sees while it lasts.

        Raises `LookupError` when there is no such track.
        """
        state, fault = self._floor.state, object()

        def begin() -> Callable[[], None]:
            found = [one.own.mute(track, fault) for one in connections(state, app)]
            if not any(found):
                raise LookupError(f"no application publishes a track {track!r}")

            def end() -> None:
                for one in connections(state):
                    one.own.unmute(fault)

            return end

        return self._begin(f"{track!r} muted by the server", begin)

    def provider_raises(self, where: str) -> Fault:
        """The provider raises what no provider should, a `RuntimeError`, in its ``connect``,
        ``publish``, ``play`` (a frame on a track), ``send_data``, ``set_profile``, ``call``,
        ``receive`` (at once, in the task that reads what the room says) or ``close``.

        Begins and ends once the provider of every application that is there knows.
        """
        check_choice("where", where, PLACES)
        floor = self._floor
        waiting: dict[Connection, int] = {}

        def order(on: bool) -> None:
            for connection in connections(floor.state):
                number = next(self._numbers)
                if connection.make_raise(where, on, number):
                    waiting[connection] = number

        def begin() -> Callable[[], None]:
            floor.state.raising.append(where)
            order(True)

            def end() -> None:
                floor.state.raising.remove(where)
                if where not in floor.state.raising:
                    order(False)

            return end

        def settle() -> None:
            def known() -> bool:
                return all(one.knows(number) for one, number in waiting.items())

            # A frozen application, say, does not answer: it will know before it does anything else.
            with contextlib.suppress(TimeoutError):
                floor.wait_until(known, "the provider's answer", _ANSWER_SECONDS)

        fault = self._begin(f"provider raises in {where}", begin, settle)
        settle()
        return fault

    # Media on its way to the applications.

    def late(self, seconds: float, participant: str | None = None) -> Fault:
        """Sound and pictures arrive that much later; what is under way at its end, at once."""
        seconds = check_positive("seconds", seconds)
        return self._on_the_way(f"late ({seconds} s)", Late(participant, self._floor.wire, seconds))

    def bursts(self, seconds: float = 0.2, participant: str | None = None) -> Fault:
        """Nothing arrives for that long, then all of it at once, and so on."""
        seconds = check_positive("seconds", seconds)
        return self._on_the_way(
            f"bursts ({seconds} s)", Bursts(participant, self._floor.wire, seconds)
        )

    def out_of_order(self, every: int = 2, participant: str | None = None) -> Fault:
        """Of each ``every`` pieces of a track (20 ms of sound, or a picture) the last two change
        places."""
        check_whole("every", every, 2, 1_000)
        return self._on_the_way("out of order", OutOfOrder(participant, every))

    def slow_subscribing(self, seconds: float) -> Fault:
        """A track reaches an application that much after it was published, or after the application
        joined; what is said until then it does not hear. What still waits at its end comes at once.
        """
        seconds = check_positive("seconds", seconds)
        wire, state = self._floor.wire, self._floor.state
        over: list[bool] = []

        def look() -> None:
            if not over:
                state.announce()
                wire.call_at(wire.time() + seconds / 4, look)

        def begin() -> Callable[[], None]:
            take_away = state.subscribing.lay(seconds)
            wire.call_at(wire.time() + seconds / 4, look)

            def end() -> None:
                over.append(True)
                take_away()
                state.announce()

            return end

        return self._begin(f"slow subscribing ({seconds} s)", begin)

    def tracks_withheld(self, participant: str | None = None) -> Fault:
        """A participant permits no application to receive its tracks: those that flow end, and
        what is published meanwhile is told as failed after ``connect_timeout``. All of them start
        at its end."""
        state = self._floor.state

        def begin() -> Callable[[], None]:
            state.withholding.append(participant)
            state.announce()

            def end() -> None:
                state.withholding.remove(participant)
                state.announce()

            return end

        return self._begin("tracks withheld", begin)

    def drift(self, ppm: float) -> Fault:
        """The clock of all sources runs faster than the room's by so many millionths: that much
        more sound in a second, and the same in the pictures' timestamps. Negative: slower."""
        ppm = check_range("ppm", ppm, -_MOST_PPM, _MOST_PPM)
        wire, clock = self._floor.wire, self._floor.state.source_clock

        def begin() -> Callable[[], None]:
            before = clock.rate
            clock.set_rate(before * (1 + ppm / 1e6), wire.time())
            return lambda: clock.set_rate(clock.rate / (1 + ppm / 1e6), wire.time())

        return self._begin(f"drift ({ppm} ppm)", begin)

    def _on_the_way(self, text: str, stage: Stage) -> Fault:
        return self._begin(text, lambda: self._floor.state.path.add(stage))

    def _begin(
        self,
        text: str,
        begin: Callable[[], Callable[[], None]],
        settle: Callable[[], None] | None = None,
    ) -> Fault:
        with self._floor.wire.changed:
            return Fault(self._floor.wire, text, begin(), settle)
