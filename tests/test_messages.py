"""The messages, and the errors that cross a link in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ringroom import errors, messages
from ringroom.errors import ConfigurationError, RingroomError, RoomError
from ringroom.messages import Message, error_from_json, error_to_json


def test_the_kinds_are_the_subclasses() -> None:
    kinds = set(Message.types)
    assert {kind.__name__ for kind in Message.__subclasses__()} >= kinds
    assert all(getattr(messages, name) is Message.types[name] for name in kinds)
    assert "Message" not in kinds


def test_a_blob_does_not_show() -> None:
    """It holds tokens."""
    message = messages.Connect(
        blob=b"secret",
        rows_first=0,
        rows_count=1,
        readers=1,
        route="participant",
        places={},
    )
    assert "secret" not in repr(message)


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "RoomError"])
def test_errors_cross_the_link(name: str) -> None:
    error = getattr(errors, name)("what happened")
    got = error_from_json(json.loads(json.dumps(error_to_json(error))))
    assert type(got) is type(error)
    assert str(got) == "what happened"


def test_the_reason_of_a_room_error_crosses() -> None:
    got = error_from_json(error_to_json(RoomError("no", reason="unauthorized")))
    assert isinstance(got, RoomError)
    assert (str(got), got.reason) == ("no", "unauthorized")


@pytest.mark.parametrize(
    "fields",
    [{}, {"type": "SystemExit", "text": "x"}, {"type": "__builtins__"}, {"type": 5, "text": None}],
)
def test_an_unknown_error_is_a_room_error(fields: dict[str, Any]) -> None:
    got = error_from_json(fields)
    assert type(got) is RoomError
    assert got.reason == "failed"


def test_a_third_partys_error_becomes_a_room_error() -> None:
    class TheirError(RingroomError):
        pass

    got = error_from_json(error_to_json(TheirError("theirs")))
    assert type(got) is RoomError
    assert str(got) == "theirs"
    assert isinstance(error_from_json(error_to_json(ConfigurationError("c"))), ValueError)
