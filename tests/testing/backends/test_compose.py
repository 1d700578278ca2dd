"""A server by Docker Compose: which command, which ports, what it leaves, and what is missing."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
import server_kit
from server_kit import Programs

from ringroom.errors import StartupError
from ringroom.testing.backends import compose
from ringroom.testing.backends.backend import API_KEY, API_SECRET, Ports
from ringroom.testing.backends.compose import ComposeProject, compose_command, compose_file
from ringroom.testing.server import LiveKitServer, ServerUnavailable

no_server_in_the_environment = server_kit.no_server_in_the_environment
path = server_kit.path


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
        assert f":-{API_KEY}}}: " in text
        assert f":-{API_SECRET}}}" in text

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

    @pytest.mark.parametrize(
        ("says", "asked"), [("unable to freeze: unknown", 5), ("no such container", 1)]
    )
    def test_a_server_that_does_not_freeze_is_asked_again(
        self, path: Programs, tmp_path: Path, says: str, asked: int
    ) -> None:
        log = tmp_path / "log"
        path.shell("docker-compose", f'echo "$5" >>{log}; echo "{says}"; exit 1')
        with pytest.raises(StartupError, match=says):
            ComposeProject().pause()
        assert log.read_text().split() == ["pause"] * asked

    def test_a_server_that_freezes_when_asked_again_is_paused(
        self, path: Programs, tmp_path: Path
    ) -> None:
        log = tmp_path / "log"
        log.touch()
        third = f'n=0; while read -r _; do n=$((n + 1)); done <{log}; [ "$n" -ge 2 ] && exit 0'
        path.shell("docker-compose", f'{third}; echo "$5" >>{log}; echo "unable to freeze"; exit 1')
        ComposeProject().pause()
        assert log.read_text().split() == ["pause", "pause"]

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


class TestOrphans:
    def test_what_a_dead_process_left_is_removed(self, path: Programs, tmp_path: Path) -> None:
        host, me, removed = socket.gethostname(), compose._owner(), tmp_path / "removed"
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
        compose.remove_orphans()
        assert removed.read_text().splitlines() == ["rm -f dead", "rm -f gone"]

    def test_without_docker_there_is_nothing_to_do(self, path: Programs) -> None:
        compose.remove_orphans()


def test_a_command_that_hangs_is_ended(path: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "COMMAND_SECONDS", 0.1)
    path.shell("docker-compose", "exec /bin/sleep 20")
    with pytest.raises(ServerUnavailable, match=r"hung for 0\.1 s"):
        LiveKitServer().open()
