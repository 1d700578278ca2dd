"""The messages' law: any bytes decode to a message or raise `WireError`."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroom.errors import WireError
from ringroom.message_codec import decode, encode
from ringroom.messages import Message

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(1 << 63), 1 << 63),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "str": TEXT,
    "bool": st.booleans(),
    "bytes": st.binary(max_size=40),
    "list[int]": st.lists(st.integers(-(1 << 63), 1 << 63), max_size=4),
    "list[str]": st.lists(TEXT, max_size=4),
    "dict": st.dictionaries(TEXT, TEXT | st.integers() | st.none() | st.booleans(), max_size=4),
}
SIMPLE: dict[str, Any] = {
    "int": 5,
    "float": 0.5,
    "str": "zoë",
    "bool": True,
    "bytes": b"\x00\xff",
    "list[int]": [1, -2],
    "list[str]": ["zoë", ""],
    "dict": {"a": [1, {}]},
}
KINDS = sorted(Message.types)


def field_types(name: str) -> dict[str, str]:
    """By their annotations; what is in a dictionary may be anything."""
    kinds = Message.types[name].fields
    return {field: "dict" if kind.startswith("dict") else kind for field, kind in kinds.items()}


def example(name: str) -> Message:
    values = {field: SIMPLE[kind] for field, kind in field_types(name).items()}
    return Message.types[name](**values)


@st.composite
def any_message(draw: st.DrawFn) -> Message:
    name = draw(st.sampled_from(KINDS))
    return Message.types[name](
        **{field: draw(VALUES[kind]) for field, kind in field_types(name).items()}
    )


@given(message=any_message())
@settings(deadline=None)
def test_any_message_comes_back(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("name", KINDS)
def test_whole_truncated_and_with_trailing_bytes(name: str) -> None:
    message = example(name)
    raw = encode(message)
    assert decode(raw) == message
    for length in range(len(raw)):
        with pytest.raises(WireError):
            decode(raw[:length])
    for trailing in (b"x", b"{}", b"\0"):
        with pytest.raises(WireError):
            decode(raw + trailing)


@pytest.mark.parametrize("name", KINDS)
def test_a_field_too_many_too_few_or_of_another_type(name: str) -> None:
    body = json.loads(encode(example(name)))
    with pytest.raises(WireError, match="with the fields"):
        decode(json.dumps(body | {"extra": 1}).encode())
    wrong_values = (None, [], 1.5, {}, "text", True, False, 7, [None], [True])
    accepted = {
        "int": (7,),
        "float": (7, 1.5),
        "str": ("text",),
        "bool": (True, False),
        "bytes": ("text",),
        "dict": ({},),
        "list[int]": ([],),
        "list[str]": ([],),
    }
    for field, kind in field_types(name).items():
        with pytest.raises(WireError, match="with the fields"):
            decode(json.dumps({k: v for k, v in body.items() if k != field}).encode())
        for value in wrong_values:
            raw = json.dumps(body | {field: value}).encode()
            if any(value == good and type(value) is type(good) for good in accepted[kind]):
                decode(raw)
                continue
            with pytest.raises(WireError, match=f"{name}.{field} is"):
                decode(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b"{}",
        b'{"v": 2, "m": "Leave"}',
        b'{"v": 1}',
        b'{"m": "Leave"}',
        b'{"v": 1, "m": 5}',
        b'{"v": 1, "m": ["Leave"]}',
        b'{"v": 1, "m": "Message"}',
        b'{"v": 1, "m": "NoSuch"}',
        b'{"v": 1, "m": "Leave", "x": 1}',
        b'{"v":1,"m":"Reply","request":1,"value":1' + b"0" * 400 + b"}",
        b'{"v":1,"m":"Reply","request":1,"value":1' + b"0" * 5_000 + b"}",
        b"[" * 200_000,
        b"\xff\xfe",
        b"\x80",
    ],
)
def test_what_is_no_message_is_a_wire_error(raw: bytes) -> None:
    with pytest.raises(WireError):
        decode(raw)


@pytest.mark.parametrize("blob", ["@@@", "QQ", "\u00eb"])
def test_bytes_that_are_no_base64_are_a_wire_error(blob: str) -> None:
    whole = json.loads(encode(example("Connect")))
    decode(json.dumps(whole).encode())
    for ascii_only in (True, False):
        raw = json.dumps(whole | {"blob": blob}, ensure_ascii=ascii_only).encode()
        with pytest.raises(WireError, match=r"Connect\.blob is no bytes"):
            decode(raw)


@given(raw=st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes(raw: bytes) -> None:
    decodes_or_refuses(raw)


def test_twenty_thousand_mutations() -> None:
    dice = random.Random(20_240_602)
    samples = [encode(example(name)) for name in KINDS]
    decoded = 0
    for _ in range(20_000):
        raw = bytearray(dice.choice(samples))
        for _ in range(dice.randint(1, 3)):
            place = dice.randrange(len(raw)) if raw else 0
            match dice.randrange(4):
                case 0 if raw:
                    raw[place] = dice.choice(b'0123456789"{}[]:,.-eE\\u\x00\xff' + bytes(raw[:9]))
                case 1 if raw:
                    raw[place] ^= 1 << dice.randrange(8)
                case 2:
                    del raw[place : place + dice.randint(1, 4)]
                case _:
                    other = dice.choice(samples)
                    raw[place:place] = other[dice.randrange(len(other)) :][:9]
        decoded += decodes_or_refuses(bytes(raw))
    assert 200 < decoded < 19_800, "the fuzz reaches both outcomes"


def decodes_or_refuses(raw: bytes) -> bool:
    try:
        message = decode(raw)
    except WireError:
        return False
    assert decode(encode(message)) == message
    return True
