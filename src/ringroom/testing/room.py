"""`FakeRoom`: a room in memory that lives where the test runs.

It owns the wire's thread and the room's state, and is the only one to close them. What blocks (all
of that is in `listening.py`) an asyncio test calls through `asyncio.to_thread`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Self

from ringroom.checks import check_name, check_text, shown
from ringroom.closeable import Closeable
from ringroom.errors import ClosedError, ConfigurationError
from ringroom.events import Participant
from ringroom.option_checks import QUALITIES, check_choice, check_whole
from ringroom.processes.machine import Machine
from ringroom.providers import registry
from ringroom.providers.fake import Fake, rooms
from ringroom.providers.provider import ProviderSpec
from ringroom.testing.connection import Connection, connections
from ringroom.testing.floor import Floor
from ringroom.testing.listening import Listening
from ringroom.testing.participants import MAX_METADATA_BYTES, FakeParticipant
from ringroom.testing.playback import Playback
from ringroom.testing.room_faults import RoomFaults
from ringroom.testing.state import Member, Refusal
from ringroom.testing.wire import Clock

__all__ = ["FakeRoom"]

# Rooms are closed at the end of a test: long enough for a busy machine, short enough to bear for
# an application that was frozen on purpose.
_GRACE_SECONDS = 1.0


class FakeRoom(Listening, Closeable):
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
        super().__init__(Floor(name, clock, kept_pictures))
        self._faults = RoomFaults(self._floor)
        self._playbacks: list[Playback] = []
        self._closed = False
        rooms.announce(self)

    # The room and its people.

    @property
    def name(self) -> str:
        """The room's name, as the application is told it."""
        return self._floor.state.name

    def join(
        self,
        identity: str,
        name: str = "",
        metadata: str = "",
        attributes: Mapping[str, str] | None = None,
        *,
        kind: str = "standard",
    ) -> FakeParticipant:
        """A participant comes in, of that kind (`Participant.kind`). One that is there under the
        same identity is put out.

        Raises `FrameError` for an identity that is empty, and for what is too long or no text,
        `ConfigurationError` for what is no kind.
        """
        self._check_open()
        participant = Participant(
            identity=identity,
            name=name,
            metadata=metadata,
            attributes={} if attributes is None else attributes,
            kind=kind,
        )
        return FakeParticipant(self._floor, participant)

    def set_metadata(self, metadata: str) -> None:
        """Changes what applications are told of the room itself (`RoomInfo.metadata`), as the
        server's API does: now, and as they join. Raises `FrameError` for what is too long or no
        text."""
        check_text("metadata", metadata, MAX_METADATA_BYTES)
        with self._floor.wire.changed:
            self._floor.state.describe_room(metadata)

    def set_quality(self, identity: str, quality: str) -> None:
        """The connection of somebody, an application or a participant, is excellent, good, poor or
        lost from now on, as the room says: an application is told of its own, and of those whose
        tracks it receives. Nothing else changes. Raises `LookupError`, and `ConfigurationError` for
        another word."""
        check_choice("the quality", quality, QUALITIES)
        with self._floor.wire.changed:
            self._member(identity).quality = quality
            self._floor.state.announce()

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

        Raises `ConfigurationError` for what is no recording, for participants who are not in it,
        and for one in which an application of the room has a part of its own.
        """
        self._check_open()
        playback = Playback(self._floor, path, speed, participants)
        self._playbacks = [one for one in self._playbacks if not one.done] + [playback]
        return playback

    @property
    def participants(self) -> tuple[Participant, ...]:
        """Everybody in the room, applications included."""
        with self._floor.wire.changed:
            return tuple(member.participant for member in self._floor.state.members.values())

    # Faults as calls, and the room's own end. ``identity`` None: every application.

    @property
    def faults(self) -> RoomFaults:
        """Everything that can go wrong, as ``with`` blocks: see `RoomFaults`."""
        return self._faults

    def refuse_connects(self, reason: str = "unauthorized") -> None:
        """Applications that join are refused with `RoomError` of that reason, until
        `accept_connects`; with ``timeout`` they get no answer."""
        refusal = Refusal(reason=reason, text=f"the room refuses to let anybody in ({reason})")
        with self._floor.wire.changed:
            self._floor.state.refused_connects.base = refusal

    def accept_connects(self) -> None:
        """The end of `refuse_connects`."""
        with self._floor.wire.changed:
            self._floor.state.refused_connects.base = None

    def refuse_publish(self, refuse: bool = True) -> None:
        """Tracks that applications publish are refused."""
        refusal = Refusal(reason="publish_refused", text="the room refuses the track")
        with self._floor.wire.changed:
            self._floor.state.refused_publish.base = refusal if refuse else None

    def refuse_data(self, refuse: bool = True) -> None:
        """Messages that applications send are refused."""
        refusal = Refusal(reason="data_refused", text="the room refuses the message")
        with self._floor.wire.changed:
            self._floor.state.refused_data.base = refusal if refuse else None

    def refuse_profile(self, refuse: bool = True) -> None:
        """What applications set of themselves is refused."""
        refusal = Refusal(reason="profile_refused", text="the room refuses the profile")
        with self._floor.wire.changed:
            self._floor.state.refused_profile.base = refusal if refuse else None

    def lose_connection(self, identity: str | None = None, reason: str = "") -> None:
        """Nothing gets through to or from the application until `restore_connection`. Media is
        lost; requests wait."""
        with self._floor.wire.changed:
            for connection in connections(self._floor.state, identity):
                connection.lose(reason)

    def restore_connection(self, identity: str | None = None, *, resume: bool = False) -> None:
        """The connection is back; what changed meanwhile is told. All tracks start anew with new
        sids, as in a full reconnect, unless it resumes."""
        with self._floor.wire.changed:
            for connection in connections(self._floor.state, identity):
                connection.restore(resume=resume)

    def break_connection(self, identity: str | None = None) -> None:
        """Hangs up without a word: a loss that does not heal."""
        with self._floor.wire.changed:
            for connection in connections(self._floor.state, identity):
                connection.break_off()

    def remove(self, identity: str, reason: str = "participant removed") -> None:
        """Puts somebody out, an application or a participant. Raises `LookupError`."""
        with self._floor.wire.changed:
            self._floor.state.put_out(self._member(identity), reason)

    def close_room(self, reason: str = "room closed") -> None:
        """The server closes the room: everybody is put out. What was heard stays; an application
        that joins again finds the room empty."""
        with self._floor.wire.changed:
            self._floor.state.put_all_out(reason)

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
        return self._floor.wire.dial(Connection(self._floor.state))

    def close(self) -> None:
        """Closes the room and its thread; what was heard stays. Idempotent."""
        if self._closed:
            return
        self._closed = True
        rooms.withdraw(self)
        for playback in self._playbacks:
            playback.stop()
        with self._floor.wire.changed:
            # At once: an application let in between the two would take it for a lost connection.
            self.close_room()
            self._floor.wire.close_soon(_GRACE_SECONDS)
        self._floor.wire.close(_GRACE_SECONDS)

    def _left_open(self) -> str:
        return "" if self._closed else repr(self)

    def _close_forgotten(self) -> None:
        self._floor.wire.close_soon(0.0)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(
            "a FakeRoom stays in its process; send what Fake(room=...).handover() returns"
        )

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<FakeRoom {self.name!r} {state}, {len(self.participants)} participants>"

    def _member(self, identity: str) -> Member:
        if identity not in self._floor.state.members:
            raise LookupError(f"{identity!r} is not there\n  {self._floor.summary()}")
        return self._floor.state.members[identity]

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"fake: room {self.name!r} is closed")


def _is_clock(clock: object) -> bool:
    return all(callable(getattr(clock, name, None)) for name in ("time", "call_at"))
