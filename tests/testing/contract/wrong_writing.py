"""Wrong with texts of ours that are written while others read them."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from wrong_kit import Last, Twist, breaks

from ringroom.errors import RoomError
from ringroom.frames import TextFrame
from ringroom.providers.provider import TextWriter


@breaks({"a_text_is_seen_as_it_is_written": "'one ', still being written: not within"})
class HoldsTextsBack(Twist):
    """Until they are whole."""

    def __init__(self) -> None:
        self.held: dict[TextWriter, str] = defaultdict(str)

    async def write(self, writer: TextWriter, text: str) -> None:
        self.held[writer] += text

    async def close_text(self, writer: TextWriter, reason: str, last: Last) -> None:
        await super().write(writer, self.held.pop(writer))
        await super().close_text(writer, reason, last)


@breaks({"a_text_is_seen_as_it_is_written": "'one ', still being written: not within"})
class SendsEachPieceAsAText(Twist):
    async def open_text(self, provider: Any, beginning: TextFrame) -> TextWriter:
        return Pieces(provider, beginning)


class Pieces(TextWriter):
    def __init__(self, provider: Any, beginning: TextFrame) -> None:
        self.provider, self.beginning = provider, beginning

    async def write(self, text: str) -> None:
        await self.provider.send_text(replace(self.beginning, payload=text.encode()))

    async def close(self, reason: str = "", attributes: Last = None) -> None:
        """There is nothing to end."""


@breaks({"a_text_is_seen_as_it_is_written": "'one twö', ended: not within"})
class EndsNoText(Twist):
    async def close_text(self, writer: TextWriter, reason: str, last: Last) -> None:
        """It stays open."""


@breaks({"a_text_is_seen_as_it_is_written": "is said to be unfinished"})
class BreaksOffEveryText(Twist):
    async def close_text(self, writer: TextWriter, reason: str, last: Last) -> None:
        await super().close_text(writer, reason or "why not", last)


@breaks({"all_of_what_is_written_is_seen_in_order": "letters .* are seen"})
class DropsAPiece(Twist):
    count = 0

    async def write(self, writer: TextWriter, text: str) -> None:
        self.count += 1
        if self.count != 7:
            await super().write(writer, text)


@breaks({"all_of_what_is_written_is_seen_in_order": "in another order, or others"})
class SwapsPieces(Twist):
    held = ""

    async def write(self, writer: TextWriter, text: str) -> None:
        held, self.held = self.held, text
        if held:
            await super().write(writer, text + held)
            self.held = ""

    async def close_text(self, writer: TextWriter, reason: str, last: Last) -> None:
        await super().write(writer, self.held)
        await super().close_text(writer, reason, last)


@breaks({"a_text_that_is_written_keeps_its_topic_and_attributes": r"are seen as \{\}"})
class WritesWithoutAttributes(Twist):
    async def open_text(self, provider: Any, beginning: TextFrame) -> TextWriter:
        return await super().open_text(provider, replace(beginning, attributes={}))


@breaks({"a_text_that_is_written_keeps_its_topic_and_attributes": "is seen as 'lk.chat'"})
class WritesToOneTopic(Twist):
    async def open_text(self, provider: Any, beginning: TextFrame) -> TextWriter:
        return await super().open_text(provider, replace(beginning, topic="lk.chat"))


@breaks({"the_attributes_of_an_end_are_seen_with_it": "are seen at the end as"})
class EndsWithoutAttributes(Twist):
    async def close_text(self, writer: TextWriter, reason: str, last: Last) -> None:
        await super().close_text(writer, reason, None)


@breaks({"texts_that_are_written_at_a_time_stay_apart": r"seen as \['', 'ababababab'\]"})
class WritesAllIntoOne(Twist):
    first: TextWriter | None = None

    async def write(self, writer: TextWriter, text: str) -> None:
        self.first = self.first or writer
        await super().write(self.first, text)


@breaks({"a_block_that_raises_leaves_its_text_unfinished": "half of a text is said to be whole"})
class EndsEveryTextWell(Twist):
    async def close_text(self, writer: TextWriter, reason: str, last: Last) -> None:
        await super().close_text(writer, "", last)


@breaks({"a_text_is_seen_by_whom_it_is_for": r"seen by \['ann', 'ben', 'eve'\]"})
class WritesToEverybody(Twist):
    async def open_text(self, provider: Any, beginning: TextFrame) -> TextWriter:
        return await super().open_text(provider, replace(beginning, to=()))


@breaks({"a_text_that_a_loss_cuts_is_told": "a text that was lost was not told"})
class HidesALostText(Twist):
    async def write(self, writer: TextWriter, text: str) -> None:
        with contextlib.suppress(RoomError):
            await super().write(writer, text)

    async def close_text(self, writer: TextWriter, reason: str, last: Last) -> None:
        with contextlib.suppress(RoomError):
            await super().close_text(writer, reason, last)


@breaks({"a_text_that_a_loss_cuts_is_told": "is said to be whole: 'half'"})
class EndsALostTextAsWhole(Twist):
    """In the words that were written before."""

    again: Callable[[], Coroutine[Any, Any, TextWriter]]
    words = ""

    async def open_text(self, provider: Any, beginning: TextFrame) -> TextWriter:
        self.again = partial(super().open_text, provider, beginning)
        return await self.again()

    async def write(self, writer: TextWriter, text: str) -> None:
        try:
            await super().write(writer, text)
            self.words = self.words or text
        except RoomError:
            another = await self.again()
            await super().write(another, self.words)
            await super().close_text(another, "", None)

    async def close_text(self, writer: TextWriter, reason: str, last: Last) -> None:
        with contextlib.suppress(RoomError):
            await super().close_text(writer, reason, last)


@breaks({"a_text_that_is_refused_is_told": "was not told"})
class HidesARefusedBeginning(Twist):
    async def open_text(self, provider: Any, beginning: TextFrame) -> TextWriter:
        with contextlib.suppress(RoomError):
            return await super().open_text(provider, beginning)
        return Nothing()


class Nothing(TextWriter):
    async def write(self, text: str) -> None:
        """To nobody."""

    async def close(self, reason: str = "", attributes: Last = None) -> None:
        """Of nothing."""
