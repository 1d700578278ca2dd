"""`FakeRoom`: a room in memory that lives where the test runs.

It owns the wire's thread and the room's state, and is the only one to close them. What blocks has
a deadline; a deadline that passes tells what did arrive. In an asyncio test call what blocks
through `asyncio.to_thread`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Self, TypeVar

from ringroom.checks import check_name, shown
from ringroom.closeable import Closeable
from ringroom.errors import ClosedError, ConfigurationError
from ringroom.frames import DataFrame, Participant, TrackInfo
from ringroom.option_checks import check_timeout, check_whole
from ringroom.processes.machine import Machine
from ringroom.providers import registry
from ringroom.providers.fake import Fake, rooms
from ringroom.providers.provider import ProviderSpec
from ringroom.testing.application import Application, Footage, Recording
from ringroom.testing.connection import Connection, connections
from ringroom.testing.participants import FakeParticipant
from ringroom.testing.playback import Playback
from ringroom.testing.room_faults import RoomFaults
from ringroom.testing.state import Refusal, RoomState
from ringroom.testing.wire import Clock, Wire

__all__ = ["DeadlinePassed", "FakeRoom"]

_Found = TypeVar("_Found")
# Rooms are closed at the end of a test: long enough for a busy machine, short enough to bear for
# an application that was frozen on purpose.
_GRACE_SECONDS = 1.0


class DeadlinePassed(AssertionError, TimeoutError):
    """What the test waited for did not come. The message shows what did."""


class _Core:
    """What participants hold of a room, so that they do not keep a forgotten one from its
    warning."""

    def __init__(self, name: str, clock: Clock | Machine | None, kept_pictures: int) -> None:
        self.wire = Wire(name, clock)
        self.state = RoomState(name, self.wire.changed, self.wire.time, kept_pictures)

    def wait_until(
        self, condition: Callable[[], _Found | None], what: str, timeout: float
    ) -> _Found:
        """The first true value of ``condition``, which looks at the room alone."""
        check_timeout(timeout)
        return self.come(self.wire.wait_until(condition, timeout), what, timeout)

    def come(self, found: _Found | None, what: str, timeout: float) -> _Found:
        """What was waited for, if it has come."""
        if not found:
            raise DeadlinePassed(
                f"waited {timeout} s for {what}, which did not come\n  {self.summary()}"
            )
        return found

    def summary(self) -> str:
        with self.wire.changed:
            people = ", ".join(repr(identity) for identity in self.state.members) or "nobody"
            parts = [f"room {self.state.name!r}; in it: {people}"]
            parts.extend(app.summary() for app in self.state.applications.values())
            if not self.state.applications:
                parts.append("no application has joined")
        return "\n  ".join(parts)


class FakeRoom(Closeable):
    """A room in memory. Participants are the test's; applications join with the provider ``fake``.

    ``clock`` gives the time for paced speech (`Clock`), by default the machine's; deadlines are
    in real time, unless it is a `VirtualClock`, in whose time all of the room lives.
    ``kept_pictures`` bounds the pictures kept of each track.

    The room runs on a thread of this process: code that holds the GIL holds its speakers up too.
    What it heard is stamped where it was played, in the I/O role, so gaps are true all the same.

    A context manager; a room that is collected open warns with `ResourceWarning`.
    """

    def __init__(
        self,
        name: str = "room",
        clock: Clock | Machine | None = None,
        *,
        kept_pictures: int = 100,
    ) -> None:
        self._closed = True
        check_name("name of the room", name)
        check_whole("kept_pictures", kept_pictures, 0, 1_000_000)
        if not (clock is None or isinstance(clock, Machine) or _is_clock(clock)):
            raise ConfigurationError(
                f"clock is {shown(clock)}, expected a `Clock`, with time() and call_at()"
            )
        self._core = _Core(name, clock, kept_pictures)
        self._faults = RoomFaults(self._core)
        self._playbacks: list[Playback] = []
        self._closed = False
        rooms.announce(self)

    # The room and its people.

    @property
    def name(self) -> str:
        """The room's name, as the application is told it."""
        return self._core.state.name

    def join(
        self,
        identity: str,
        name: str = "",
        metadata: str = "",
        attributes: Mapping[str, str] | None = None,
    ) -> FakeParticipant:
        """A participant comes in. One that is there under the same identity is put out.

        Raises `FrameError` for an identity that is empty, and for what is too long or no text.
        """
        self._check_open()
        participant = Participant(
            identity=identity,
            name=name,
            metadata=metadata,
            attributes={} if attributes is None else attributes,
        )
        return FakeParticipant(self._core, participant)

    def replay(
        self,
        path: str | os.PathLike[str],
        *,
        speed: float = 1.0,
        participants: Collection[str] | None = None,
    ) -> Playback:
        """A recorded call begins: its people come in, speak, show, send messages, mute and leave as
        it was recorded, at ``speed`` times the pace of the room's clock. ``participants`` are the
        identities that take part; None: all. Who is still there at its end stays.

        Raises `ConfigurationError` for what is no recording, and for one in which an application
        of the room has a part of its own.
        """
        self._check_open()
        playback = Playback(self._core, path, speed, participants)
        self._playbacks = [one for one in self._playbacks if not one.done] + [playback]
        return playback

    @property
    def participants(self) -> tuple[Participant, ...]:
        """Everybody in the room, applications included."""
        with self._core.wire.changed:
            return tuple(member.participant for member in self._core.state.members.values())

    # What applications sent.

    @property
    def applications(self) -> dict[str, Application]:
        """All that ever joined, by identity."""
        with self._core.wire.changed:
            return dict(self._core.state.applications)

    @property
    def application(self) -> Application:
        """The only application. Raises `LookupError` if there is none, or more than one."""
        applications = [*self.applications.values()]
        if len(applications) == 1:
            return applications[0]
        raise LookupError(
            f"{len(applications)} applications have joined, expected one\n  {self._core.summary()}"
        )

    def heard(self, track: str | None = None) -> Recording:
        """What the application said on that track. Raises `LookupError`."""
        return self.application.heard(track)

    def seen(self, track: str | None = None) -> Footage:
        """What the application showed on that track. Raises `LookupError`."""
        return self.application.seen(track)

    # Waiting. ``app`` names one of several applications.

    def wait_until(
        self,
        condition: Callable[[], _Found | None],
        what: str = "the condition",
        timeout: float = 5.0,
    ) -> _Found:
        """Waits until ``condition()`` is true, and returns what it returned. It is asked whenever
        something happens in the room, and else every quarter of a second at least. Raises
        `DeadlinePassed`."""
        limit = check_timeout(timeout)
        wire = self._core.wire
        found = (wire.wait_until if limit is None else wire.look_until)(condition, timeout)
        return self._core.come(found, what, timeout)

    def wait_for_app(self, identity: str | None = None, *, timeout: float = 5.0) -> Application:
        """Waits until the application is in the room."""

        def present() -> Application | None:
            return next((one for one in self._chosen(identity) if one.joined), None)

        return self._core.wait_until(present, "an application to join", timeout)

    def wait_for_app_gone(
        self, identity: str | None = None, *, timeout: float = 5.0
    ) -> Application:
        """Waits until an application that was in the room has left it."""

        def gone() -> Application | None:
            return next((one for one in self._chosen(identity) if not one.joined), None)

        return self._core.wait_until(gone, "an application to leave", timeout)

    def wait_for_track(
        self, name: str, *, timeout: float = 5.0, app: str | None = None
    ) -> TrackInfo:
        """Waits until the application publishes a track of that name."""

        def published() -> TrackInfo | None:
            tracks = (one.tracks.get(name) for one in self._chosen(app))
            return next((track for track in tracks if track is not None), None)

        return self._core.wait_until(published, f"track {name!r}", timeout)

    def wait_for_audio(
        self,
        track: str | None = None,
        seconds: float = 0.01,
        *,
        timeout: float = 5.0,
        app: str | None = None,
    ) -> Recording:
        """Waits until that much sound was heard on the track (by default the only one)."""

        def heard() -> Recording | None:
            for one in self._chosen(app):
                with contextlib.suppress(LookupError):
                    log = one.sound_log(track)
                    # Half a sample of grace: durations are sums of fractions.
                    if log.seconds >= seconds - 5e-6:
                        return log.snapshot()
            return None

        what = f"{seconds} s of sound on {track or 'the audio track'!r}"
        return self._core.wait_until(heard, what, timeout)

    def wait_for_quiet(
        self,
        track: str | None = None,
        seconds: float = 0.3,
        *,
        timeout: float = 5.0,
        app: str | None = None,
    ) -> Recording:
        """Waits until something was heard on the track (by default the only one) and then, for that
        many seconds of the room's clock, nothing: the application has said all it had to say, or
        was interrupted."""
        wire = self._core.wire
        asked: list[float] = []

        def quiet() -> Recording | None:
            for one in self._chosen(app):
                with contextlib.suppress(LookupError):
                    log = one.sound_log(track)
                    if log.seconds and log.quiet_since is not None:
                        due = log.quiet_since + seconds
                        if wire.time() >= due:
                            return log.snapshot()
                        if asked[-1:] != [due]:
                            asked.append(due)
                            wire.call_at(due, lambda: None)  # nothing else would look then
            return None

        what = f"{seconds} s of quiet after sound on {track or 'the audio track'!r}"
        return self._core.wait_until(quiet, what, timeout)

    def wait_for_video(
        self,
        track: str | None = None,
        count: int = 1,
        *,
        timeout: float = 5.0,
        app: str | None = None,
    ) -> Footage:
        """Waits until that many pictures were seen on the track (by default the only one)."""

        def seen() -> Footage | None:
            for one in self._chosen(app):
                with contextlib.suppress(LookupError):
                    log = one.picture_log(track)
                    if log.count >= count:
                        return log.snapshot()
            return None

        what = f"{count} pictures on {track or 'the video track'!r}"
        return self._core.wait_until(seen, what, timeout)

    def wait_for_data(
        self,
        topic: str | None = None,
        count: int = 1,
        *,
        timeout: float = 5.0,
        app: str | None = None,
    ) -> list[DataFrame]:
        """Waits until that many messages and texts were sent (of the topic); all of them, oldest
        first. A text is a `TextFrame`, with its `text` and its ``attributes``."""

        def received() -> list[DataFrame] | None:
            found = [
                message
                for one in self._chosen(app)
                for message in one.messages
                if topic is None or message.topic == topic
            ]
            return found if len(found) >= count else None

        what = f"{count} messages" + ("" if topic is None else f" of topic {topic!r}")
        return self._core.wait_until(received, what, timeout)

    # Faults as calls, and the room's own end. ``identity`` None: every application.

    @property
    def faults(self) -> RoomFaults:
        """Everything that can go wrong, as ``with`` blocks: see `RoomFaults`."""
        return self._faults

    def refuse_connects(self, reason: str = "unauthorized") -> None:
        """Applications that join are refused with `RoomError` of that reason, until
        `accept_connects`; with ``timeout`` they get no answer."""
        refusal = Refusal(reason=reason, text=f"the room refuses to let anybody in ({reason})")
        with self._core.wire.changed:
            self._core.state.refused_connects.base = refusal

    def accept_connects(self) -> None:
        """The end of `refuse_connects`."""
        with self._core.wire.changed:
            self._core.state.refused_connects.base = None

    def refuse_publish(self, refuse: bool = True) -> None:
        """Tracks that applications publish are refused."""
        refusal = Refusal(reason="publish_refused", text="the room refuses the track")
        with self._core.wire.changed:
            self._core.state.refused_publish.base = refusal if refuse else None

    def refuse_data(self, refuse: bool = True) -> None:
        """Messages that applications send are refused."""
        refusal = Refusal(reason="data_refused", text="the room refuses the message")
        with self._core.wire.changed:
            self._core.state.refused_data.base = refusal if refuse else None

    def refuse_profile(self, refuse: bool = True) -> None:
        """What applications set of themselves is refused."""
        refusal = Refusal(reason="profile_refused", text="the room refuses the profile")
        with self._core.wire.changed:
            self._core.state.refused_profile.base = refusal if refuse else None

    def lose_connection(self, identity: str | None = None, reason: str = "") -> None:
        """Nothing gets through to or from the application until `restore_connection`. Media is
        lost; requests wait."""
        with self._core.wire.changed:
            for connection in connections(self._core.state, identity):
                connection.lose(reason)

    def restore_connection(self, identity: str | None = None, *, resume: bool = False) -> None:
        """The connection is back; what changed meanwhile is told. All tracks start anew with new
        sids, as in a full reconnect, unless it resumes."""
        with self._core.wire.changed:
            for connection in connections(self._core.state, identity):
                connection.restore(resume=resume)

    def break_connection(self, identity: str | None = None) -> None:
        """Hangs up without a word: a loss that does not heal."""
        with self._core.wire.changed:
            for connection in connections(self._core.state, identity):
                connection.break_off()

    def remove(self, identity: str, reason: str = "participant removed") -> None:
        """Puts somebody out, an application or a participant. Raises `LookupError`."""
        with self._core.wire.changed:
            if identity not in self._core.state.members:
                raise LookupError(f"{identity!r} is not there\n  {self._core.summary()}")
            self._core.state.put_out(self._core.state.members[identity], reason)

    def close_room(self, reason: str = "room closed") -> None:
        """The server closes the room: everybody is put out. What was heard stays; an application
        that joins again finds the room empty."""
        with self._core.wire.changed:
            self._core.state.put_all_out(reason)

    # The other end: a `rooms.Reachable`.

    @contextlib.contextmanager
    def stand_in(self, provider: str = "livekit") -> Iterator[Self]:
        """Transports and pools that this process opens on that provider, by its name or spec, are
        in this room instead: for an application that names its provider itself.

        Raises `ConfigurationError` while another room stands in for it.
        """

        def make(options: Mapping[str, Any]) -> ProviderSpec:
            kept = ("identity", "url", "token", "e2ee_key")
            return Fake(room=self, **{key: options[key] for key in kept if key in options})

        end = registry.stand_in(provider, make)
        try:
            yield self
        finally:
            end()

    def dial(self) -> socket.socket:
        """The application's end of a fresh connection; the provider's way in."""
        return self._core.wire.dial(Connection(self._core.state))

    def close(self) -> None:
        """Closes the room and its thread; what was heard stays. Idempotent."""
        if self._closed:
            return
        self._closed = True
        rooms.withdraw(self)
        for playback in self._playbacks:
            playback.stop()
        with self._core.wire.changed:
            # At once: an application let in between the two would take it for a lost connection.
            self.close_room()
            self._core.wire.close_soon(_GRACE_SECONDS)
        self._core.wire.close(_GRACE_SECONDS)

    def _left_open(self) -> str:
        return "" if self._closed else repr(self)

    def _close_forgotten(self) -> None:
        self._core.wire.close_soon(0.0)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(
            "a FakeRoom stays in its process; send what Fake(room=...).handover() returns"
        )

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<FakeRoom {self.name!r} {state}, {len(self.participants)} participants>"

    def _chosen(self, identity: str | None) -> Iterator[Application]:
        for application in self._core.state.applications.values():
            if identity is None or application.identity == identity:
                yield application

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"fake: room {self.name!r} is closed")


def _is_clock(clock: object) -> bool:
    return all(callable(getattr(clock, name, None)) for name in ("time", "call_at"))
