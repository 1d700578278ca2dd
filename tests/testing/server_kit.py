"""Small stand-ins for Docker, Compose and the server, on a ``PATH`` of the test's own.

The real ones are in integration/test_server.py.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringroom.testing.server import LiveKitServer

FAKE_SERVER = """
    import http.server, os, re, sys
    config = os.environ["LIVEKIT_CONFIG"]
    print("config:", config, flush=True)
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(b"OK")
        def log_message(self, *args): pass
    port = int(re.search(r"^port: (\\d+)$", config, re.M)[1])
    http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


# A test module takes these by assignment: ruff takes a fixture that is imported for unused.
@pytest.fixture(autouse=True)
def no_server_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)


class Programs:
    """A folder that is the whole ``PATH``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def shell(self, name: str, script: str) -> None:
        self._write(name, "#!/bin/sh\n" + textwrap.dedent(script))

    def python(self, name: str, script: str) -> None:
        self._write(name, f"#!{sys.executable}\n" + textwrap.dedent(script))

    def _write(self, name: str, text: str) -> None:
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Programs(folder)


@pytest.fixture
def running(path: Programs) -> Iterator[LiveKitServer]:
    """A stand-in for the server that was started by its name."""
    path.python("livekit-server", FAKE_SERVER)
    with LiveKitServer() as server:
        yield server
