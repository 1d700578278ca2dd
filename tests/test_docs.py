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
from docs_kit import ROOT, Block, block_id, blocks
from ringroom.cli import _parser

TOKEN = "header.claims.signature"
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@pytest.mark.parametrize("block", blocks("python"), ids=block_id)
def test_a_python_block_runs(block: Block, tmp_path: Path) -> None:
    command = block.command(tmp_path / "snippet.py")
    if block.needs_livekit:
        command = [sys.executable, docs_kit.__file__, str(tmp_path / "snippet.py")]
    environment = os.environ | {"LIVEKIT_URL": "ws://127.0.0.1:1", "LIVEKIT_TOKEN": TOKEN}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_markers_are_known() -> None:
    known = {"", "needs: livekit", "demo-command", "test-command"}
    every = [block for language in ("python", "sh") for block in blocks(language)]
    assert {block.marker for block in every} <= known
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
