"""Calls (LiveKit's RPC): one that came in, and what answers it. A call travels as a message does:
in order with messages, to the reader that receives those; its answer goes out among ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ringroom.checks import (
    MAX_IDENTITY_BYTES,
    MAX_METHOD_BYTES,
    as_number,
    check_text,
    is_whole,
    shown,
)
from ringroom.errors import ConfigurationError, FrameError, RpcError
from ringroom.frames import DataFrame
from ringroom.option_checks import settle_number

__all__ = ["MAX_CALL_BYTES", "OutgoingCall", "RpcAnswer", "RpcCall"]

# What LiveKit states; its SDKs differ in what they take beyond it.
MAX_CALL_BYTES = 15_360

# Of the text of an error, in LiveKit's SDKs.
MAX_ERROR_BYTES = 256
MAX_CODE = (1 << 32) - 1
# A caller's time, in seconds: what LiveKit's milliseconds can say.
MAX_SECONDS = 5_000_000


@dataclass(frozen=True, slots=True)
class RpcCall(DataFrame):
    """Somebody in the room calls a method of ours, and waits for what `answer` or `refuse` gives,
    once that is sent. It is a message whose topic is the method.

    ``payload`` is up to 15,360 bytes of UTF-8; `text` is that as text. ``participant`` is the
    caller's identity, ``timeout`` the seconds for which they wait, from ``received_ns`` on,
    ``number`` whatever tells this call from all others. Raises `FrameError` as `DataFrame` does,
    and for a payload that is not UTF-8.
    """

    number: int = 0
    timeout: float = 10.0

    _max_bytes: ClassVar[int] = MAX_CALL_BYTES
    _noun: ClassVar[str] = "the payload of a call"

    def __post_init__(self) -> None:
        DataFrame.__post_init__(self)
        _check_utf8(self)
        _check_number(self.number)
        seconds = as_number("a caller's timeout", self.timeout)
        if not 0 <= seconds <= MAX_SECONDS:
            raise FrameError(f"a caller's timeout of {seconds} s, expected 0 to {MAX_SECONDS}")
        object.__setattr__(self, "timeout", seconds)

    @property
    def method(self) -> str:
        """The method that is called: one of ``rpc_methods``."""
        return self.topic

    @property
    def text(self) -> str:
        """The payload as text."""
        return self.payload.decode()

    def answer(self, text: str = "") -> RpcAnswer:
        """What answers the call, once it is sent. Raises `FrameError` for more than 15,360 bytes of
        UTF-8."""
        payload = check_text("answer to a call", text, MAX_CALL_BYTES).encode()
        return RpcAnswer(payload, self.topic, to=(self.participant,), number=self.number)

    def refuse(
        self, why: str, *, code: int = RpcError.APPLICATION_ERROR, data: str = ""
    ) -> RpcAnswer:
        """What refuses the call, once it is sent: the caller's SDK raises an error with that text
        (up to 256 bytes of UTF-8), code (1 to 4,294,967,295; those from 1001 to 1999 have LiveKit's
        meanings) and data (up to 15,360 bytes). Raises `FrameError`."""
        if not is_whole(code) or not 0 < code <= MAX_CODE:
            raise FrameError(f"the code is {shown(code)}, expected a number from 1 to {MAX_CODE}")
        payload = check_text("reason of a refusal", why, MAX_ERROR_BYTES).encode()
        to = (self.participant,)
        return RpcAnswer(
            payload, self.topic, to=to, number=self.number, code=int(code), detail=data
        )


@dataclass(frozen=True, slots=True)
class RpcAnswer(DataFrame):
    """What `RpcCall.answer` and `RpcCall.refuse` give: a message to the caller alone, whose payload
    is the answer, or, with a ``code``, the text of an error; ``detail`` is that error's data."""

    number: int = 0
    code: int = 0
    detail: str = ""

    _max_bytes: ClassVar[int] = MAX_CALL_BYTES
    _noun: ClassVar[str] = "an answer to a call"

    def __post_init__(self) -> None:
        DataFrame.__post_init__(self)
        _check_utf8(self)
        _check_number(self.number)
        if not is_whole(self.code) or not 0 <= self.code <= MAX_CODE:
            raise FrameError(f"an answer with the code {shown(self.code)}")
        check_text("data of an error", self.detail, MAX_CALL_BYTES)

    @property
    def text(self) -> str:
        """The answer, or why the call is refused."""
        return self.payload.decode()

    def result(self) -> str:
        """What the caller gets: the answer. Raises the `RpcError` of a refusal."""
        if self.code:
            raise RpcError(self.text, code=self.code, data=self.detail)
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingCall:
    """A call of ours: to whom (an identity of 1 to 1,024 bytes), which method (1 to 64 bytes), with
    which text (up to 15,360 bytes of UTF-8), and the seconds that an answer has, 0.1 to 3,600.
    Raises `ConfigurationError`."""

    to: str
    method: str
    payload: str
    timeout: float

    def __post_init__(self) -> None:
        try:
            if not check_text("name of a method", self.method, MAX_METHOD_BYTES):
                raise FrameError("the name of a method is empty")
            if not check_text("identity that is called", self.to, MAX_IDENTITY_BYTES):
                raise FrameError("the identity that is called is empty, expected one of the room's")
            check_text("payload of a call", self.payload, MAX_CALL_BYTES)
        except FrameError as error:
            raise ConfigurationError(str(error)) from None
        settle_number(self, "timeout", 0.1, 3_600)

    def expired(self) -> TimeoutError:
        """What is raised when the time is over."""
        return TimeoutError(
            f"no answer from {self.to!r} to the call {self.method!r} within {self.timeout:g} s; "
            "whether it was carried out is not known"
        )


def _check_utf8(frame: DataFrame) -> None:
    try:
        frame.payload.decode()
    except UnicodeDecodeError as error:
        raise FrameError(f"{frame._noun} that is not UTF-8 ({error.reason})") from None


def _check_number(number: int) -> None:
    if not is_whole(number) or not 0 <= number < 1 << 63:
        raise FrameError(f"the number of a call is {shown(number)}, expected a whole one")
