"""Who is in the room, as one end of a session asks it of the I/O role, until that has answered.

An answer tells of one moment, and comes in parts: a room may have many people, who tell much of
themselves. It is the answer to all that was asked before it was made. When the I/O process dies,
the next one is asked again.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from ringroom import messages as m
from ringroom.errors import RoomError
from ringroom.events import Participant
from ringroom.lanes.records import participant_from_json
from ringroom.sessions.requests import Outcomes

__all__ = ["RollCalls"]

People = tuple[Participant, ...]


class RollCalls:
    """Those of one end of a session. ``send`` sends over its link, if there is one. Not
    thread-safe."""

    def __init__(self, send: Callable[[m.Message], None]) -> None:
        self._send = send
        self._number = 0
        self._unanswered: dict[int, m.AskPeople] = {}
        self._answers: Outcomes[People] = Outcomes()
        """Those that have not been taken yet."""
        self._told: list[Participant] = []
        """The parts so far of the answer that comes."""

    def ask(self, *, waits: bool) -> int:
        """A request, by its number, which is to be taken or forgotten. ``waits``: while the room
        is away, for its return."""
        self._number += 1
        message = m.AskPeople(request=self._number, waits=waits)
        self._unanswered[self._number] = message
        self._send(message)
        return self._number

    def ask_again(self) -> None:
        """There is another link."""
        self._told.clear()
        if self._unanswered:
            self._send(self._unanswered[max(self._unanswered)])

    def answered(self, message: m.People) -> None:
        """A part of an answer. Raises `WireError` for what is none."""
        self._told += map(participant_from_json, message.people.values())
        if not message.last:
            return
        people = tuple(sorted(self._told, key=attrgetter("identity")))
        self._told = []
        for number in [one for one in self._unanswered if one <= message.request]:
            del self._unanswered[number]
            self._answers[number] = room_is_away() if message.away else people

    def take(self, number: int) -> People | None:
        """Who is there, sorted by identity; None until that is answered. Raises `RoomError`
        (disconnected) where the room is away."""
        return self._answers.take(number)

    def forget(self, number: int) -> None:
        """No caller waits for the answer any more, whether it has come or not."""
        self._unanswered.pop(number, None)
        self._answers.pop(number, None)


def room_is_away() -> RoomError:
    """What a caller is told that does not wait."""
    return RoomError(
        "we are not in the room now, and nobody knows who is there; ask again once we are",
        reason="disconnected",
    )
