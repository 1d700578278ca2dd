"""The ways to run a LiveKit server: somebody else's, Docker Compose, a program.

``server.py`` chooses among them and waits until the server answers. Each is one class with the
methods of ``Backend``; the rest of this file is what they share.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import textwrap
import uuid
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit

from ringroom.errors import ConfigurationError, StartupError
from ringroom.providers.livekit.spec import checked_url
from ringroom.system import process_status

__all__ = [
    "Backend",
    "ComposeProject",
    "External",
    "PortTaken",
    "Ports",
    "Program",
    "ServerUnavailable",
    "ask",
    "compose_command",
    "compose_file",
    "explained",
    "is_lasting",
    "is_ready",
    "remove_orphans",
]

API_KEY = "devkey"
API_SECRET = "ringroom-development-secret-not-for-production"  # noqa: S105
OWNER_LABEL = "ringroom.owner"

ANSWER_SECONDS = 2.0  # for one `GET /`
COMMAND_SECONDS = 120.0  # `up` may pull the image

# Below the range that the kernel hands out to outgoing connections, so that none of those takes a
# port between the moment it is chosen and the moment the server binds it.
FIRST_PORT, LAST_PORT = 20000, 32000


class ServerUnavailable(StartupError):
    """Nothing on this machine can run a LiveKit server; the message says what to do about it."""


class PortTaken(StartupError):
    """Another program bound one of the ports first."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The three numbers of a server, the same inside and outside of its container."""

    http: int
    tcp: int
    udp: int

    @classmethod
    def free(cls) -> Ports:
        """Three ports that were free a moment ago."""
        return cls(
            http=_free_port(socket.SOCK_STREAM),
            tcp=_free_port(socket.SOCK_STREAM),
            udp=_free_port(socket.SOCK_DGRAM),
        )


def _free_port(kind: socket.SocketKind) -> int:
    # Not the shared generator: test runs side by side are often seeded alike.
    draw = random.SystemRandom()
    for _ in range(200):
        port = draw.randint(FIRST_PORT, LAST_PORT)
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
    raise StartupError(f"no free port between {FIRST_PORT} and {LAST_PORT}")


class Backend(Protocol):
    """A way to run a server. ``down`` may be called at any time, and more than once."""

    @property
    def url(self) -> str: ...
    def up(self) -> None: ...
    def down(self) -> None: ...
    def alive(self) -> bool: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def logs(self) -> str: ...


class External:
    """A server that runs already, and that is not started or ended here. Raises
    `ConfigurationError` for a URL that is none."""

    def __init__(self, url: str) -> None:
        self.url = checked_url(url)

    def up(self) -> None:
        pass

    def down(self) -> None:
        pass

    def alive(self) -> bool:
        return True

    def kill(self) -> None:
        raise ConfigurationError("the server that LIVEKIT_URL names is not ours to stop or pause")

    restart = pause = resume = kill

    def logs(self) -> str:
        return ""


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
        return _variables(self.ports) | {"RINGROOM_LIVEKIT_OWNER": _owner()}

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
        self._compose("pause")

    def resume(self) -> None:
        self._compose("unpause")

    def logs(self) -> str:
        return self._compose("logs", "--no-color", "--no-log-prefix")

    def _compose(self, *arguments: str) -> str:
        command = [*self.command, "-f", str(self.file), "-p", self.name, *arguments]
        return _run(command, os.environ | self.environment)


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
        config = _substituted(_inline_config(compose_file()), _variables(self._ports))
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
    for folder in (here.parent, here.parents[3]):
        if (folder / name).is_file():
            return folder / name
    raise StartupError(f"{name} is missing from this installation")


def ask(url: str) -> None:
    """Returns once the server at ``url`` (ws, wss, http or https) has answered ``GET /`` with 200.
    Raises `OSError` or `HTTPException`, which say why it has not."""
    parts = urlsplit(url)
    secure = parts.scheme in ("wss", "https")
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/")
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise HTTPException(f"GET / is answered with status {status}")


def is_ready(url: str) -> bool:
    """Whether `ask` returns."""
    try:
        ask(url)
    except (OSError, HTTPException):
        return False
    return True


def is_lasting(error: OSError | HTTPException) -> bool:
    """Whether `ask` would raise the same error however often it is called."""
    unknown_host = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
    return unknown_host or isinstance(error, ssl.SSLCertVerificationError)


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


def _variables(ports: Ports) -> dict[str, str]:
    return {
        "RINGROOM_LIVEKIT_PORT": str(ports.http),
        "RINGROOM_LIVEKIT_TCP_PORT": str(ports.tcp),
        "RINGROOM_LIVEKIT_UDP_PORT": str(ports.udp),
        "RINGROOM_LIVEKIT_API_KEY": API_KEY,
        "RINGROOM_LIVEKIT_API_SECRET": API_SECRET,
    }


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
