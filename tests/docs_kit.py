"""Finds the code blocks of the documentation, and runs a Python block as its reader would.

A block is a file of its own, run by a fresh interpreter, or by pytest if it defines a test. The
comment ``<!-- needs: livekit -->`` right above the fence says that it wants a LiveKit server, given
by LIVEKIT_URL and LIVEKIT_TOKEN: `integration/test_docs.py` runs it on a real one. Here, and for
every change, it runs on a `FakeRoom` that answers to the provider's name (``python docs_kit.py
block.py``), with somebody in it who speaks for a moment before the room closes.
"""

from __future__ import annotations

import re
import runpy
import sys
import threading
import time
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block and where it stands."""

    file: str
    line: int
    language: str
    marker: str
    text: str

    @property
    def needs_livekit(self) -> bool:
        return self.marker == "needs: livekit"

    @property
    def is_test(self) -> bool:
        return "\ndef test_" in f"\n{self.text}"

    def command(self, snippet: Path) -> list[str]:
        """Writes it to that file; what runs it."""
        snippet.write_text(self.text)
        if self.is_test:
            return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(snippet)]
        return [sys.executable, str(snippet)]


def blocks(language: str) -> list[Block]:
    """Of README.md and docs/, in order."""
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text()
        found += [
            Block(
                file=str(path.relative_to(ROOT)),
                line=text.count("\n", 0, match.start("text")) + 1,
                language=match["language"],
                marker=match["marker"] or "",
                text=match["text"],
            )
            for match in _FENCE.finditer(text)
            if match["language"] == language
        ]
    return found


def block_id(block: Block) -> str:
    return f"{block.file}:{block.line}"


def _on_a_fake(snippet: str) -> None:
    import ringroom
    from ringroom.providers import registry
    from ringroom.providers.fake import Fake
    from ringroom.testing import FakeRoom

    registry._BUILT_IN["livekit"] = registry._BUILT_IN["fake"]
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
    application = room.wait_for_app(timeout=20)
    joins = 0
    while joins != application.joins or not application.joined:
        joins = application.joins
        time.sleep(LISTENING_SECONDS)
        if application.left and room.applications and not application.joined:
            return
    room.close_room()


if __name__ == "__main__":
    _on_a_fake(sys.argv[1])
