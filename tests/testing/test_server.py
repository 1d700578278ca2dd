"""Where ``LiveKitServer`` looks for a server, and what it says when there is none.

Docker, Compose and the server are small stand-ins on a ``PATH`` of the test's own; the real ones
are in integration/test_server.py.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import jwt
import pytest

from ringroom.errors import ConfigurationError, StartupError
from ringroom.events import Participant
from ringroom.testing import backends
from ringroom.testing.backends import ComposeProject, Ports, compose_command, compose_file, is_ready
from ringroom.testing.server import LiveKitServer, ServerUnavailable

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


class TestCompose:
    def test_the_plugin_is_preferred(self, path: Programs) -> None:
        path.shell("docker", "exit 0")
        path.shell("docker-compose", "exit 0")
        assert compose_command() == ("docker", "compose")

    def test_the_old_command_serves_as_well(self, path: Programs) -> None:
        path.shell("docker", "exit 1")
        path.shell("docker-compose", "exit 0")
        assert compose_command() == ("docker-compose",)

    def test_neither_is_an_error_that_names_both(self, path: Programs) -> None:
        with pytest.raises(ServerUnavailable, match=r"`docker compose` nor `docker-compose`"):
            compose_command()

    def test_the_file_has_the_defaults_of_this_package(self) -> None:
        text = compose_file().read_text()
        assert f":-{backends.API_KEY}}}: " in text
        assert f":-{backends.API_SECRET}}}" in text

    def test_the_command_for_a_shell_sets_the_ports(self, path: Programs) -> None:
        path.shell("docker-compose", 'echo "$RINGROOM_LIVEKIT_UDP_PORT $*"')
        ports = Ports(http=1, tcp=2, udp=3)
        command = ComposeProject(ports=ports).shell_command
        env = {"PATH": f"{path.folder}:/usr/bin:/bin"}
        output = subprocess.check_output(f"{command} up -d", shell=True, env=env, text=True)
        assert output == "3 up -d\n"

    def test_a_borrowed_project_is_neither_brought_up_nor_taken_down(
        self, path: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = tmp_path / "log"
        path.shell("docker-compose", f'echo "$5 $RINGROOM_LIVEKIT_PORT" >>{log}')
        monkeypatch.setattr("ringroom.testing.server.ask", lambda url: None)
        project = ComposeProject(ports=Ports(http=7, tcp=8, udp=9))
        with LiveKitServer(project) as server:
            assert server.url == "ws://127.0.0.1:7"
            server.stop()
            server.start()
            server.pause()
            server.resume()
            server.logs()
        done = [line.split() for line in log.read_text().splitlines()]
        assert done == [[do, "7"] for do in ("kill", "start", "pause", "unpause", "logs")]

    def test_two_projects_have_nothing_in_common(self, path: Programs) -> None:
        path.shell("docker-compose", "exit 0")
        one, other = ComposeProject(), ComposeProject()
        assert one.name != other.name
        assert one.ports != other.ports

    def test_down_follows_a_failed_up(self, path: Programs, tmp_path: Path) -> None:
        log = tmp_path / "log"
        path.shell("docker-compose", f'echo "$5" >>{log}; test "$5" != up')
        with pytest.raises(StartupError):
            LiveKitServer().open()
        assert log.read_text().split() == ["up", "down"]

    def test_a_close_that_was_interrupted_goes_on_with_the_next(
        self, path: Programs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path.shell("docker-compose", "exit 0")
        server = LiveKitServer()
        downs = []

        def down(project: ComposeProject) -> None:
            downs.append(project.name)
            if len(downs) == 1:
                raise KeyboardInterrupt

        monkeypatch.setattr(ComposeProject, "down", down)
        monkeypatch.setattr("ringroom.testing.server._wait_ready", lambda backend: None)
        server.open()
        with pytest.raises(KeyboardInterrupt):
            server.close()
        server.close()
        server.close()
        assert len(downs) == 2

    def test_a_close_that_failed_is_over(self, path: Programs) -> None:
        path.shell("docker-compose", 'test "$5" != down || { echo no daemon; exit 1; }')
        server = LiveKitServer()
        server._try = lambda backend: setattr(server, "_backend", backend)  # type: ignore[method-assign]
        server.open()
        with pytest.raises(StartupError, match="no daemon"):
            server.close()
        server.close()

    def test_a_start_that_was_interrupted_is_taken_down(
        self, path: Programs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path.shell("docker-compose", "exit 0")
        downs = []

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        def down(project: ComposeProject) -> None:
            downs.append(project.name)
            if len(downs) == 1:
                raise KeyboardInterrupt

        monkeypatch.setattr(ComposeProject, "down", down)
        monkeypatch.setattr("ringroom.testing.server._wait_ready", interrupt)
        with pytest.raises(KeyboardInterrupt):
            LiveKitServer().open()
        assert len(downs) == 2


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        (
            "Couldn't connect to Docker daemon at http+docker://localhost",
            "no Docker engine answers",
        ),
        ("Cannot connect to the Docker daemon. Is the docker daemon running?", "no Docker engine"),
        (
            "docker.errors.DockerException: Error while fetching server API version",
            "no Docker engine",
        ),
        ("Pulling livekit ... dial tcp: lookup registry: no such host", "build-livekit-image"),
        ("Error response from daemon: pull access denied", "build-livekit-image"),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(path: Programs, output: str, advice: str) -> None:
    path.shell("docker-compose", f'echo "{output}"; exit 1')
    with pytest.raises(ServerUnavailable, match=advice) as raised:
        LiveKitServer().open()
    message = str(raised.value)
    assert output in message
    assert "LIVEKIT_URL is not set" in message
    assert "no livekit-server on the PATH" in message


def test_a_port_that_was_taken_meanwhile_is_chosen_again(path: Programs, tmp_path: Path) -> None:
    ports = tmp_path / "ports"
    path.shell(
        "docker-compose",
        f"""
        test "$5" = up || exit 0
        echo $RINGROOM_LIVEKIT_PORT >>{ports}
        echo "Bind for 127.0.0.1 failed: port is already allocated"
        exit 1
        """,
    )
    with pytest.raises(StartupError, match="already allocated"):
        LiveKitServer().open()
    assert len(set(ports.read_text().split())) == 3


class TestProgram:
    @pytest.fixture
    def server(self, path: Programs) -> Iterator[LiveKitServer]:
        path.python("livekit-server", FAKE_SERVER)
        with LiveKitServer() as server:
            yield server

    def test_it_runs_with_the_configuration_of_the_compose_file(
        self, server: LiveKitServer
    ) -> None:
        assert is_ready(server.url)
        log = server.logs()
        assert f"port: {server.url.rpartition(':')[2]}\n" in log
        assert f"{server.api_key}: {server.api_secret}" in log
        assert "node_ip: 127.0.0.1" in log
        assert "${" not in log

    def test_it_stops_and_starts_on_the_same_port(self, server: LiveKitServer) -> None:
        url = server.url
        server.stop()
        assert not is_ready(url)
        server.start()
        assert is_ready(url)
        assert server.url == url

    def test_one_that_runs_is_not_started_beside_itself(self, server: LiveKitServer) -> None:
        url = server.url
        server.start()
        server.close()
        assert not is_ready(url)

    def test_it_pauses_and_resumes(
        self, server: LiveKitServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backends, "ANSWER_SECONDS", 0.1)
        server.pause()
        assert not is_ready(server.url)
        server.resume()
        monkeypatch.setattr(backends, "ANSWER_SECONDS", 10)
        assert is_ready(server.url)

    def test_close_ends_it_and_may_be_repeated(self, server: LiveKitServer) -> None:
        url = server.url
        server.close()
        server.close()
        assert not is_ready(url)
        with pytest.raises(StartupError, match="not running"):
            server.logs()

    def test_open_twice_is_one_server(self, server: LiveKitServer) -> None:
        url = server.url
        server.open()
        assert server.url == url

    def test_one_that_ends_at_once_is_an_error_with_its_log(self, path: Programs) -> None:
        path.shell("livekit-server", "echo unreadable configuration; exit 1")
        with pytest.raises(StartupError, match="unreadable configuration"):
            LiveKitServer().open()

    def test_it_takes_over_where_docker_does_not_work(self, path: Programs) -> None:
        path.shell("docker-compose", "echo cannot connect to the docker daemon; exit 1")
        path.python("livekit-server", FAKE_SERVER)
        with LiveKitServer() as server:
            assert is_ready(server.url)

    def test_ctrl_c_takes_it_down(self, path: Programs, tmp_path: Path) -> None:
        path.python("livekit-server", FAKE_SERVER)
        script = """
            from ringroom.testing.server import LiveKitServer
            with LiveKitServer() as server:
                print(server.url, flush=True)
                import time; time.sleep(60)
        """
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        assert is_ready(url)
        os.killpg(child.pid, signal.SIGINT)
        child.communicate(timeout=20)
        assert not is_ready(url)


class TestExternal:
    @pytest.fixture
    def running(self, path: Programs) -> Iterator[LiveKitServer]:
        path.python("livekit-server", FAKE_SERVER)
        with LiveKitServer() as server:
            yield server

    def test_the_environment_comes_first(
        self, running: LiveKitServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LIVEKIT_URL", running.url)
        monkeypatch.setenv("LIVEKIT_API_KEY", "ann")
        monkeypatch.setenv("LIVEKIT_API_SECRET", "x" * 40)
        with LiveKitServer() as server:
            assert server.url == running.url
            assert (server.api_key, server.api_secret) == ("ann", "x" * 40)
            assert server.logs() == ""
            with pytest.raises(ConfigurationError, match="not ours"):
                server.stop()
        assert is_ready(running.url)

    def test_it_needs_its_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:1")
        with pytest.raises(ConfigurationError, match="LIVEKIT_API_KEY"):
            LiveKitServer().open()

    @pytest.fixture
    def keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LIVEKIT_API_KEY", "ann")
        monkeypatch.setenv("LIVEKIT_API_SECRET", "x" * 40)

    @pytest.mark.usefixtures("keys")
    def test_one_that_does_not_answer_is_an_error_that_says_why(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:1")
        monkeypatch.setattr("ringroom.testing.server.READY_SECONDS", 0.1)
        why = r"ws://127\.0\.0\.1:1 did not answer within 0\.1 s: ConnectionRefused.* refused$"
        with pytest.raises(StartupError, match=why):
            LiveKitServer().open()

    @pytest.mark.usefixtures("keys")
    def test_one_that_is_none_is_an_error_that_says_what_it_answers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

        monkeypatch.setattr("ringroom.testing.server.READY_SECONDS", 0.1)
        with HTTPServer(("127.0.0.1", 0), Handler) as other:
            thread = threading.Thread(target=other.serve_forever)
            thread.start()
            try:
                monkeypatch.setenv("LIVEKIT_URL", f"ws://127.0.0.1:{other.server_port}")
                with pytest.raises(StartupError, match=r"did not answer .*: .* status 501$"):
                    LiveKitServer().open()
            finally:
                other.shutdown()
                thread.join()

    @pytest.mark.usefixtures("keys")
    @pytest.mark.parametrize(
        "error",
        [
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            ssl.SSLCertVerificationError(1, "certificate verify failed"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_what_cannot_change_is_not_waited_for(
        self, error: OSError, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def connect(*_: object) -> None:
            raise error

        monkeypatch.setenv("LIVEKIT_URL", "wss://no-such-host.invalid")
        monkeypatch.setattr(http.client.HTTPSConnection, "connect", connect)
        with pytest.raises(StartupError, match=rf"invalid cannot be reached: .*{error.args[1]}$"):
            LiveKitServer().open()

    @pytest.mark.usefixtures("keys")
    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("127.0.0.1:7880", "the URL starts with none of ws://, wss://, http://, https://"),
            ("ws://:7880", "the URL has no host, or port 0"),
        ],
    )
    def test_what_is_no_url_is_refused(
        self, url: str, why: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LIVEKIT_URL", url)
        with pytest.raises(ConfigurationError) as caught:
            LiveKitServer().open()
        assert str(caught.value) == f"LIVEKIT_URL in the environment: livekit: {why}"


class TestOrphans:
    def test_what_a_dead_process_left_is_removed(self, path: Programs, tmp_path: Path) -> None:
        host, me, removed = socket.gethostname(), backends._owner(), tmp_path / "removed"
        path.shell(
            "docker",
            f"""
            if [ "$1" = ps ]; then
                echo "mine {me}"
                echo "dead {host}:{os.getpid()}:1"
                echo "gone {host}:999999999:1"
                echo "elsewhere other-{host}:999999999:1"
                echo "nobodys "
            else
                echo "$*" >>{removed}
            fi
            """,
        )
        backends.remove_orphans()
        assert removed.read_text().splitlines() == ["rm -f dead", "rm -f gone"]

    def test_without_docker_there_is_nothing_to_do(self, path: Programs) -> None:
        backends.remove_orphans()


def test_a_command_that_hangs_is_ended(path: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "COMMAND_SECONDS", 0.1)
    path.shell("docker-compose", "exec /bin/sleep 20")
    with pytest.raises(ServerUnavailable, match=r"hung for 0\.1 s"):
        LiveKitServer().open()


def test_a_token_carries_the_grants_and_the_key_is_long_enough() -> None:
    server = LiveKitServer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        token = server.token("ann", "voice-room", can_publish=False)
    claims = jwt.decode(token, server.api_secret, algorithms=["HS256"])
    assert claims["sub"] == "ann"
    assert claims["iss"] == server.api_key
    assert claims["video"]["room"] == "voice-room"
    assert claims["video"]["roomJoin"] is True
    assert claims["video"]["canPublish"] is False


def test_a_token_carries_a_profile() -> None:
    server = LiveKitServer()
    ann = Participant(identity="other", name="Ann Lee", metadata="m", attributes={"role": "guest"})
    token = server.room("talk").token("ann", profile=ann, can_update_own_metadata=True)
    claims = jwt.decode(token, server.api_secret, algorithms=["HS256"])
    assert "kind" not in claims
    told = {name: claims[name] for name in ("sub", "name", "metadata", "attributes")}
    assert told == {
        "sub": "ann",
        "name": "Ann Lee",
        "metadata": "m",
        "attributes": {"role": "guest"},
    }
    assert claims["video"]["canUpdateOwnMetadata"] is True
    bot = server.token("bot", "talk", profile=replace(ann, kind="agent"))
    assert jwt.decode(bot, server.api_secret, algorithms=["HS256"])["kind"] == "agent"


def test_rooms_are_unique_and_know_their_server() -> None:
    server = LiveKitServer()
    one, other = server.room("talk"), server.room("talk")
    assert one.name != other.name
    assert one.name.startswith("talk-")
    claims = jwt.decode(one.token("ann"), server.api_secret, algorithms=["HS256"])
    assert claims["video"]["room"] == one.name
    assert server.api_secret not in repr(one)
