"""Every example in the documentation runs: Python blocks as programs, commands through the parser.

What wants a LiveKit server runs here on a fake room, and on a real one in integration/test_docs.py.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import docs_kit
from docs_kit import ROOT, Block, block_id, blocks, lines_missing
from ringroom.cli import _parser
from ringroom.context import Context
from ringroom.events import EventKind
from ringroom.metrics import Collector
from ringroom.options import PublishOptions, Reconnect, SessionOptions
from ringroom.pool.options import PoolOptions

# Each block is a program of its own, some of them with processes and people who speak.
pytestmark = [pytest.mark.once, pytest.mark.timeout(180)]
PATIENCE = 170.0
TOKEN = "header.claims.signature"
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


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


def _names_of_rows(page: str) -> set[str]:
    """What the first cells of its tables name."""
    cells = re.findall(r"^\| ([^|]+) \|", (ROOT / page).read_text(), re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)", cell)}


def _fields(options: type) -> set[str]:
    return {field.name for field in dataclasses.fields(options)}


def _metrics() -> set[str]:
    found = Collector({}).describe()
    return {one.name + ("_total" if one.type == "counter" else "") for one in found}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(_fields(SessionOptions), id="every provider"),
        pytest.param(_fields(PublishOptions), id="publish"),
        pytest.param(_fields(Reconnect), id="reconnect"),
        pytest.param(_fields(PoolOptions), id="pool"),
        pytest.param({name for name in vars(Context) if name[0] != "_"}, id="context"),
        pytest.param(set(EventKind.__members__), id="events"),
        pytest.param(_metrics(), id="metrics"),
    ],
)
def test_the_reference_has_a_row_for(names: set[str]) -> None:
    assert not names - _names_of_rows("docs/reference.md")


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
        target, _, anchor = match["target"].partition("#")
        if "://" not in target:
            page = (ROOT / file).parent / target if target else ROOT / file
            assert page.exists(), target
            assert not anchor or anchor in anchors(page.read_text()), match["target"]


def test_a_heading_is_an_anchor() -> None:
    page = "# A `Pool`, in short\n```sh\n# no heading\n```\n## 2. More\n## 2. More\n"
    assert anchors(page) == {"a-pool-in-short", "2-more", "2-more-1"}


def anchors(page: str) -> set[str]:
    """What a link may lead to within a page, as GitHub makes it of the headings."""
    made: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ +(.+)$", FENCED.sub("", page), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found.add(f"{words}-{made[words]}" if made[words] else words)
        made[words] += 1
    return found
