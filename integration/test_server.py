"""``LiveKitServer`` with a real engine: it comes up, goes down, and leaves no container behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from urllib.parse import urlsplit

import pytest

from integration.clients.client import ClientError
from integration.conftest import Joins, unavailable
from ringroom.testing.backends.answering import is_ready
from ringroom.testing.backends.compose import remove_orphans
from ringroom.testing.server import LiveKitServer

SCRIPT = """
    import time
    from ringroom.testing.server import LiveKitServer
    with LiveKitServer() as server:
        print(server.url, flush=True)
        time.sleep(60)
"""


@pytest.fixture
def server(request: pytest.FixtureRequest, livekit_server: LiveKitServer) -> LiveKitServer:
    """The server of the whole run: that there is one means that another can be had."""
    if os.environ.get("LIVEKIT_URL"):
        unavailable(request, "the server that LIVEKIT_URL names is not ours to stop")
    return livekit_server


def containers() -> set[str]:
    """The ids of the containers of this package's servers, running or not, of whichever run."""
    command = ["docker", "ps", "-aq", "--filter", "label=ringroom.owner"]
    return set(subprocess.check_output(command, text=True).split())


def container_at(url: str) -> set[str]:
    """The id of the one that runs there."""
    command = ["docker", "ps", "-q", "--filter", f"publish={urlsplit(url).port}"]
    found = set(subprocess.check_output(command, text=True).split())
    assert len(found) == 1
    return found


def test_servers_live_side_by_side_and_are_gone_at_the_end(server: LiveKitServer) -> None:
    with LiveKitServer() as one, LiveKitServer() as other:
        assert len({server.url, one.url, other.url}) == 3
        assert is_ready(one.url)
        assert is_ready(other.url)
        assert "starting LiveKit server" in one.logs()
        ours = container_at(one.url) | container_at(other.url)
        assert len(ours) == 2
        assert ours <= containers()
    assert not ours & containers()


@pytest.mark.usefixtures("server")
def test_a_server_that_stops_in_mid_call_is_noticed_and_comes_back(go_client: Joins) -> None:
    with LiveKitServer() as own:
        room = own.room()
        ann = go_client("ann", room)
        own.stop()
        assert not is_ready(own.url)
        ann.wait_for("reconnecting")
        own.start()
        assert go_client("ben", room).wait_for("joined", participant="ben")


@pytest.mark.usefixtures("server")
def test_a_server_that_pauses_answers_again(go_client: Joins) -> None:
    with LiveKitServer() as own:
        own.pause()
        assert not is_ready(own.url)
        own.resume()
        assert is_ready(own.url)
        assert go_client("ann", own.room()).wait_for("joined")


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_nothing_is_left_of_a_test_run_that_was_ended(number: signal.Signals) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    url = child.stdout.readline().strip()
    assert is_ready(url)
    ours = container_at(url)
    child.send_signal(number)
    child.communicate(timeout=30)
    if number == signal.SIGKILL:
        assert ours <= containers()  # nobody can catch it: the next run cleans up
        remove_orphans()
    # Another test's server may be removing it just now, which is then not ours to do.
    ends = time.monotonic() + 20
    while ours & containers():
        assert time.monotonic() < ends
        time.sleep(0.1)
    assert not is_ready(url)


def test_a_wrong_token_is_refused(server: LiveKitServer, go_client: Joins) -> None:
    class Stranger:
        url = server.url

        def token(self, identity: str) -> str:
            return LiveKitServer().token(identity, "room")[:-4] + "AAAA"

    with pytest.raises(ClientError, match=r"join: unauthorized: .* signature is invalid"):
        go_client("eve", Stranger())  # type: ignore[arg-type]
