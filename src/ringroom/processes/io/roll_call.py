"""Who is in the room, told to those ends of a session that ask. On the I/O role's loop.

While the room is away nobody knows who is there: an application waits for the room's return, a
worker is told that it is away. A long list goes out in parts, one for each turn of the loop, which
has sound to pass on in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from ringroom import messages as m
from ringroom.events import Participant
from ringroom.lanes.records import participant_to_json
from ringroom.processes.io.admission import text_length

__all__ = ["RollCall", "parts"]

Send = Callable[[m.Message], None]

# The length of the texts in a part; that of one participant may come on top. In JSON a character
# has up to 12 bytes, so a part is far from the longest message of a link.
MAX_PART = 50_000
# Of a participant who tells nothing: about the length of the names of the fields.
SMALLEST = 100


class RollCall:
    """See the module's docstring. ``people`` tells who is in the room now."""

    def __init__(self, people: Callable[[], Iterable[Participant]]) -> None:
        self._people = people
        self._asked: dict[Send, m.AskPeople] = {}
        """The last of each end that has asked: its answer is that to all before."""
        self._in_room = False
        self._task: asyncio.Task[None] | None = None

    def ask(self, message: m.AskPeople, send: Send) -> None:
        """``send`` reaches the end that asks."""
        self._asked[send] = message
        self._go_on()

    def joined(self) -> None:
        """We are in the room, and the provider tells in this turn of the loop who is there."""
        self._in_room = True
        self._go_on()

    def parted(self) -> None:
        """We are out of the room, or the connection to it is lost."""
        self._in_room = False
        self._go_on()

    def close(self) -> None:
        """Nobody is told any more."""
        self._in_room = False
        if self._task is not None:
            self._task.cancel()

    def _due(self) -> dict[Send, m.AskPeople]:
        """Who is to be told now."""
        if self._in_room:
            return dict(self._asked)
        return {send: asked for send, asked in self._asked.items() if not asked.waits}

    def _go_on(self) -> None:
        if self._task is None and self._due():
            self._task = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        """Tell all ends that have asked."""
        try:
            while due := self._due():
                for send in due:
                    del self._asked[send]
                away = not self._in_room
                for part, last in parts(() if away else self._people()):
                    for send, asked in due.items():
                        send(m.People(request=asked.request, people=part, last=last, away=away))
                    await asyncio.sleep(0)
        finally:
            self._task = None


def parts(people: Iterable[Participant]) -> Iterator[tuple[dict[str, object], bool]]:
    """The participants as fields, by identity, so many at a time as go into a message; and whether
    these are the last."""
    part: dict[str, object] = {}
    room = MAX_PART
    for who in people:
        if room <= 0:
            yield part, False
            part, room = {}, MAX_PART
        part[who.identity] = participant_to_json(who)
        names = len(who.identity) + len(who.sid) + len(who.name) + len(who.kind)
        room -= SMALLEST + names + text_length(who)
    yield part, True
