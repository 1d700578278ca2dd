"""The pytest plugin: a fake room, virtual time, a check for leaks, a real server, a room on it.

``fake_room``       a ``FakeRoom`` of the test's own, in virtual time if the test has that
``virtual_clock``   a ``VirtualClock`` of the test's own
``no_leaks``        fails a test that leaves a child, a descriptor or a thread behind; with
                    ``@pytest.mark.leaks("why")`` it may
``livekit_server``  one ``LiveKitServer`` for the whole run, started when the first test asks for it
``livekit_room``    a room of the test's own on that server: ``name``, ``url``, ``token(identity)``

``--livekit=auto`` (the default) skips the tests that want a server where none can be had, and says
why; ``required`` fails them; ``off`` skips them without trying. Those tests have the mark
``livekit``, so that ``-m "not livekit"`` leaves them out.

Pytest loads this file in every test run of an environment where ringroom is installed. So it
imports nothing but pytest until a fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ringroom.testing import FakeRoom, VirtualClock
    from ringroom.testing.server import LiveKitRoom, LiveKitServer

# How much of the server's log the report of a failed test shows; some lines are very long.
LOG_LINES = 80
LOG_COLUMNS = 300


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("ringroom").addoption(
        "--livekit",
        choices=("auto", "required", "off"),
        default="auto",
        help="tests that want a real LiveKit server, where there is none: "
        "skip them (auto), fail them (required); or never run them (off)",
    )
    parser.addini(
        "leak_grace",
        "seconds that what a test left behind may take to go away by itself (no_leaks)",
        default="10",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "livekit: wants a real LiveKit server (set by its fixtures)")
    config.addinivalue_line(
        "markers", "leaks(reason): may leave something behind, in spite of no_leaks"
    )


# Before pytest's own hook, which selects by mark.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "livekit_server" in getattr(item, "fixturenames", ()):
            item.add_marker("livekit")


@pytest.fixture
def fake_room(request: pytest.FixtureRequest) -> Iterator[FakeRoom]:
    """A room in memory; participants join it, speak and hear on the test's command. It lives in
    virtual time when the test uses ``virtual_clock``."""
    from ringroom.checks import MAX_NAME_BYTES
    from ringroom.testing import FakeRoom

    # A parametrized test may have a longer name than a room.
    name = request.node.name.encode(errors="replace")[:MAX_NAME_BYTES].decode(errors="ignore")
    virtual = "virtual_clock" in request.fixturenames
    clock = request.getfixturevalue("virtual_clock") if virtual else None
    with FakeRoom(name=name, clock=clock) as room:
        yield room


@pytest.fixture
def virtual_clock() -> Iterator[VirtualClock]:
    """Virtual time for one test: long calls take seconds and are the same every time. Give
    ``io=virtual_clock.io`` to the transport or pool."""
    from ringroom.testing import VirtualClock

    with VirtualClock() as clock:
        yield clock


@pytest.fixture
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test leaves the process as it found it: no child, descriptor or thread more.

    Ask for it by ``pytestmark = pytest.mark.usefixtures("no_leaks")``, or in the ini file for all
    tests: a fixture that is set up before a test's others looks after they are torn down.
    """
    from ringroom.testing import leaks

    if request.node.get_closest_marker("leaks"):
        yield
        return
    try:
        with leaks.nothing_left_behind(float(request.config.getini("leak_grace"))):
            yield
    except leaks.Leaked as leaked:
        pytest.fail(str(leaked), pytrace=False)


@pytest.fixture(scope="session")
def livekit_server(request: pytest.FixtureRequest) -> Iterator[LiveKitServer]:
    """A real server: ``url``, ``token(identity, room)``, ``stop()``, ``start()``, ``pause()``."""
    mode = request.config.getoption("--livekit")
    if mode == "off":
        pytest.skip("a LiveKit server is needed, and --livekit=off")
    from ringroom.testing.server import LiveKitServer, ServerUnavailable

    server = LiveKitServer()
    try:
        server.open()
    except ServerUnavailable as error:
        if mode == "required":
            pytest.fail(f"--livekit=required: {error}", pytrace=False)
        pytest.skip(str(error))
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def livekit_room(livekit_server: LiveKitServer) -> LiveKitRoom:
    """A room that no other test uses, on the real server."""
    return livekit_server.room("test")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    server: Any = getattr(item, "funcargs", {}).get("livekit_server")
    if report.failed and server is not None:
        report.sections.append(("LiveKit server log", _log_of(server)))
    return report


def _log_of(server: LiveKitServer) -> str:
    try:
        lines = server.logs().splitlines()
    except Exception as error:  # noqa: BLE001 - the test's own failure is what must be shown
        return f"not available: {error}"
    return "\n".join(line[:LOG_COLUMNS] for line in lines[-LOG_LINES:])
