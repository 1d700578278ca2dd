"""What may happen in a room, step by step, as code: a `Step`'s repr is the line that does it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Check",
    "Delay",
    "Join",
    "Leave",
    "Lose",
    "Mute",
    "Publish",
    "Read",
    "Return",
    "SendData",
    "Show",
    "Speak",
    "Step",
    "Track",
    "Undelay",
    "Unmute",
    "Unpublish",
    "Wait",
]

RATE = 16_000
PIECE = 320  # samples of one frame


class Step:
    """Something that happens. Its repr is the code that makes it happen, for a `room` and a
    listening `app`; participants and tracks are variables of their names."""

    def __repr__(self) -> str:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Track:
    """A track of a history; ``variable`` holds its microphone or camera."""

    owner: str
    name: str
    is_video: bool = False

    @property
    def variable(self) -> str:
        return f"{self.owner}_{self.name}"

    @property
    def reply_name(self) -> str:
        return f"{self.owner}/{self.name}"


@dataclass(frozen=True, repr=False)
class Join(Step):
    who: str

    def __repr__(self) -> str:
        return f'{self.who} = room.join("{self.who}")'


@dataclass(frozen=True, repr=False)
class Leave(Step):
    who: str

    def __repr__(self) -> str:
        return f"{self.who}.leave()"


@dataclass(frozen=True, repr=False)
class Publish(Step):
    track: Track

    def __repr__(self) -> str:
        track = self.track
        form = "video" if track.is_video else "audio"
        size = "32, 32" if track.is_video else f"sample_rate={RATE}"
        return f'{track.variable} = {track.owner}.publish_{form}("{track.name}", {size})'


@dataclass(frozen=True, repr=False)
class _OfTrack(Step):
    track: Track

    def __repr__(self) -> str:
        return f"{self.track.variable}.{type(self).__name__.lower()}()"


class Unpublish(_OfTrack):
    """The track ends."""


class Mute(_OfTrack):
    """What is spoken from here on is lost."""


class Unmute(_OfTrack):
    """And from here on it is heard again."""


@dataclass(frozen=True, repr=False)
class Speak(Step):
    """Pieces of 20 ms that hold nothing but the value, at once."""

    track: Track
    pieces: int
    value: int
    channels: int = 1

    def __repr__(self) -> str:
        length = self.pieces * PIECE
        if self.channels == 1:
            sound = f"np.full({length}, {self.value}, np.int16)"
        else:
            array = f"np.full(({length}, {self.channels}), {self.value}, np.int16)"
            sound = f"AudioFrame({array}, {RATE})"
        return f"{self.track.variable}.speak({sound}, realtime=False)"


@dataclass(frozen=True, repr=False)
class Show(Step):
    """One test picture."""

    track: Track
    number: int
    width: int = 32
    height: int = 32

    def __repr__(self) -> str:
        picture = f"sources.picture({self.number}, {self.width}, {self.height})"
        return f"{self.track.variable}.show({picture})"


@dataclass(frozen=True, repr=False)
class SendData(Step):
    who: str
    text: str

    def __repr__(self) -> str:
        return f"{self.who}.send_data({self.text.encode()!r})"


@dataclass(frozen=True, repr=False)
class Lose(Step):
    """The connection is lost, until `Return`."""

    resume: bool = False

    def __repr__(self) -> str:
        return f"lost = room.faults.connection_lost({'resume=True' if self.resume else ''})"


@dataclass(frozen=True, repr=False)
class Return(Step):
    def __repr__(self) -> str:
        return "lost.end()"


@dataclass(frozen=True, repr=False)
class Delay(Step):
    """Media comes late, until `Undelay`."""

    seconds: float

    def __repr__(self) -> str:
        return f"late = room.faults.late({self.seconds})"


@dataclass(frozen=True, repr=False)
class Undelay(Step):
    def __repr__(self) -> str:
        return "late.end()"


@dataclass(frozen=True, repr=False)
class Wait(Step):
    """The application does not read for that long."""

    seconds: float

    def __repr__(self) -> str:
        return f"app.wait({self.seconds})"


@dataclass(frozen=True, repr=False)
class Read(Step):
    """The application reads all that waits; what that must be, if it is known."""

    expected: dict[str, list[int | str]] | None = None

    def __repr__(self) -> str:
        return "app.read()" if self.expected is None else f"assert app.read() == {self.expected}"


@dataclass(frozen=True, repr=False)
class Check(Step):
    """The laws hold, and an expression that must be true."""

    condition: str = ""

    def __repr__(self) -> str:
        return f"assert {self.condition}" if self.condition else "app.check()"
