"""DTMF (what the keys of a telephone send): one digit that came in, or is to be sent. It travels as
a message does: in order with messages, to the reader that receives those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ringroom.checks import shown
from ringroom.errors import FrameError
from ringroom.frames import DataFrame

__all__ = ["DIGITS", "DtmfFrame"]

DIGITS = "0123456789*#ABCD"
"""The digits, in the order of their event codes (RFC 4733)."""


@dataclass(frozen=True, slots=True, init=False)
class DtmfFrame(DataFrame):
    """A key of a telephone: ``DtmfFrame("5")``. `digit` is one of 0123456789*#ABCD, `code` its
    event code of RFC 4733, 0 to 15. It is a message whose payload is the digit.

    ``participant`` is the identity of the one who has pressed it, empty when the server's API sent
    it. It is for everybody, and ``reliable`` is True. Raises `FrameError` for anything but a digit
    (a small letter is none), and for a topic, a destination, or reliable=False.
    """

    _noun: ClassVar[str] = "a digit"

    def __init__(
        self,
        payload: bytes | str,
        topic: str = "",
        participant: str = "",
        reliable: bool = True,
        to: tuple[str, ...] = (),
        sequence: int = 0,
        received_ns: int = 0,
    ) -> None:
        raw = _checked(payload)
        DataFrame.__init__(self, raw, topic, participant, reliable, to, sequence, received_ns)

    def __post_init__(self) -> None:
        DataFrame.__post_init__(self)
        if self.topic or self.to or not self.reliable:
            raise FrameError(
                "a digit with a topic, a destination or reliable=False; LiveKit sends digits to "
                "everybody, reliably"
            )

    @property
    def digit(self) -> str:
        """One of 0123456789*#ABCD."""
        return self.payload.decode()

    @property
    def code(self) -> int:
        """Its event code (RFC 4733): 0 to 9, 10 for ``*``, 11 for ``#``, 12 to 15 for A to D."""
        return DIGITS.index(self.digit)


def _checked(payload: bytes | str) -> bytes:
    text = payload.decode("ascii", "replace") if isinstance(payload, bytes) else payload
    if not isinstance(text, str) or len(text) != 1 or text not in DIGITS:
        raise FrameError(f"{shown(payload)} is no digit of a telephone, expected one of {DIGITS}")
    return text.encode()
