"""The texts that one application is writing in a fake room, seen from the room.

All of it runs under `Wire.changed`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ringroom.frames import TextFrame
from ringroom.pieces import ADD, BEGIN
from ringroom.providers.fake import messages
from ringroom.testing.state import BROKEN_OFF, Member, Refusal, RoomState
from ringroom.testing.written import TextLog

__all__ = ["Writings"]

_UNKNOWN = Refusal(
    reason="data_refused",
    text="the text is not being written any more: the connection was made anew meanwhile",
)


class _Writing:
    """One of them, and who was there when it began."""

    def __init__(self, state: RoomState, sender: Member, beginning: TextFrame) -> None:
        self._state = state
        self._sender = sender
        self._readers = [*state.reached(sender.identity, beginning)]
        # Each of the test's people sees what came until they left.
        self._logs = {
            one: TextLog(beginning, sender.identity)
            for one in self._readers
            if one.audience is None
        }
        for reader, log in self._logs.items():
            reader.texts.append(log)
        self._own = TextLog(beginning, sender.identity)
        state.application(sender.identity).add_text(self._own)

    def add(self, text: str) -> None:
        self._own.add(text)
        for reader, log in self._logs.items():
            if not reader.gone:
                log.add(text)

    def end(self, reason: str, attributes: Mapping[str, str]) -> None:
        self._own.end(reason, attributes)
        if {None, self._sender.identity} & {*self._state.breaking_off["text"]}:
            reason = reason or BROKEN_OFF.format("text")
        for reader, log in self._logs.items():
            if not reader.gone:
                log.end(reason, attributes)
        frame = self._own.frame()
        if self._own.whole:
            self._state.application(self._sender.identity).add_data(frame)
        self._state.pass_whole(self._sender, frame, self._readers, reason)


class Writings:
    """See the module's docstring."""

    def __init__(self, state: RoomState, sender: Member) -> None:
        self._state = state
        self._sender = sender
        self._open: dict[int, _Writing] = {}

    def take(self, piece: messages.Piece, refusal: Refusal | None) -> Refusal | None:
        """What the application does with one of them; why it is refused. A text of which a piece is
        refused is written no more."""
        number, text = piece.text, piece.payload.decode()
        if refusal is not None:
            self._end(number, refusal.text)
        elif piece.step == BEGIN:
            beginning = TextFrame(b"", piece.topic, to=piece.to, attributes=piece.attributes)
            self._open[number] = _Writing(self._state, self._sender, beginning)
        elif number not in self._open:
            refusal = _UNKNOWN
        elif piece.step == ADD:
            self._open[number].add(text)
        else:
            self._end(number, text, piece.attributes)
        self._state.changed()
        return refusal

    def break_off(self, reason: str) -> None:
        """None is written any more."""
        for number in tuple(self._open):
            self._end(number, reason)

    def _end(self, number: int, reason: str, attributes: Mapping[str, str] | None = None) -> None:
        writing = self._open.pop(number, None)
        if writing is not None:
            writing.end(reason, attributes or {})
