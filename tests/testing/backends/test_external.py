"""A server that runs already, and whether it answers."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import server_kit

from ringroom.errors import ConfigurationError, StartupError
from ringroom.testing.backends.answering import is_ready
from ringroom.testing.server import LiveKitServer

no_server_in_the_environment = server_kit.no_server_in_the_environment
path = server_kit.path
running = server_kit.running


class TestExternal:
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
