"""A real server and real clients.

pytest-docker brings the server up; ``LiveKitServer`` is the handle that the tests hold, the same
one that the ``livekit_server`` fixture of the package's plugin gives to everybody else. The clients
are processes: ``go_client("ann")`` and ``browser("ben")`` join the test's ``livekit_room``.

What a client needs and this machine lacks (Go, Node, Chromium, opus-tools) skips the test with the
reason, or fails it under ``--livekit=required``.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import pytest

from integration.clients import tones
from integration.clients.building import GO_FOLDER, go_build, go_command
from integration.clients.client import Client
from integration.clients.relay import Relay
from integration.order import ordered
from integration.turns import turn
from ringroom.errors import StartupError
from ringroom.testing.backends.answering import is_ready
from ringroom.testing.backends.backend import ServerUnavailable
from ringroom.testing.backends.compose import ComposeProject, explained, remove_orphans
from ringroom.testing.server import LiveKitRoom, LiveKitServer

if TYPE_CHECKING:
    from integration.provider_kit import Server

CLIENTS = Path(__file__).parent / "clients"


class Joins(Protocol):
    """Starts a client, joins a room (the test's own unless told), and leaves after the test."""

    def __call__(self, identity: str, room: LiveKitRoom | None = None, **more: Any) -> Client: ...


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what runs in the background deaf to Ctrl-C, and children would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected lasts, and is most of the heap: the full garbage collection after each test
    would walk through all of it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.hookimpl(trylast=True)  # after pytest-randomly
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = ordered(items)


def pytest_xdist_auto_num_workers() -> int:
    """One for each two cores, but two at least: most wait for a server or a client."""
    return max(2, (os.cpu_count() or 1) // 2)


@pytest.fixture(autouse=True)
def its_turn(request: pytest.FixtureRequest) -> Iterator[None]:
    with turn(alone=request.node.get_closest_marker("alone") is not None):
        yield


@pytest.fixture(autouse=True)
def no_room_outlives_its_loop() -> Iterator[None]:
    """The SDK keeps a room that nobody left, for good, and tells each later test's events to it."""
    yield
    client = getattr(sys.modules.get("livekit.rtc._ffi_client"), "FfiClient", None)
    if client is not None and client._instance is not None:
        gc.collect()  # a room that nobody holds ends its subscription
        left = [one for one in client._instance.queue._subscribers if one[1].is_closed()]
        for queue, *_ in left:  # it is this test's alone
            client._instance.queue.unsubscribe(queue)
        assert not left, f"subscriptions to the SDK's events, of a loop that is closed: {left}"


def unavailable(request: pytest.FixtureRequest, reason: str) -> NoReturn:
    if request.config.getoption("--livekit") == "required":
        pytest.fail(f"--livekit=required: {reason}", pytrace=False)
    pytest.skip(reason)


def tool(request: pytest.FixtureRequest, *names: str) -> str:
    """The path of the first of the programs that is there."""
    for name in names:
        if path := shutil.which(name):
            return path
    unavailable(request, f"{' or '.join(names)} is not installed")


# The server


@pytest.fixture(scope="session")
def compose_project(request: pytest.FixtureRequest) -> ComposeProject:
    """The compose project of this run, on free ports, before anything is started."""
    try:
        return ComposeProject()
    except ServerUnavailable as error:
        unavailable(request, str(error))


@pytest.fixture(scope="session")
def docker_compose_command(compose_project: ComposeProject) -> str:
    return compose_project.shell_command


@pytest.fixture(scope="session")
def docker_compose_file(compose_project: ComposeProject) -> str:
    return str(compose_project.file)


@pytest.fixture(scope="session")
def docker_compose_project_name(compose_project: ComposeProject) -> str:
    remove_orphans()
    return compose_project.name


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    return ["up -d"]  # no --wait: docker-compose 1.29 does not know it


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return ["down -v --timeout 1"]


@pytest.fixture(scope="session")
def livekit_server(request: pytest.FixtureRequest) -> Iterator[LiveKitServer]:
    """The server that ``LIVEKIT_URL`` names, or else the one that pytest-docker brings up."""
    if request.config.getoption("--livekit") == "off":
        pytest.skip("a LiveKit server is needed, and --livekit=off")
    if os.environ.get("LIVEKIT_URL"):
        with LiveKitServer() as server:
            yield server
        return
    project = request.getfixturevalue("compose_project")
    try:
        services = request.getfixturevalue("docker_services")
    except Exception as error:
        # Pytest-docker raises nothing narrower, and takes down only what has come up: a container
        # that was made and not started would stay.
        with contextlib.suppress(StartupError):
            project.down()
        why = explained(str(error))
        if isinstance(why, ServerUnavailable):
            unavailable(request, str(why))
        raise
    services.wait_until_responsive(lambda: is_ready(project.url), timeout=30, pause=0.05)
    with LiveKitServer(project) as server:
        yield server


@pytest.fixture(scope="session")
def spare_server(livekit_server: LiveKitServer) -> Iterator[LiveKitServer]:
    assert livekit_server  # that there is one means that another can be had
    with LiveKitServer() as server:
        yield server


@pytest.fixture
def own(spare_server: LiveKitServer) -> Iterator[LiveKitServer]:
    """A server that nobody else uses, to be stopped and paused; the next test finds it running."""
    yield spare_server
    if not os.environ.get("LIVEKIT_URL") and not is_ready(spare_server.url):
        with contextlib.suppress(StartupError):  # it is not paused
            spare_server.resume()
        spare_server.start()


@pytest.fixture
def server(livekit_server: LiveKitServer) -> Server:
    """A room of its own on it, for the provider's tests."""
    from integration.provider_kit import Server

    return Server(livekit_server)


# The clients


@pytest.fixture(scope="session")
def go_binary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go client, built once (a minute the first time, seconds from Go's cache)."""
    go = go_command()
    if go is None:
        unavailable(request, "go is not installed")
    folder = _folder_of_the_run(tmp_path_factory)
    binary = folder / "go-client"
    with (folder / "go-client.lock").open("wb") as turn_to_build:
        # Each of pytest's workers comes here, and would compile all of it.
        fcntl.flock(turn_to_build, fcntl.LOCK_EX)
        if not binary.exists():
            command, environment = go_build(go, binary)
            _run(command, GO_FOLDER, environment)
    return binary


@pytest.fixture(scope="session")
def browser_command(request: pytest.FixtureRequest) -> tuple[list[str], dict[str, str]]:
    """What starts the browser's driver; its packages are installed once, as the lock file says."""
    folder = CLIENTS / "browser"
    node = tool(request, "node")
    npm = tool(request, "npm")
    chromium = os.environ.get("CHROMIUM") or tool(request, "chromium", "chromium-browser")
    installed, lock = folder / "node_modules" / ".package-lock.json", folder / "package-lock.json"
    with lock.open("rb") as turn_to_install:
        fcntl.flock(turn_to_install, fcntl.LOCK_EX)  # each of pytest's workers comes here
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            _run([npm, "ci", "--no-audit", "--no-fund"], folder)
    return [node, str(folder / "driver.mjs")], {"CHROMIUM": chromium}


@pytest.fixture
def go_client(go_binary: Path, livekit_room: LiveKitRoom, tmp_path: Path) -> Iterator[Joins]:
    """Go's SDK; ``publish("a", file=opus("a", 440), loop=True)``, ``received()``, ``leave()``."""
    with contextlib.ExitStack() as clients:

        def join(identity: str, room: LiveKitRoom | None = None) -> Client:
            client = clients.enter_context(Client([go_binary]))
            folder = tmp_path / f"heard-by-{identity}"
            folder.mkdir(exist_ok=True)
            where = room or livekit_room
            client.join(where.url, where.token(identity), folder=str(folder))
            return client

        yield join


@pytest.fixture
def browser(
    browser_command: tuple[list[str], dict[str, str]], livekit_room: LiveKitRoom
) -> Iterator[Joins]:
    """Chromium; ``publish("mic", source="microphone")``, ``measure(seconds)``, ``leave()``. With
    ``relay=`` all that it sends and receives goes that way."""
    with contextlib.ExitStack() as clients:

        def join(
            identity: str, room: LiveKitRoom | None = None, relay: Relay | None = None
        ) -> Client:
            client = clients.enter_context(Client(*browser_command))
            client.wait_for("ready", timeout=60)
            where = room or livekit_room
            token = where.token(identity, can_update_own_metadata=True)
            if relay is None:
                client.join(where.url, token)
            else:
                client.join(relay.url, token, media_port=relay.media_port)
            return client

        yield join


@pytest.fixture(scope="session")
def opus(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., str]:
    """``opus(440)``: the path of an Ogg Opus file with that tone, for the Go client."""
    tool(request, "opusenc")
    folder = tmp_path_factory.mktemp("opus")

    def tone(frequency: float, seconds: float = 10.0, amplitude: float = 0.3) -> str:
        path = folder / f"{frequency:g}-{seconds:g}-{amplitude:g}.ogg"
        if not path.exists():
            tones.encoded(path, tones.sine(frequency, seconds, amplitude))
        return str(path)

    return tone


def _folder_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of pytest's workers have the same."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def _run(command: list[str], folder: Path, environment: Any = None) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
