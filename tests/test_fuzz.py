"""A short run of fuzz_kit.py; a million cases by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz_kit import ALL, Decoder, a_record, fuzz
from ringroom.errors import WireError


@pytest.mark.parametrize("make", ALL)
def test_damaged_bytes_give_a_value_or_a_wire_error(make: Callable[[], Decoder]) -> None:
    decoder = make()
    try:
        for seed in decoder.seeds:
            assert decoder.check(seed), "the undamaged bytes are read"
            assert decoder.whole in (None, decoder.decode(seed)), "to their end"
        values = fuzz(decoder, 2_000, seed=1)
    finally:
        getattr(decoder, "close", lambda: None)()
    assert values > 0
    if decoder.name not in ("recording", "link"):  # they end where the damage is, and say so
        assert values < 300


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=20, deadline=None)
def test_any_seed(seed: int) -> None:
    fuzz(a_record(), 10, seed)


def test_another_error_is_told_with_its_bytes() -> None:
    def decode(raw: bytes) -> None:
        raise KeyError(raw)

    with pytest.raises(KeyError) as caught:
        fuzz(Decoder("wrong", [b"abc"], decode), 1, seed=3)
    assert "wrong, seed 3" in caught.value.__notes__[0]
    with pytest.raises(WireError):
        a_record().decode(b"")
