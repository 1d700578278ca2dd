"""Finds the code blocks of the documentation, and runs a Python block as its reader would.

A block is a file of its own, run by a fresh interpreter, or by pytest if it defines a test. The
comment ``<!-- needs: livekit -->`` right above the fence says that it wants a LiveKit server, given
by LIVEKIT_URL and LIVEKIT_TOKEN: `integration/test_docs.py` runs it on a real one. Here, and for
every change, it runs on a `FakeRoom` that answers to the provider's name (``python docs_kit.py
block.py``), with somebody in it who speaks for a moment before the room closes.

A page may tell of a program in several blocks: ``<!-- file: name.py -->`` makes a block a file that
the later ones of its page find beside them, a diff under ``<!-- change: name.py -->`` changes it,
and a test under ``<!-- fails -->`` must fail, until the next change, with the lines of the text
block after it in its output (``...`` stands for anything).
"""

from __future__ import annotations

import re
import runpy
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringroom.testing import FakeRoom

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(
    r"(?:^<!-- (?P<marker>[^\n]*?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
ROOM = "voice-room"
LISTENING_SECONDS = 0.5
# Plugins of these tests that a block does without: loading them takes half a second.
_WITHOUT = ("cacheprovider", "randomly", "xdist", "timeout", "hypothesispytest")
_PLAIN = tuple(word for name in _WITHOUT for word in ("-p", f"no:{name}"))


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block and where it stands."""

    file: str
    line: int
    language: str
    marker: str
    text: str
    files: Mapping[str, str]
    """What its page has made before it, or, a change, with it."""
    output: str = ""
    """Lines that a block that fails must print."""

    @property
    def fails(self) -> bool:
        return self.marker == "fails"

    @property
    def needs_livekit(self) -> bool:
        return self.marker == "needs: livekit"

    @property
    def is_test(self) -> bool:
        return "\ndef test_" in f"\n{self.text}"

    def command(self, snippet: Path) -> list[str]:
        """Writes it to that file, and the page's files beside it; what runs it."""
        for name, text in self.files.items():
            (snippet.parent / name).write_text(text)
        snippet.write_text(self.text)
        if self.is_test:
            return [sys.executable, "-m", "pytest", "-q", *_PLAIN, str(snippet)]
        return [sys.executable, str(snippet)]


def blocks(language: str) -> list[Block]:
    """Of README.md and docs/, in order."""
    pages = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    return [block for page in pages for block in _page(page) if block.language == language]


def _page(path: Path) -> list[Block]:
    text = path.read_text()
    found: list[Block] = []
    files: dict[str, str] = {}
    tested = ""
    for match in _FENCE.finditer(text):
        block = Block(
            file=str(path.relative_to(ROOT)),
            line=text.count("\n", 0, match.start("text")) + 1,
            language=match["language"],
            marker=match["marker"] or "",
            text=match["text"],
            files=dict(files),
        )
        what, _, name = block.marker.partition(": ")
        if what == "file":
            files[name] = block.text
        elif what == "change":
            files[name] = _changed(files[name], block.text)
            # What failed before the change is what must pass after it.
            block = replace(block, text=tested, files=dict(files))
        elif found and found[-1].fails and block.language == "text":
            found[-1] = replace(found[-1], output=block.text)
        if block.is_test:
            tested = block.text
        found.append(block)
    return found


def _changed(text: str, diff: str) -> str:
    """With each hunk of the diff in place; hunks are parted by lines that begin with ``@@``."""
    for hunk in re.split(r"^@@.*\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines()
        before = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
        after = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
        assert text.count(before) == 1, f"not once in the file:\n{before}"
        text = text.replace(before, after)
    return text


def lines_missing(expected: str, output: str) -> list[str]:
    """The lines that are not in the output; how wide its gaps are does not matter."""
    printed = [" ".join(line.split()) for line in output.splitlines()]
    wanted = [" ".join(line.split()) for line in expected.splitlines()]
    return [
        line
        for line in filter(None, wanted)
        if not any(
            re.fullmatch(re.escape(line).replace(r"\.\.\.", ".*"), found) for found in printed
        )
    ]


def block_id(block: Block) -> str:
    return f"{block.file}:{block.line}"


def _on_a_fake(snippet: str) -> None:
    import ringroom
    from ringroom.providers import registry
    from ringroom.providers.fake import Fake
    from ringroom.testing import FakeRoom

    registry._BUILT_IN["livekit"] = registry._BUILT_IN["fake"]
    registry._stand_ins["livekit"] = lambda options: Fake(**options)
    ringroom.LiveKit = Fake  # type: ignore[misc, assignment]
    made = Fake.__init__

    def in_the_tokens_room(self: Fake, **options: Any) -> None:
        made(self, **({"room": ROOM} | options))

    Fake.__init__ = in_the_tokens_room  # type: ignore[method-assign]
    with FakeRoom(ROOM) as room:
        speaker = threading.Thread(target=_converse, args=(room,), daemon=True)
        speaker.start()
        runpy.run_path(snippet, run_name="__main__")
        speaker.join(10)


def _converse(room: FakeRoom) -> None:
    """Somebody speaks; the room closes once an application has listened for a while."""
    room.join("ann").publish_audio().tone(seconds=60)
    application = room.wait_for_app(timeout=120)  # a pool may start first
    joins = 0
    while joins != application.joins or not application.joined:
        joins = application.joins
        time.sleep(LISTENING_SECONDS)
        if application.left and room.applications and not application.joined:
            return
    room.close_room()


if __name__ == "__main__":
    _on_a_fake(sys.argv[1])
