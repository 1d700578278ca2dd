"""A real LiveKit server for tests, wherever one can be had.

    with LiveKitServer() as server:
        token = server.token("ann", "voice-room")
        with ringroom.transport("livekit", url=server.url, token=token) as t:
            ...

Where the server comes from, the first that is there:

1. ``LIVEKIT_URL`` in the environment, with ``LIVEKIT_API_KEY`` and ``LIVEKIT_API_SECRET``: a server
   that runs already. It is only talked to; ``stop``, ``pause`` and the like refuse.
2. Docker Compose (``docker compose`` or ``docker-compose``), with ``docker-compose.livekit.yml``.
3. A ``livekit-server`` program on the ``PATH``, with the configuration of the same compose file.

Ports are always free ones and each server has a project name of its own, so several test runs
live side by side. The server is gone when the ``with`` block ends, also after an exception or
Ctrl-C, and at the latest when the interpreter exits. A process that is killed outright (SIGKILL)
cannot clean up: its container runs on until the next ``LiveKitServer`` starts on this machine,
which removes every container whose owner is dead (the container's label names it).
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
import time
import uuid
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Self

from ringroom.errors import ConfigurationError, StartupError
from ringroom.events import Participant
from ringroom.option_checks import PARTICIPANT_KINDS
from ringroom.testing.backends.answering import ask, is_lasting
from ringroom.testing.backends.backend import (
    API_KEY,
    API_SECRET,
    Backend,
    External,
    PortTaken,
    ServerUnavailable,
)
from ringroom.testing.backends.compose import ComposeProject
from ringroom.testing.backends.program import Program

__all__ = ["LiveKitRoom", "LiveKitServer", "ServerUnavailable"]

READY_SECONDS = 30.0  # a container starts in about half a second; a loaded machine takes longer


@dataclass(frozen=True, kw_only=True)
class LiveKitRoom:
    """A room of a test's own: its name, where it is, and tokens for it."""

    name: str
    server: LiveKitServer = field(repr=False)

    @property
    def url(self) -> str:
        return self.server.url

    def token(self, identity: str, *, profile: Participant | None = None, **grants: Any) -> str:
        """As `LiveKitServer.token`, for this room."""
        return self.server.token(identity, self.name, profile=profile, **grants)


class LiveKitServer:
    """A LiveKit server that lives as long as the ``with`` block.

    Entering raises ``ServerUnavailable`` when there is neither a server nor a way to run one, and
    ``StartupError`` when there is one that did not come up. ``project`` is a compose project that
    somebody else brings up and down, pytest-docker for instance: then entering waits until the
    server answers, and leaving leaves it alone.
    """

    def __init__(self, project: ComposeProject | None = None) -> None:
        self.api_key, self.api_secret = API_KEY, API_SECRET
        self._borrowed = project is not None
        self._backend: Backend | None = project

    def __repr__(self) -> str:
        return f"<LiveKitServer {self._backend.url if self._backend else 'not running'}>"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """What clients connect to: ``ws://127.0.0.1:PORT``."""
        return self._running().url

    def open(self) -> None:
        """Brings the server up and returns once it answers."""
        if self._backend is None:
            atexit.register(self.close)
            try:
                self._bring_up()
            except BaseException:
                self.close()
                raise
        else:
            _wait_ready(self._backend)

    def close(self) -> None:
        """Takes the server down, if it is ours. Idempotent; what was interrupted goes on when it
        is called again, or at the process's end."""
        if self._borrowed:
            return
        try:
            if self._backend is not None:
                self._backend.down()
        except Exception:  # what fails once would fail again, also at the process's end
            self._forget()
            raise
        self._forget()

    def _forget(self) -> None:
        self._backend = None
        atexit.unregister(self.close)

    def stop(self) -> None:
        """Ends the server at once, in mid-call, as a crash would; ``start`` brings it back."""
        self._running().kill()

    def start(self) -> None:
        """Starts a stopped server again, on the same ports, and returns once it answers."""
        self._running().restart()
        _wait_ready(self._running())

    def pause(self) -> None:
        """Freezes the server with its connections open, as a lost network would; see ``resume``."""
        self._running().pause()

    def resume(self) -> None:
        self._running().resume()

    def logs(self) -> str:
        """What the server has printed so far; nothing when only ``LIVEKIT_URL`` names it."""
        return self._running().logs()

    def token(
        self, identity: str, room: str, *, profile: Participant | None = None, **grants: Any
    ) -> str:
        """A token that lets ``identity`` into ``room`` for an hour.

        Of ``profile`` it takes the name, metadata and attributes that the room is told, and the
        kind of participant, unless that is unknown.
        ``grants`` are the fields of ``livekit.api.VideoGrants``: ``can_publish=False``, say.
        """
        from livekit import api

        token = (
            api.AccessToken(self.api_key, self.api_secret)
            .with_identity(identity)
            .with_ttl(datetime.timedelta(hours=1))
            .with_grants(api.VideoGrants(room_join=True, room=room, **grants))
        )
        if profile is not None:
            token = token.with_name(profile.name).with_metadata(profile.metadata)
            token = token.with_attributes(dict(profile.attributes))
            if profile.kind in PARTICIPANT_KINDS:
                token = token.with_kind(profile.kind)  # type: ignore[arg-type]
        return token.to_jwt()

    def room(self, name: str = "room") -> LiveKitRoom:
        """A room that nobody else uses: the name gets a unique ending."""
        return LiveKitRoom(name=f"{name}-{uuid.uuid4().hex[:8]}", server=self)

    def _running(self) -> Backend:
        if self._backend is None:
            raise StartupError("livekit-server: not running")
        return self._backend

    def _bring_up(self) -> None:
        if url := os.environ.get("LIVEKIT_URL"):
            try:
                self.api_key = os.environ["LIVEKIT_API_KEY"]
                self.api_secret = os.environ["LIVEKIT_API_SECRET"]
            except KeyError as missing:
                raise ConfigurationError(f"LIVEKIT_URL is set and {missing} is not") from None
            try:
                external = External(url)
            except ConfigurationError as error:
                raise ConfigurationError(f"LIVEKIT_URL in the environment: {error}") from None
            self._try(external)
            return None
        reasons = ["LIVEKIT_URL is not set"]
        for kind in (ComposeProject, Program):
            try:
                # A port may be taken between its choice and its use.
                for _ in range(2):
                    with contextlib.suppress(PortTaken):
                        return self._try(kind())
                return self._try(kind())
            except ServerUnavailable as error:
                reasons.append(str(error))
        raise ServerUnavailable("no LiveKit server can be had here:\n- " + "\n- ".join(reasons))

    def _try(self, backend: Backend) -> None:
        self._backend = backend
        try:
            backend.up()
            _wait_ready(backend)
        except BaseException:
            with contextlib.suppress(StartupError):  # what went wrong first is what matters
                backend.down()
            self._backend = None
            raise


def _wait_ready(backend: Backend) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            return ask(backend.url)
        except (OSError, HTTPException) as error:
            why = f"{type(error).__name__}: {error}"
            lasting = is_lasting(error)
        if not backend.alive():
            log = backend.logs()
            kind = PortTaken if "address already in use" in log else StartupError
            raise kind(f"livekit-server ended while starting; its log:\n{log[-2000:]}")
        if lasting:
            raise StartupError(f"livekit-server at {backend.url} cannot be reached: {why}")
        if time.monotonic() > deadline:
            log = backend.logs()
            raise StartupError(
                f"livekit-server at {backend.url} did not answer within {READY_SECONDS:g} s: {why}"
                + (f"; its log ends:\n{log[-2000:]}" if log else "")
            )
        time.sleep(0.05)
