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
    """Once it has ended whole, also those of its end."""
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
        self.ended = False
        self._beginning = replace(beginning, participant=sender)
        self._pieces: list[str] = []
        self._reason = ""

    @classmethod
    def of(cls, frame: TextFrame, sender: str) -> TextLog:
        """Of a text that was sent whole."""
        log = cls(frame, sender)
        log.add(frame.text)
        log.end()
        return log

    def add(self, text: str) -> None:
        self._pieces.append(text)

    def end(self, reason: str = "", attributes: Mapping[str, str] | None = None) -> None:
        """It is whole, unless there is a reason why it is not. Clients too add the attributes of
        the end to those of the beginning."""
        self.ended, self._reason = True, reason
        if attributes and self.whole:
            of = self._beginning
            self._beginning = replace(of, attributes={**of.attributes, **attributes})

    @property
    def whole(self) -> bool:
        return self.ended and not self._reason

    def snapshot(self) -> WrittenText:
        of = self._beginning
        return WrittenText(
            participant=of.participant,
            topic=of.topic,
            to=of.to,
            attributes=of.attributes,
            pieces=tuple(self._pieces),
            ended=self.ended,
            reason=self._reason,
        )

    def frame(self) -> TextFrame:
        """All of it, as a text that is received whole."""
        return replace(self._beginning, payload="".join(self._pieces).encode())
