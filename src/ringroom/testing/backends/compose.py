"""A LiveKit server in a container, by Docker Compose."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from ringroom.errors import StartupError
from ringroom.system import process_status
from ringroom.testing.backends.backend import Ports, PortTaken, ServerUnavailable

__all__ = [
    "ComposeProject",
    "compose_command",
    "compose_file",
    "explained",
    "remove_orphans",
]

OWNER_LABEL = "ringroom.owner"

COMMAND_SECONDS = 120.0  # `up` may pull the image


# What the container's runtime says where the kernel did not get all threads to stand still in time,
# as on a busy machine; and how often it is asked.
_NOT_FROZEN = "unable to freeze"
_FREEZES = 5


@dataclass(frozen=True, kw_only=True)
class ComposeProject:
    """One run of the compose file under a name and on ports that no other run has.

    ``ServerUnavailable`` when Compose is not installed.
    """

    ports: Ports = field(default_factory=Ports.free)
    name: str = field(default_factory=lambda: f"ringroom-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    command: tuple[str, ...] = field(default_factory=lambda: compose_command())
    file: Path = field(default_factory=lambda: compose_file())

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.ports.http}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the compose file reads."""
        return self.ports.variables | {"RINGROOM_LIVEKIT_OWNER": _owner()}

    @property
    def shell_command(self) -> str:
        """The command with its variables, as pytest-docker's ``docker_compose_command``."""
        variables = (f"{name}={value}" for name, value in self.environment.items())
        return shlex.join(["env", *variables, *self.command])

    def up(self) -> None:
        remove_orphans()
        try:
            self._compose("up", "-d")
        except StartupError as error:
            raise explained(str(error)) from None

    def down(self) -> None:
        self._compose("down", "-v", "--timeout", "1")

    def alive(self) -> bool:
        return True

    def kill(self) -> None:
        self._compose("kill")

    def restart(self) -> None:
        self._compose("start")

    def pause(self) -> None:
        for _ in range(_FREEZES - 1):
            try:
                self._compose("pause")
            except StartupError as error:
                if _NOT_FROZEN not in str(error):
                    raise
            else:
                return
        self._compose("pause")

    def resume(self) -> None:
        self._compose("unpause")

    def logs(self) -> str:
        return self._compose("logs", "--no-color", "--no-log-prefix")

    def _compose(self, *arguments: str) -> str:
        command = [*self.command, "-f", str(self.file), "-p", self.name, *arguments]
        return _run(command, os.environ | self.environment)


def compose_command() -> tuple[str, ...]:
    """``docker compose`` or ``docker-compose``; ``ServerUnavailable`` when there is neither."""
    if shutil.which("docker"):
        with contextlib.suppress(StartupError):
            _run(["docker", "compose", "version"])
            return ("docker", "compose")
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    raise ServerUnavailable(
        "Docker Compose is not installed: neither `docker compose` nor `docker-compose` works "
        "(on Debian: apt-get install docker.io docker-compose)"
    )


def compose_file() -> Path:
    """``docker-compose.livekit.yml``: beside this module in a wheel, else atop the source tree."""
    name = "docker-compose.livekit.yml"
    here = Path(__file__).resolve()
    for folder in (here.parent, here.parents[4]):
        if (folder / name).is_file():
            return folder / name
    raise StartupError(f"{name} is missing from this installation")


def remove_orphans() -> None:
    """Removes the containers of killed test runs on this machine."""
    listing = ["docker", "ps", "-a", "--filter", f"label={OWNER_LABEL}"]
    form = f'{{{{.ID}}}} {{{{.Label "{OWNER_LABEL}"}}}}'
    with contextlib.suppress(StartupError):  # no Docker, no engine: `up` says so better
        for line in _run([*listing, "--format", form]).splitlines():
            container, _, owner = line.partition(" ")
            if _is_dead(owner):
                _run(["docker", "rm", "-f", container])


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """What the command printed; ``StartupError`` with it when the command fails or hangs."""
    try:
        done = subprocess.run(  # noqa: S603
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        output = error.output.decode(errors="replace").strip()
        raise StartupError(f"{shlex.join(command)} failed:\n{output}") from None
    except subprocess.TimeoutExpired:
        raise StartupError(f"{shlex.join(command)} hung for {COMMAND_SECONDS:g} s") from None
    except OSError as error:
        raise StartupError(f"{shlex.join(command)} cannot be run: {error}") from None
    return done.stdout.decode(errors="replace")


def explained(output: str) -> StartupError:
    """The error that tells the user what to do about a failed ``up``."""
    text = output.lower()
    if "already allocated" in text or "already in use" in text:
        return PortTaken(output)
    # The words of `docker compose`, of docker-compose, and of docker-compose without a socket.
    signs = ("connect to the docker daemon", "connect to docker daemon", "server api version")
    if any(sign in text for sign in signs):
        return ServerUnavailable(
            f"no Docker engine answers: start one (dockerd), then try again. {_last_line(output)}"
        )
    if any(sign in text for sign in ("pull", "registry", "manifest", "no such image", "hung")):
        return ServerUnavailable(
            "the LiveKit image is not on this machine and cannot be pulled: `docker pull` it where "
            "there is a registry, or run scripts/build-livekit-image of the source tree. "
            + _last_line(output)
        )
    return StartupError(output)


def _last_line(output: str) -> str:
    """Where both commands say what is wrong; before it docker-compose prints a traceback."""
    lines = [line for line in output.splitlines() if line.strip(' ".')]
    return lines[-1] if lines else ""


def _owner() -> str:
    """This process, told apart from a later one with the same number by its start time."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def _is_dead(owner: str) -> bool:
    host, pid, started = (*owner.rsplit(":", 2), "", "")[:3]
    # Another machine's processes cannot be seen from here.
    return host == socket.gethostname() and pid.isdigit() and _started(int(pid)) != started


def _started(pid: int) -> str:
    """When the process began, in the kernel's ticks; empty for one that is gone."""
    return "".join(process_status(pid)[19:20])  # field 22
