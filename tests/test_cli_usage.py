"""The command line: how it is used, and what it prints where."""

from __future__ import annotations

import io
import re
import sys

import pytest

import cli_kit
import ringroom
from cli_kit import SECRET
from ringroom.cli import main

no_environment = cli_kit.no_environment


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["demo", "--seconds", "0"],
        ["demo", "--seconds", "nan"],
        ["demo", "--workers", "1.5"],
        ["run"],
        ["run", "app:f", "--route", "somewhere"],
        ["token", "--room", "r"],
        ["run", "app:f", "--kinds", ""],
        ["run", "app:f", "--participants", ","],
        ["record", "call.mcap", "--tracks", ","],
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: ringroom" in capsys.readouterr().err


def test_version_and_providers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"ringroom \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)
    assert main(["providers"]) == 0
    assert {"fake", "livekit"} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize("words", [["providers"], ["token", "--room", "r", "--identity", "ann"]])
def test_without_standard_output_there_is_no_result(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell's ``>&-``: there is no such file object then."""
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    monkeypatch.setattr(sys, "stdout", None)
    assert main(words) == 1
    assert capsys.readouterr().err == "ringroom: error: standard output is closed\n"


def test_without_standard_output_and_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["providers"]) == 1
    assert main(["run", "no_such_module:x"]) == 2


def test_what_a_terminal_cannot_show_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's name that is no Unicode, or any name where the locale has a smaller alphabet."""
    monkeypatch.setattr(ringroom, "provider_names", lambda: ("fünf", "\udcff"))
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    assert main(["providers"]) == 0
    assert shown.getvalue() == b"f\\xfcnf\n\\udcff\n"


def test_ctrl_c_before_anything_runs_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> tuple[str, ...]:
        raise KeyboardInterrupt

    monkeypatch.setattr(ringroom, "provider_names", interrupted)
    assert main(["providers"]) == 130
