"""One client process: commands go in as lines of JSON, events come out as lines of JSON.

The commands and events are listed at the top of go/main.go and browser/page.js. The two clients
share those that they have in common.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

__all__ = ["Client", "ClientError"]

Event = dict[str, Any]


class ClientError(AssertionError):
    """The client refused a command, ended, or did not say what was waited for."""


class Client:
    """A participant in another process.

    ``events`` is all that it has said so far. Every wait has a deadline and raises
    ``ClientError`` with the client's last words.
    """

    def __init__(
        self, command: Sequence[str | Path], environment: dict[str, str] | None = None
    ) -> None:
        self.events: list[Event] = []
        self._answers = 0  # how many of the events have been taken as answers to commands
        self._said = threading.Condition()
        self._closed = False
        self._joined: Event = {}
        self._over = False  # it has closed its standard output
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        self._process = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | (environment or {}),
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="client", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def call(self, do: str, *, timeout: float = 30, **arguments: Any) -> list[Event]:
        """Runs a command to its end and returns the events that came meanwhile."""
        start = len(self.events)
        self._write({"do": do, **arguments})
        answer = self._answer(do, timeout)
        if answer["event"] == "error":
            raise ClientError(f"{do}: {answer['message']}{self._last_words()}")
        return [event for event in self.events[start:] if event["event"] != "done"]

    def join(self, url: str, token: str, **arguments: Any) -> None:
        self._joined = {"url": url, "token": token, **arguments}
        self.rejoin()

    def rejoin(self) -> None:
        """Joins as before, after a page was loaded again."""
        self.call("join", **self._joined)

    def publish(self, name: str, **arguments: Any) -> None:
        self.call("publish", name=name, **arguments)

    def mute(self, name: str, muted: bool = True) -> None:
        self.call("mute", name=name, muted=muted)

    def unpublish(self, name: str) -> None:
        self.call("unpublish", name=name)

    def send_data(
        self,
        payload: bytes,
        *,
        topic: str = "",
        reliable: bool = True,
        to: Sequence[str] = (),
        **more: Any,
    ) -> None:
        """``times=`` (Go client): so often, as fast as it goes."""
        encoded = base64.b64encode(payload).decode()
        self.call("data", payload=encoded, topic=topic, reliable=reliable, to=list(to), **more)

    def measure(self, seconds: float = 1.0) -> dict[tuple[str, str], Event]:
        """The browser's ears and eyes: what it gets on each track, by (participant, track)."""
        events = self.call("measure", seconds=seconds, timeout=seconds + 30)
        return _by_track(events, "measured")

    def received(self) -> dict[tuple[str, str], Event]:
        """What the Go client has received so far on each track, by (participant, track)."""
        return _by_track(self.call("received"), "track")

    def leave(self) -> dict[tuple[str, str], Event]:
        """Leaves the room and ends; the Go client's last ``received``, its files complete."""
        events = self.call("leave")
        self.close()
        return _by_track(events, "track")

    def wait_for(self, event: str, *, count: int = 1, timeout: float = 15, **fields: Any) -> Event:
        """The ``count``-th event of that name with those fields, said already or still to come."""
        wanted = {"event": event, **fields}

        def matches() -> list[Event]:
            return [e for e in self.events if wanted.items() <= e.items()]

        with self._said:
            self._said.wait_for(lambda: len(matches()) >= count or self._over, timeout)
            found = matches()
        if len(found) < count:
            raise ClientError(f"no {count} x {wanted} in {self.events}{self._last_words()}")
        return found[count - 1]

    def wait_for_data(self, *, timeout: float = 15, **fields: Any) -> bytes:
        """The payload of the first data message with those fields."""
        return base64.b64decode(self.wait_for("data", timeout=timeout, **fields)["payload"])

    def kill(self) -> None:
        """Ends the process and its children at once, in mid-call, as a crash or a dead battery."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Ends the process, gently first. Idempotent."""
        if self._closed:
            return
        self._closed = True
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(10)
        self._process.stdout.close()
        self._errors.close()

    def _write(self, command: Event) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise ClientError(
                f"{command['do']}: the client has ended{self._last_words()}"
            ) from error

    def _answer(self, do: str, timeout: float) -> Event:
        deadline = time.monotonic() + timeout
        with self._said:
            while True:
                while self._answers < len(self.events):
                    event = self.events[self._answers]
                    self._answers += 1
                    if event["event"] in ("done", "error") and event.get("do") == do:
                        return event
                if not self._said.wait_for(
                    lambda: self._answers < len(self.events) or self._over,
                    deadline - time.monotonic(),
                ) or (self._over and self._answers == len(self.events)):
                    raise ClientError(f"{do}: no answer within {timeout:g} s{self._last_words()}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._said:
                self.events.append(json.loads(line))
                self._said.notify_all()
        with self._said:
            self._over = True
            self._said.notify_all()

    def _last_words(self) -> str:
        if self._errors.closed:
            return ""
        size = os.fstat(self._errors.fileno()).st_size
        text = os.pread(self._errors.fileno(), 2000, max(0, size - 2000)).decode(errors="replace")
        return f"\nits standard error ends:\n{text}" if text else ""


def _by_track(events: list[Event], name: str) -> dict[tuple[str, str], Event]:
    return {(e["participant"], e["track"]): e for e in events if e["event"] == name}
