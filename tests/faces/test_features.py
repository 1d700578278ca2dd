"""What a provider may be without: each option and call that needs it is refused without it."""

from __future__ import annotations

from typing import Any

import pytest

from elders_kit import Elders
from ringroom.errors import ConfigurationError
from ringroom.events import Kind
from ringroom.faces.features import check_call, check_options
from ringroom.options import SessionOptions

FLAGS = ("texts", "text_streams", "files", "rpc", "dtmf", "layers")


class Rich(Elders):
    """A provider with all of it."""


for flag in FLAGS:
    setattr(Rich, flag, True)


@pytest.mark.parametrize(
    ("option", "value", "noun"),
    [
        ("text_topics", ("lk.chat",), "texts"),
        ("file_topics", ("photos",), "files"),
        ("rpc_methods", ("order",), "calls"),
        ("dtmf", True, "DTMF"),
        ("video_quality", "low", "layers of pictures"),
    ],
)
def test_an_option_is_refused(option: str, value: Any, noun: str) -> None:
    options = SessionOptions(kinds=(Kind.DATA, Kind.VIDEO), **{option: value})
    with pytest.raises(ConfigurationError) as caught:
        check_options(Elders(), options)
    assert str(caught.value) == f"elders: not supported: {option} (this provider has no {noun})"
    check_options(Rich(), options)
    check_options(Elders(), SessionOptions())


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("send_text", "texts; send_data sends bytes"),
        ("open_text", "texts that are being written; send_text sends whole ones"),
        ("send_file", "files; send_data sends bytes"),
        ("call", "calls"),
        ("send_dtmf", "DTMF"),
    ],
)
def test_a_call_is_refused(call: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_call(Elders(), call)
    assert str(caught.value) == f"elders: not supported: {call} (this provider has no {why})"
    check_call(Rich(), call)
