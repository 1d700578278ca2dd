"""The people of a real room: Go clients that speak pre-encoded sound, and one that listens.

Needs what the integration suite needs: Docker or a `livekit-server`, Go, and opus-tools.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from bench.environments import Unavailable
from integration.clients import tones
from integration.clients.building import GO_FOLDER, go_build, go_command
from integration.clients.client import Client, ClientError
from ringroom.testing.server import LiveKitRoom, LiveKitServer

__all__ = ["APP", "ClientError", "Crowd", "Heard", "judged"]

BUILD_SECONDS = 600
APP = "app"
CHOIR_TRACKS = 10


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What came of the application's track at somebody else's end."""

    seconds: float
    """Of sound; silence does not count."""
    longest_gap: float


class Crowd:
    """A server and its clients; a context manager. Raises `Unavailable` for what is not here."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._go = _built(folder)
            if shutil.which("opusenc") is None:
                raise Unavailable("opusenc is not installed")
            self._voice = tones.encoded(folder / "voice.ogg", tones.sine(300, 10.0))
            try:
                self.server = stack.enter_context(LiveKitServer())
            except Exception as error:
                raise Unavailable(f"no LiveKit server: {error}") from error
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def listener(self, room: LiveKitRoom) -> Iterator[Client]:
        """Hears the application, and nobody else."""
        with tempfile.TemporaryDirectory() as folder, Client([self._go]) as client:
            client.join(room.url, room.token("ear"), folder=folder, only=[APP])
            yield client

    @contextlib.contextmanager
    def speakers(self, room: LiveKitRoom, count: int) -> Iterator[None]:
        """So many participants, each with one track that goes on for ever."""
        with contextlib.ExitStack() as clients:
            for number in range(count):
                client = clients.enter_context(Client([self._go]))
                token = room.token(f"p{number}", can_subscribe=False)
                client.join(room.url, token)
                client.publish("mic", file=str(self._voice), loop=True)
            yield

    @contextlib.contextmanager
    def choir(self, room: LiveKitRoom, tracks: int) -> Iterator[None]:
        """So many tracks that go on for ever, of as few participants as can carry them."""
        with contextlib.ExitStack() as clients:
            for start in range(0, tracks, CHOIR_TRACKS):
                client = clients.enter_context(Client([self._go]))
                client.join(room.url, room.token(f"choir{start}", can_subscribe=False))
                for number in range(start, min(start + CHOIR_TRACKS, tracks)):
                    client.publish(f"mic{number}", file=str(self._voice), loop=True)
            yield

    def server_pids(self) -> tuple[int, ...]:
        """Of the server's container, if that is how it runs: no descendant of this process."""
        if shutil.which("docker") is None:
            return ()
        form = '{{.ID}} {{.Label "ringroom.owner"}}'  # the label names the process that owns it
        listed = _run("docker", "ps", "--format", form).splitlines()
        mine = [line.split()[0] for line in listed if f":{os.getpid()}:" in line]
        pids = [_run("docker", "inspect", "-f", "{{.State.Pid}}", name) for name in mine]
        return tuple(int(pid) for pid in pids if pid.isdigit())


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip()


def _built(folder: Path) -> Path:
    go = go_command()
    if go is None:
        raise Unavailable("go is not installed")
    binary = folder / "client"
    command, environment = go_build(go, binary)
    done = subprocess.run(
        command,
        cwd=GO_FOLDER,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"the Go client does not build: {done.stderr[-500:]}")
    return binary


def judged(listener: Client, seconds: float) -> Heard:
    """The listener leaves, and tells what it heard in that time from the first sound on."""
    tracks = listener.received()
    files = [track["file"] for (who, _), track in tracks.items() if who == APP and track["file"]]
    listener.call("leave")
    block = int(tones.RATE * tones.BLOCK)
    wanted = int(seconds / tones.BLOCK)
    loud = np.zeros(wanted, bool)
    if files:
        with contextlib.suppress(subprocess.CalledProcessError):  # not one packet in the file
            sound = tones.decoded(files[0])
            blocks = sound[: len(sound) // block * block].reshape(-1, block)
            heard = np.sqrt((blocks**2).mean(axis=1)) >= tones.SILENCE
            first = int(heard.argmax())
            part = heard[first : first + wanted]
            loud[: len(part)] = part
    return Heard(seconds=float(loud.sum()) * tones.BLOCK, longest_gap=_longest(~loud))


def _longest(silent: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    longest = run = 0
    for quiet in silent:
        run = run + 1 if quiet else 0
        longest = max(longest, run)
    return longest * tones.BLOCK
