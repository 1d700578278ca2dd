"""One digit of a telephone, and what is none."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import pytest

from ringroom.dtmf import DIGITS, DtmfFrame
from ringroom.errors import FrameError
from ringroom.frames import DataFrame


@pytest.mark.parametrize("code", range(16))
def test_a_digit_has_the_code_of_its_event(code: int) -> None:
    frame = DtmfFrame(DIGITS[code])
    assert (frame.digit, frame.code) == ("0123456789*#ABCD"[code], code)


def test_a_digit_is_a_message() -> None:
    frame = DtmfFrame("#", participant="ann", sequence=3, received_ns=4)
    assert isinstance(frame, DataFrame)
    assert (frame.payload, frame.participant) == (b"#", "ann")
    assert (frame.sequence, frame.received_ns) == (3, 4)
    assert DtmfFrame(b"#") == DtmfFrame("#") != DataFrame(b"#")
    for again in (pickle.loads(pickle.dumps(frame)), copy.deepcopy(frame), replace(frame, to=())):
        assert again == frame
        assert type(again) is DtmfFrame
    assert hash(frame) == hash(replace(frame, payload="#"))


@pytest.mark.parametrize(
    "payload", ["", "12", "a", "E", "x", "٣", "é", b"", b"12", b"\xff", 5, None, ["1"]]
)
def test_what_is_no_digit_is_refused(payload: Any) -> None:
    with pytest.raises(FrameError, match="is no digit of a telephone, expected one of 0123456789"):
        DtmfFrame(payload)


@pytest.mark.parametrize("fields", [{"topic": "t"}, {"to": ("ann",)}, {"reliable": False}], ids=str)
def test_what_a_digit_has_not(fields: dict[str, Any]) -> None:
    with pytest.raises(FrameError, match="LiveKit sends digits to everybody, reliably"):
        DtmfFrame("1", **fields)
    with pytest.raises(FrameError):
        DtmfFrame("1", reliable="yes")  # type: ignore[arg-type]
