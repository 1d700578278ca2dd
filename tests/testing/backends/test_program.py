"""A server as a child process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import server_kit
from server_kit import FAKE_SERVER, Programs

from ringroom.errors import StartupError
from ringroom.testing.backends import answering
from ringroom.testing.backends.answering import is_ready
from ringroom.testing.server import LiveKitServer

no_server_in_the_environment = server_kit.no_server_in_the_environment
path = server_kit.path
server = server_kit.running


class TestProgram:
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
        monkeypatch.setattr(answering, "ANSWER_SECONDS", 0.1)
        server.pause()
        assert not is_ready(server.url)
        server.resume()
        monkeypatch.setattr(answering, "ANSWER_SECONDS", 10)
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
