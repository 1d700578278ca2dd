"""What two processes tell each other over a link.

A message is a value, never changed. Its bytes are in `message_codec.py`; descriptors travel beside
it.

Who speaks with whom
  application -> I/O process   control link: NewSession
  application -> session       Renewals, Connect, Attach, Leave, RowFree
  session -> application       Connected, Away, Failed, LaneListed, LaneRetired, ProfileKnown,
                               MutedKnown, SubscribersKnown
  session -> worker            Attached
  session -> reader or writer  LaneOpened, LaneEnding, PlayoutReady, PlayoutFailed, Reply, RowFree,
                               ProfileSet, People, CallEnded, MutedSet, SubscribersAllowed,
                               Ended
  reader or writer -> session  LaneDone, PlayoutOpen, Flush, Drain, PlayoutClose, SetProfile,
                               AskPeople, PerformCall, SetMuted, AllowSubscribers
  worker -> session            TrackClose, Leave
  application -> worker        Start, Stop
  worker -> application        WorkerReady, WorkerFailed, WorkerProblem, Rejoined,
                               WorkerDone
  session -> application       over the link of Renewals: Renew
  application -> session       over the link of Renewals: Renewed, NotRenewed
The application is itself a reader and writer of its session.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ringroom import errors
from ringroom.errors import RingroomError, RoomError, RpcError
from ringroom.values import Value

MAX_MESSAGE_BYTES = 1 << 24
# Keys of a room whose place is kept. Beyond it the least recently used key without an open track is
# forgotten.
MAX_PLACES = 10_000
# Where a message has a place: not a worker's, which are counted from 0.
APPLICATION = -1


class Message(Value):
    """The base of all messages; its subclasses are all the names there are."""

    types: ClassVar[dict[str, type[Message]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Message.types[cls.__name__] = cls


class NewSession(Message):
    """Descriptors: the session's link."""


class Connect(Message):
    """Descriptors: the statistics table, then the provider's. ``blob`` is the pickled spec and
    options; it comes from the process that started this one, never from a network. ``places`` are
    those that participants, or their tracks, had before, when the I/O process is not the first
    (`routing.Routing`)."""

    blob: bytes
    rows_first: int
    rows_count: int
    readers: int
    route: str
    places: dict[str, Any]


class Renewals(Message):
    """Sent before `Connect`. Descriptors: the link over which the spec is handed over anew."""


class Renew(Message):
    """The room is lost and is to be joined anew: hand the spec over."""

    request: int


class Renewed(Message):
    """Descriptors: the provider's. ``blob`` as in `Connect`."""

    request: int
    blob: bytes


class NotRenewed(Message):
    request: int
    error: dict[str, Any]


class Attach(Message):
    """A reader takes the place, with a link of its own (the descriptor). A reader that had the
    place before is dead: what it had not taken, and its tracks, are the new one's."""

    place: int


class Attached(Message):
    """The first message to a worker: what it inherits from a dead one in its place. The ``rows``
    of statistics still count, the ``tracks`` are still published."""

    rows: list[int]
    tracks: list[str]


class Leave(Message):
    """Close the session. From a worker: it leaves in good order, and its link ends."""


class RowFree(Message):
    """The application has read the counts of a retired row: it may serve another lane."""

    row: int


class Connected(Message):
    room: str
    identity: str


class Away(Message):
    """The connection to the room is lost, for a while as is hoped, or (``away`` false) back."""

    away: bool


class Failed(Message):
    """The session could not be opened."""

    error: dict[str, Any]


class Ended(Message):
    """The room is over; ``error`` is empty when it ended by itself."""

    reason: str
    error: dict[str, Any]


class LaneListed(Message):
    """A lane begins to count in a row."""

    row: int
    direction: str
    track: str
    kind: str
    participant: str
    place: int


class LaneRetired(Message):
    """The counts of a row are final."""

    row: int


class LaneOpened(Message):
    """Descriptors: the lane's. ``track`` is empty for the lanes of data and of room events.
    ``follows`` is the lane that this one continues, to be drained first; 0 for none. A lane whose
    reader has died goes on at ``position`` of its ring, where ``waiting`` bytes are announced."""

    lane: int
    row: int
    kind: str
    live: bool
    track: dict[str, Any]
    participant: dict[str, Any]
    follows: int
    position: int = 0
    waiting: int = 0


class LaneEnding(Message):
    """Nothing more is written to the lane."""

    lane: int


class LaneDone(Message):
    """The reader has taken all there was and closed its end."""

    lane: int


class PlayoutOpen(Message):
    """Descriptors: the lane's. ``kind`` "data" is the lane of outgoing messages, of no track."""

    lane: int
    row: int
    name: str
    kind: str
    live: bool
    publish: dict[str, Any]
    sample_rate: int = 0
    channels: int = 0
    width: int = 0
    height: int = 0

    def listed(self, place: int) -> LaneListed:
        """How the lane is listed where it is counted, as of that place."""
        return LaneListed(
            row=self.row,
            direction="out",
            track=self.name,
            kind=self.kind,
            participant="",
            place=place,
        )


class PlayoutReady(Message):
    lane: int


class PlayoutFailed(Message):
    lane: int
    error: dict[str, Any]


class Flush(Message):
    """Throw away what was sent before frame number ``sequence`` and not played."""

    request: int
    lane: int
    sequence: int


class Drain(Message):
    """Answer when all that was sent before frame number ``sequence`` is played."""

    request: int
    lane: int
    sequence: int


class PlayoutClose(Message):
    """Unpublish, after the frames that are in the lane. Of messages: no more come in that lane."""

    lane: int


class TrackClose(Message):
    """Unpublish a track that was inherited and never written to."""

    name: str


class Reply(Message):
    request: int
    value: float


class SetProfile(Message):
    """Change what the others are told of us. ``awaited``: the answer is; else an event tells of a
    refusal. ``profile`` are the fields of a `profile.Profile`."""

    request: int
    awaited: bool
    profile: dict[str, Any]


class ProfileSet(Message):
    """The room has answered; ``error`` is empty when it did as it was asked."""

    request: int
    error: dict[str, Any]


class ProfileKnown(Message):
    """All that the room has been told of us, by whomever: for another I/O process to tell it."""

    profile: dict[str, Any]


class AskPeople(Message):
    """Tell who is in the room. ``waits``: while it is away, for its return."""

    request: int
    waits: bool


class People(Message):
    """A part of who is in the room, by identity, each as the fields of a `Participant`; all parts
    are of one moment. They answer that request, and those before it. ``away``: nobody knows, for
    the room is being joined anew."""

    request: int
    people: dict[str, Any]
    last: bool
    away: bool


class PerformCall(Message):
    """Call somebody's method, within that many seconds."""

    request: int
    to: str
    method: str
    payload: str
    seconds: float


class CallEnded(Message):
    """``error`` is empty when the payload is the answer."""

    request: int
    payload: str
    error: dict[str, Any]


class SetMuted(Message):
    """Mute or unmute our track of that name, whoever sends on it, now or later. What ends already
    is muted too, but not unmuted. ``request`` 0 is not answered."""

    request: int
    track: str
    muted: bool


class MutedSet(Message):
    """It is done, and nothing is heard any more of what is muted; else ``error`` says why not."""

    request: int
    error: dict[str, Any]


class MutedKnown(Message):
    """All names that are muted, by whomever: for another I/O process to be told."""

    tracks: list[str]


class AllowSubscribers(Message):
    """These may subscribe to our track of that name, or, for "", to all of ours: the identities
    ``who``, or everybody. ``request`` 0 is not answered."""

    request: int
    everybody: bool
    who: list[str]
    track: str


class SubscribersAllowed(Message):
    """The room has been told; else ``error`` says why not."""

    request: int
    error: dict[str, Any]


class SubscribersKnown(Message):
    """All that was said of it, by whomever: for another I/O process to be told."""

    subscribers: dict[str, Any]


class Start(Message):
    """Descriptors: the worker's link to the session, the statistics table. Sent again after
    the death of the I/O process: the worker goes on over the new link."""

    place: int
    rows_first: int
    rows_count: int
    generation: int = 0


class Stop(Message):
    """End. ``drain``: first finish what waits, within that many seconds."""

    drain: float


class WorkerReady(Message):
    """`Processor.start` has returned."""


class WorkerFailed(Message):
    """`Processor.start` raised."""

    error: str


class WorkerProblem(Message):
    """User code raised in a worker: counted always, told with a traceback the first time."""

    place: int
    where: str
    summary: str
    traceback: str
    count: int


class Rejoined(Message):
    """The answer to a second `Start`: the worker uses lanes and rows from before no more."""

    place: int
    generation: int


class WorkerDone(Message):
    """What waited is finished, and the worker ends."""


def error_to_json(error: RingroomError) -> dict[str, Any]:
    """An error as fields, for the other side to raise."""
    fields = {
        "type": type(error).__name__,
        "text": str(error),
        "reason": getattr(error, "reason", ""),
    }
    if isinstance(error, RpcError):
        fields |= {"code": error.code, "data": error.data}
    return fields


def error_from_json(fields: dict[str, Any]) -> RingroomError:
    """The error again; a type that is not ours becomes a `RoomError` with the same text."""
    text, reason = str(fields.get("text", "")), str(fields.get("reason", "")) or "failed"
    name = str(fields.get("type", ""))
    kind = getattr(errors, name, RoomError) if name in errors.__all__ else RoomError
    if kind is RpcError:
        code = fields.get("code")
        known = code if isinstance(code, int) else RpcError.APPLICATION_ERROR
        return RpcError(text, code=known, data=str(fields.get("data", "")))
    return RoomError(text, reason=reason) if kind is RoomError else kind(text)
