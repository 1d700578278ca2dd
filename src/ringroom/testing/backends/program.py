"""A LiveKit server as a child process: the program ``livekit-server``."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import textwrap
from pathlib import Path
from typing import IO

from ringroom.testing.backends.backend import Ports, ServerUnavailable
from ringroom.testing.backends.compose import compose_file

__all__ = ["Program"]


class Program:
    """``livekit-server`` as a child process, configured as the compose file says."""

    def __init__(self) -> None:
        program = shutil.which("livekit-server")
        if program is None:
            raise ServerUnavailable("there is no livekit-server on the PATH")
        self._path = program
        self._ports = Ports.free()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - down() closes it

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._ports.http}"

    def up(self) -> None:
        config = _substituted(_inline_config(compose_file()), self._ports.variables)
        # A session of its own: Ctrl-C is for the tests, which then take the server down.
        self._process = subprocess.Popen(  # noqa: S603
            [self._path],
            env=os.environ | {"LIVEKIT_CONFIG": config},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def restart(self) -> None:
        if not self.alive():
            self.up()

    def down(self) -> None:
        self.kill()
        self._log.close()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def logs(self) -> str:
        if self._log.closed:
            return ""
        # The server writes through the same open file: read without moving its position.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)


def _inline_config(file: Path) -> str:
    """The server's configuration as it stands in the compose file."""
    lines = file.read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.strip() == "LIVEKIT_CONFIG: |") + 1
    margin = len(lines[start]) - len(lines[start].lstrip())
    end = next(n for n in range(start, len(lines)) if not lines[n].startswith(" " * margin))
    return textwrap.dedent("\n".join(lines[start:end])) + "\n"


def _substituted(text: str, variables: dict[str, str]) -> str:
    """``${NAME:-default}`` as Compose replaces it."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: variables.get(m[1]) or m[2], text)
