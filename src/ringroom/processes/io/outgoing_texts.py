"""Our texts that are being written, in the I/O role: which of them the provider has open.

A text is over when it has ended, when the provider refuses a piece of it, or with the connection in
which it began; what is written to it afterwards is lost, and told once. So it is with a text that
was begun in another I/O process, which nobody here knows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ringroom.errors import RingroomError, RoomError
from ringroom.pieces import BEGIN, END, TextPiece
from ringroom.processes.io.provider_errors import error_text
from ringroom.providers.provider import Provider, TextWriter
from ringroom.text_out import MAX_OPEN_TEXTS, UNFINISHED

__all__ = ["OutgoingTexts"]


class OutgoingTexts:
    """The texts of one sender that are being written. ``on_failed`` is told of each that the others
    do not get whole."""

    def __init__(self, on_failed: Callable[[RingroomError], None]) -> None:
        self._on_failed = on_failed
        self._open: dict[int, tuple[TextWriter, str]] = {}
        """By the text's number: its writer, and its topic."""
        self._over: set[int] = set()
        """The texts that are over though their end has not come: nothing more is told of them."""
        self._ended: deque[int] = deque(maxlen=MAX_OPEN_TEXTS)
        """The latest of those that have ended: an end that Ctrl-C has overtaken is sent again."""

    async def send(self, provider: Provider, piece: TextPiece) -> bool:
        """Send a piece. Returns False, and sends nothing, if its text is over. Raises what the
        provider raises, and then the text is over."""
        number = piece.number
        if piece.step == BEGIN:
            self._over.add(number)
            writer = await provider.open_text(piece.beginning)
            self._over.discard(number)
            self._open[number] = (writer, piece.topic)
            return True
        if number not in self._open:
            if number in self._ended:
                return True
            self._note_over(piece)
            return False
        writer, topic = self._open.pop(number)
        if piece.step == END:
            self._ended.append(number)
            await writer.close(piece.text, piece.attributes)
        else:
            self._over.add(number)
            await writer.write(piece.text)
            self._over.discard(number)
            self._open[number] = (writer, topic)
        return True

    def _note_over(self, piece: TextPiece) -> None:
        is_end, is_known = piece.step == END, piece.number in self._over
        # Of one that its own sender has broken off there is nothing to tell.
        if not is_known and not (is_end and piece.payload):
            self._tell(piece.topic, "the connection in which it was begun was lost")
        (self._over.discard if is_end else self._over.add)(piece.number)

    def lose(self) -> None:
        """The room is lost, and all that is open with it."""
        for number, (_, topic) in self._open.items():
            self._over.add(number)
            self._tell(topic, "the connection was lost while it was being written")
        self._open.clear()

    async def break_off(self) -> None:
        """The sender writes no more: what is open is not whole."""
        for number, (writer, topic) in tuple(self._open.items()):
            why = "its sender has not ended it"
            try:
                await writer.close(UNFINISHED)
            except Exception as error:  # noqa: BLE001 (whatever the provider raises)
                why = f"{why}, and the others were not told: {error_text(error)}"
            del self._open[number]  # until here it may be lost
            self._tell(topic, why)

    def _tell(self, topic: str, why: str) -> None:
        self._on_failed(
            RoomError(f"a text ({topic!r}) is unfinished: {why}", reason="data_refused")
        )
