"""A piece of a text of ours that is being written. It travels as a message does, in order with our
messages; nothing of the kind comes in, for texts are received whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ringroom import checks
from ringroom.checks import is_whole, shown
from ringroom.errors import FrameError
from ringroom.frames import DataFrame, TextFrame

__all__ = ["ADD", "BEGIN", "END", "TextPiece"]

BEGIN, ADD, END = "begin", "add", "end"


@dataclass(frozen=True, slots=True)
class TextPiece(DataFrame):
    """One step of a text that is being written: its beginning, which has all of it but the text;
    what is added to it (``payload``, whole letters in UTF-8); or its end, whose payload says why it
    is not whole, if it is not, and whose attributes are added to those of the beginning.

    ``number`` tells the text from all others of its sender. Raises `FrameError` as `DataFrame`
    does, and for a payload that is not UTF-8.
    """

    number: int = 0
    step: str = ADD
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)

    _max_bytes: ClassVar[int] = checks.MAX_TEXT_BYTES
    _noun: ClassVar[str] = "a piece of a text"

    def __post_init__(self) -> None:
        DataFrame.__post_init__(self)
        if self.step not in (BEGIN, ADD, END):
            raise FrameError(f"a piece of a text of an unknown step {shown(self.step)}")
        if not is_whole(self.number) or not 0 <= self.number < 1 << 63:
            raise FrameError(f"the number of a text is {shown(self.number)}, expected a whole one")
        try:
            self.payload.decode()
        except UnicodeDecodeError as error:
            raise FrameError(f"a piece of a text that is not UTF-8 ({error.reason})") from None
        object.__setattr__(self, "attributes", checks.as_attributes(self.attributes))

    @classmethod
    def first(cls, beginning: TextFrame, number: int) -> TextPiece:
        """That which begins a text; of ``beginning`` all counts but the text."""
        topic, to, attributes = beginning.topic, beginning.to, beginning.attributes
        return cls(b"", topic, to=to, number=number, step=BEGIN, attributes=attributes)

    @property
    def text(self) -> str:
        """The payload as text."""
        return self.payload.decode()

    @property
    def beginning(self) -> TextFrame:
        """The text that it begins, without a letter."""
        return TextFrame(b"", self.topic, to=self.to, attributes=self.attributes)
