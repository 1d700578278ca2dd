"""What an I/O process may take of memory."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from loop_kit import run_virtual
from ringroom.errors import ConfigurationError
from ringroom.processes import footprint
from ringroom.processes.hosts import IOProcess

MIB = 1 << 20


def test_what_is_this_process_s_own_is_measured() -> None:
    before = footprint.own_memory()
    assert before > 5 * MIB
    kept = b"x" * (100 * MIB)
    assert footprint.own_memory() - before > 90 * MIB
    assert len(kept)


def test_what_others_see_too_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: "900 500 300 1 0 200 0\n")
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4_096}.__getitem__)
    assert footprint.own_memory() == 200 * 4_096


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", nothing)
    assert footprint.own_memory() == 0


@pytest.mark.parametrize(
    ("told", "limit"),
    [
        ({}, 4_000 * MIB),
        ({"2": "max"}, 4_000 * MIB),
        ({"2": f"{3_000 * MIB}\n"}, 1_500 * MIB),
        ({"1": "9223372036854771712\n"}, 4_000 * MIB),
        ({"2": "max", "1": f"{2_000 * MIB}"}, 1_000 * MIB),
        ({"2": f"{100 * MIB}"}, footprint.LEAST),
    ],
)
def test_by_default_it_is_half_of_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, str], limit: int
) -> None:
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": MIB, "SC_PHYS_PAGES": 8_000}.__getitem__)
    for name, text in told.items():
        (tmp_path / name).write_text(text)
    assert footprint.default_limit((str(tmp_path / "2"), str(tmp_path / "1"))) == limit


def test_who_takes_too_much_ends_at_the_next_look(caplog: pytest.LogCaptureFixture) -> None:
    sizes = iter([10 * MIB, 64 * MIB, 65 * MIB, 70 * MIB])
    ended: list[tuple[int, float]] = []

    async def main(loop: object) -> None:
        time = loop.time  # type: ignore[attr-defined]
        began = time()
        await footprint.watch(
            64 * MIB, lambda: next(sizes), lambda code: ended.append((code, time() - began))
        )

    with caplog.at_level(logging.ERROR, "ringroom.io"):
        run_virtual(main)
    assert ended == [(footprint.TOO_LARGE, 2 * footprint.LOOK_SECONDS)]
    assert "has taken 65 MiB of memory, more than the 64 MiB" in caplog.text


@pytest.mark.parametrize("value", [0, 64 * MIB - 1, 1e9, "1 GiB", True])
def test_a_limit_that_is_none(value: object) -> None:
    with pytest.raises(ConfigurationError, match="max_memory"):
        IOProcess(max_memory=value)  # type: ignore[arg-type]
