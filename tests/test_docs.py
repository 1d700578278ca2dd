"""Every example in the documentation runs: Python blocks as programs, commands through the parser.

What wants a LiveKit server runs here on a fake room, and on a real one in integration/test_docs.py.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import docs_kit
from docs_kit import ROOT, Block, block_id, blocks, lines_missing
from ringroom.cli import _parser

# Each block is a program of its own, some of them with processes and people who speak.
pytestmark = [pytest.mark.once, pytest.mark.timeout(180)]
PATIENCE = 170.0
TOKEN = "header.claims.signature"
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    command = block.command(folder / "snippet.py")
    if block.needs_livekit:
        command = [sys.executable, docs_kit.__file__, str(folder / "snippet.py")]
    environment = os.environ | {"LIVEKIT_URL": "ws://127.0.0.1:1", "LIVEKIT_TOKEN": TOKEN}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.parametrize(
    "block", [block for block in blocks("python") if not block.fails], ids=block_id
)
def test_a_python_block_runs(block: Block, tmp_path: Path) -> None:
    done = run(block, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "block", [block for block in blocks("python") if block.fails], ids=block_id
)
def test_a_block_that_shows_a_defect_fails_as_it_says(block: Block, tmp_path: Path) -> None:
    done = run(block, tmp_path)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert block.output.strip(), "say in a text block what it prints"
    assert not lines_missing(block.output, done.stdout), done.stdout


@pytest.mark.parametrize("block", blocks("diff"), ids=block_id)
def test_a_change_mends_what_failed(block: Block, tmp_path: Path) -> None:
    done = run(block, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_line_that_is_not_printed_is_missed() -> None:
    assert lines_missing("one ... three\n\n  E  four", "x\n  one two three \nE  four") == []
    assert lines_missing("one ... three\n", "one two\nthree") == ["one ... three"]


def test_markers_are_known() -> None:
    known = {"", "needs: livekit", "demo-command", "test-command", "fails", "file", "change"}
    every = [block for language in ("python", "sh", "diff") for block in blocks(language)]
    markers = {block.marker for block in every}
    assert {re.sub(r"^(file|change): .*", r"\1", marker) for marker in markers} <= known
    assert len(blocks("python")) > 5


def _commands() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.text.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if re.match(r"(\.venv/bin/)?ringroom\b", part)]


@pytest.mark.parametrize("command", _commands())
def test_a_command_parses(command: str) -> None:
    words = shlex.split(command, comments=True)
    assert callable(_parser().parse_args(words[1:]).command)


@pytest.mark.parametrize(
    "file",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        *[str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))],
    ],
)
def test_links_lead_somewhere(file: str) -> None:
    for match in LINK.finditer((ROOT / file).read_text()):
        target = match["target"].partition("#")[0]
        if target and "://" not in target:
            assert ((ROOT / file).parent / target).exists(), target
