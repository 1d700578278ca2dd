"""The plugin as other people's test runs see it."""

from __future__ import annotations

import pytest

# Loaded out here: a run in this process forgets what it was the first to import, but not that the
# package has it.
import ringroom.testing.server  # noqa: F401
from ringroom.testing import FakeRoom

pytestmark = pytest.mark.once

WANTS_A_SERVER = """
    def test_talks(livekit_room):
        assert livekit_room.url
"""

# Stands in for Docker and for the server: what is tested here is what the plugin makes of them.
STAND_IN = """
    from importlib import import_module

    import pytest

    # As an attribute of its package it may be another, of a test run before in this process.
    server = import_module("ringroom.testing.server")

    class Fake:
        closed = 0
        def open(self): {open}
        def close(self): Fake.closed += 1
        def logs(self): {logs}
        def room(self, name): return server.LiveKitRoom(name=name, server=self)
        url = "ws://127.0.0.1:1"

    @pytest.fixture(scope="session", autouse=True)
    def replaced():
        server.LiveKitServer, real = Fake, server.LiveKitServer
        yield
        server.LiveKitServer = real
        print("closed", Fake.closed)
"""


@pytest.fixture
def bare(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test run on a machine with neither Docker nor a server."""
    for name in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(pytester.path))
    pytester.makepyfile(WANTS_A_SERVER)
    return pytester


def stand_in(pytester: pytest.Pytester, open_: str = "pass", logs: str = "return ''") -> None:
    pytester.makeconftest(STAND_IN.format(open=open_, logs=logs))


def test_loading_it_imports_pytest_and_nothing_else(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_imports():
            assert "ringroom.pytest_plugin" in sys.modules
            ours = {name for name in sys.modules if name.startswith("ringroom.")}
            assert ours == {"ringroom.pytest_plugin"}
            heavy = ("numpy", "livekit", "docker", "multiprocess", "dill", "rich", "asyncio")
            assert not set(heavy) & set(sys.modules)
        """
    )
    # The other plugins of this environment import what they like: only ours is loaded.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = pytester.runpytest_subprocess("-p", "ringroom.pytest_plugin")
    result.assert_outcomes(passed=1)


def test_it_is_loaded_without_being_asked_for(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--fixtures")
    result.stdout.fnmatch_lines_random(["livekit_server *", "livekit_room *", "fake_room *"])


def test_auto_skips_and_says_what_is_missing(bare: pytest.Pytester) -> None:
    result = bare.runpytest_inprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["*no LiveKit server can be had here*", "*Docker Compose is not installed*"]
    )


def test_required_fails_and_says_what_is_missing(bare: pytest.Pytester) -> None:
    result = bare.runpytest_inprocess("--livekit=required")
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*--livekit=required: no LiveKit server*", "*Docker Compose is not installed*"]
    )


def test_off_skips_without_a_look(bare: pytest.Pytester) -> None:
    stand_in(bare, open_="raise AssertionError('looked')")
    result = bare.runpytest_inprocess("--livekit=off", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*--livekit=off*"])


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_a_server_that_breaks_is_an_error_and_never_a_skip(
    bare: pytest.Pytester, mode: str
) -> None:
    stand_in(bare, open_="from ringroom.errors import StartupError; raise StartupError('broke')")
    result = bare.runpytest_inprocess(f"--livekit={mode}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*StartupError: broke*"])


def test_one_server_serves_the_whole_run_and_is_closed(bare: pytest.Pytester) -> None:
    stand_in(bare)
    bare.makepyfile(test_more=WANTS_A_SERVER)
    result = bare.runpytest_inprocess("-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*closed 1"])


def test_a_failed_test_shows_the_end_of_the_servers_log(bare: pytest.Pytester) -> None:
    stand_in(bare, logs=r"return '\n'.join(f'line {n} of the log' for n in range(200))")
    bare.makepyfile("def test_fails(livekit_room): assert False")
    result = bare.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*LiveKit server log*", "line 199 of the log"])
    result.stdout.no_fnmatch_line("line 100 of the log")


def test_a_log_that_cannot_be_had_hides_nothing(bare: pytest.Pytester) -> None:
    stand_in(bare, logs="raise OSError('gone')")
    bare.makepyfile("def test_fails(livekit_room): assert not 'the reason'")
    result = bare.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert not 'the reason'*", "*not available: gone*"])


def test_a_test_without_a_server_gets_no_log(bare: pytest.Pytester) -> None:
    bare.makepyfile("def test_fails(): assert False")
    result = bare.runpytest_inprocess()
    result.stdout.no_fnmatch_line("*LiveKit server log*")


def test_tests_that_want_a_server_are_marked(bare: pytest.Pytester) -> None:
    stand_in(bare, open_="raise AssertionError('started')")
    bare.makepyfile(
        test_mixed="""
        def test_real(livekit_room): pass
        def test_fake(fake_room): pass
        """
    )
    result = bare.runpytest_inprocess("-m", "not livekit", "--strict-markers")
    result.assert_outcomes(passed=1, deselected=2)
    result = bare.runpytest_inprocess("-m", "livekit", "--livekit=off")
    result.assert_outcomes(skipped=2, deselected=1)


def test_a_fake_room_is_the_tests_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_one(fake_room):
            assert fake_room.name == "test_one"

        def test_other(fake_room):
            assert fake_room.name == "test_other"
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_the_leak_check_names_what_was_left(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, subprocess, threading
        import pytest

        pytestmark = pytest.mark.usefixtures("no_leaks")

        kept = []

        @pytest.fixture
        def opened():
            with open("/dev/null") as file:
                yield file

        def test_clean(opened):
            pass

        def test_child():
            kept.append(subprocess.Popen(["sleep", "5"]))

        def test_descriptor():
            kept.append(os.open("/dev/null", os.O_RDONLY))

        def test_thread():
            stop = threading.Event()
            kept.append(stop)
            threading.Thread(target=stop.wait, name="lingers", daemon=True).start()

        @pytest.mark.leaks("on purpose")
        def test_allowed():
            kept.append(os.open("/dev/null", os.O_RDONLY))

        def test_short_lived():
            threading.Timer(0.05, lambda: None).start()

        def test_last():
            kept[0].kill()
            kept[0].wait()
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-o", "leak_grace=1.0")
    result.assert_outcomes(passed=7, errors=3)
    result.stdout.fnmatch_lines(
        [
            "left behind: child * (sleep)",
            "left behind: descriptor * (/dev/null)",
            "left behind: thread lingers (*)",
        ]
    )


def test_a_room_in_virtual_time(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import ringroom

        def test_an_hour(fake_room, virtual_clock):
            begin = virtual_clock.now()
            with ringroom.transport("fake", room=fake_room, io=virtual_clock.io) as transport:
                virtual_clock.sleep(3600)
                fake_room.join("ann").publish_audio().tone(seconds=0.1)
                assert len([*zip(range(5), transport.recv(timeout=1))]) == 5
            assert 3600 < virtual_clock.now() - begin < 3601

        def test_virtual_time_alone(virtual_clock):
            virtual_clock.sleep(1)

        def test_what_was_left_open(virtual_clock):
            told = virtual_clock.condition()
            virtual_clock.start_thread("sleeper", told.wait)
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*never ended: sleeper*"])


@pytest.mark.parametrize("said", ["ann"], ids=["what a parametrized test is called, " * 10])
def test_a_test_may_have_a_longer_name_than_a_room(fake_room: FakeRoom, said: str) -> None:
    fake_room.join(said)
    assert fake_room.name.startswith("test_a_test_may_have_a_longer_name_than_a_room[what a")
