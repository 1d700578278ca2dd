"""Messages, texts, files and digits go over the wire, and come back, with all that belongs to
them."""

from __future__ import annotations

import dataclasses

import pytest

from ringroom.dtmf import DtmfFrame
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.providers.fake import wire
from ringroom.providers.fake.envelopes import opened, sealed

FRAMES = [
    DataFrame(b"\xff\x00", "t", reliable=False, to=("ann", "bob")),
    TextFrame("grüße".encode(), "t", to=("ann",), attributes={"a": "é", "b": ""}),
    FileFrame(b"\xff", "t", to=("ann",), name="é.jpg", mime_type="x/y", attributes={"a": "é"}),
    DtmfFrame("#"),
]


@pytest.mark.parametrize("frame", FRAMES, ids=["message", "text", "file", "digit"])
def test_what_is_sealed_is_opened_as_it_was(frame: DataFrame) -> None:
    message = wire.decode(wire.encode(sealed(frame, request=7, participant="eve")))
    assert message == sealed(frame, request=7, participant="eve")
    again = opened(message, "eve", to=frame.to, received_ns=5)  # type: ignore[arg-type]
    assert type(again) is type(frame)
    assert again == dataclasses.replace(frame, participant="eve", received_ns=5)
