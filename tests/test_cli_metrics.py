"""``ringroom run --metrics-port``: served as long as the run lasts, and what keeps it from that."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cli_kit
from app_kit import Call, children, until
from cli_kit import SECRET
from metrics_kit import Scrape
from ringroom.cli import main
from ringroom.testing import FakeRoom

no_environment = cli_kit.no_environment
LONG = 30.0
ACCESS = ("--url", "ws://127.0.0.1:1", "--room", "r", "--key", "key", "--secret", SECRET)


@pytest.fixture(autouse=True)
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A command that runs an application in the current folder."""
    (tmp_path / "scraped_app.py").write_text("def echo(frame):\n    return frame\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "scraped_app", raising=False)
    return ("run", "scraped_app:echo", *ACCESS, "--workers", "1")


def scraped(url: str) -> Scrape:
    with urllib.request.urlopen(url, timeout=LONG) as page:
        return Scrape(page.read().decode())


@pytest.mark.parametrize("more", [(), ("--metrics-address", "127.0.0.2")])
def test_metrics_are_served_as_long_as_the_run_lasts(
    words: tuple[str, ...], more: tuple[str, ...]
) -> None:
    """And its threads end with it, which the fixture of all tests looks after."""
    url, printed = "", io.StringIO()

    def watch(room: FakeRoom) -> Scrape:
        nonlocal url
        try:
            said = until(lambda: re.search(r"^metrics at (\S+)$", printed.getvalue(), re.M))
            url = said[1]
            until(lambda: scraped(url)["ringroom_in_room"], timeout=LONG)
            until(lambda: scraped(url)["ringroom_frames_done_total"] > 10, timeout=LONG)
            return scraped(url)
        finally:
            room.close_room()

    with FakeRoom("r") as room, room.stand_in(), contextlib.redirect_stdout(printed):
        room.join("ann").publish_audio("mic").tone(seconds=60)
        watching = Call(watch, room)
        assert main([*words, "--metrics-port", "0", *more]) == 0
        found = watching.result(LONG)
    found.check_law()
    assert found.labels("name") == {"scraped_app:echo"}
    assert found["ringroom_workers"] == 1
    assert not any("ann" in value for _, labels in found.samples for _, value in labels)
    assert f"http://{more[-1] if more else '127.0.0.1'}:" in url
    with pytest.raises(OSError, match="refused"):
        scraped(url)


@contextlib.contextmanager
def taken() -> Iterator[int]:
    """A port at which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "Address already in use"),
        ("192.0.2.1", "Cannot assign requested address"),
        ("a..b", "not a host's name"),
    ],
)
def test_a_port_that_cannot_be_had_ends_the_run_before_it_begins(
    words: tuple[str, ...], address: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = children()
    with taken() as port:
        more = ("--metrics-port", str(port), "--metrics-address", address)
        assert main([*words, *more]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == (
        f"ringroom: error: metrics cannot be served at {address}:{port}: {why}; choose another "
        "--metrics-port or --metrics-address"
    )
    assert children() == before


def without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is missing."""


@pytest.mark.parametrize(
    ("given", "given_in", "message"),
    [
        (("--metrics-port", "9100"), without_the_package, "install the extra `metrics`"),
        (("--metrics-port", "70000"), as_it_is, "^--metrics-port is 70000, expected 0 to 65535$"),
        (("--metrics-port", "-1"), as_it_is, "^--metrics-port is -1, expected 0 to 65535$"),
        (("--metrics-address", "::1"), as_it_is, "^--metrics-address goes with --metrics-port$"),
    ],
)
def test_what_is_wrong_with_the_command(
    words: tuple[str, ...],
    given: tuple[str, ...],
    given_in: Callable[[pytest.MonkeyPatch], None],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given_in(monkeypatch)
    assert main([*words, *given]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(message, err.splitlines()[-1].removeprefix("ringroom: error: "))
