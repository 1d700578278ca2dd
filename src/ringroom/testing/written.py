"""Texts while they are being written, as those in a fake room or on a workbench see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ringroom.frames import TextFrame

__all__ = ["TextLog", "WrittenText"]


@dataclass(frozen=True, kw_only=True)
class WrittenText:
    """A text as it was when you asked. A text that was sent whole has one piece."""

    participant: str
    """Who writes it."""
    topic: str
    to: tuple[str, ...]
    attributes: Mapping[str, str]
    pieces: tuple[str, ...] = ()
    """What was written so far, as it was written."""
    ended: bool = False
    """Whether it is written no more."""
    reason: str = ""
    """Why it has ended without being whole."""

    @property
    def text(self) -> str:
        """All that was written so far."""
        return "".join(self.pieces)

    @property
    def whole(self) -> bool:
        """Whether its sender has ended it."""
        return self.ended and not self.reason


class TextLog:
    """A text that grows."""

    def __init__(self, beginning: TextFrame, sender: str) -> None:
        self._beginning = beginning
        self._text = WrittenText(
            participant=sender,
            topic=beginning.topic,
            to=beginning.to,
            attributes=beginning.attributes,
        )

    @classmethod
    def of(cls, frame: TextFrame, sender: str) -> TextLog:
        """Of a text that was sent whole."""
        log = cls(frame, sender)
        log.add(frame.text)
        log.end()
        return log

    @property
    def ended(self) -> bool:
        return self._text.ended

    def add(self, text: str) -> None:
        self._text = replace(self._text, pieces=(*self._text.pieces, text))

    def end(self, reason: str = "") -> None:
        """It is whole, unless there is a reason why it is not."""
        self._text = replace(self._text, ended=True, reason=reason)

    def snapshot(self) -> WrittenText:
        return self._text

    def frame(self) -> TextFrame:
        """All of it, as a text that is received whole."""
        text = self._text
        return replace(self._beginning, payload=text.text.encode(), participant=text.participant)
