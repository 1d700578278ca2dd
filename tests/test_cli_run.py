"""``ringroom run``: what stops it before anything starts, and how it ends in a room."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, cast

import pytest

import cli_kit
import ringroom
from cli_kit import SECRET, refused
from ringroom.cli import main
from ringroom.cli.running import find_processor, terminated_by_sigterm
from ringroom.errors import ConfigurationError

no_environment = cli_kit.no_environment


# What stops it before anything starts.


def test_sigterm_before_the_room_is_joined_ends_in_good_order(
    application: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def starts(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ringroom, "Pool", starts)
    monkeypatch.setattr(ringroom, "transport", starts)
    monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:1")
    for words in (["run", application], ["record", "call.mcap"]):
        monkeypatch.setenv("LIVEKIT_TOKEN", "token")
        assert main(words) == 0
    assert capsys.readouterr() == ("", "")
    assert not Path("call.mcap").exists()


@pytest.mark.parametrize("words", [["run", "my_app:echo"], ["record", "call.mcap"]])
@pytest.mark.parametrize(
    ("name", "default", "given", "parts"),
    [
        ("text_topics", (), "lk.chat, lk.transcription", ("lk.chat", "lk.transcription")),
        ("file_topics", (), "photos, notes", ("photos", "notes")),
        ("participants", None, "ann,bob", ("ann", "bob")),
        ("tracks", None, "microphone, camera", ("microphone", "camera")),
        ("video_quality", "high", "low", "low"),
    ],
)
@pytest.mark.usefixtures("application")
def test_what_is_received_is_passed_on(
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    name: str,
    default: Any,
    given: str,
    parts: tuple[str, ...] | str,
) -> None:
    asked: list[Any] = []

    def starts(*_: object, **options: Any) -> None:
        asked.append(options[name])
        raise ConfigurationError("that is all")

    monkeypatch.setattr(ringroom, "Pool", starts)
    monkeypatch.setattr(ringroom, "transport", starts)
    for more in ([], [f"--{name.replace('_', '-')}", given]):
        monkeypatch.setenv("LIVEKIT_TOKEN", "token")
        monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:1")
        assert main([*words, *more]) == 2
    assert asked == [default, parts]


@pytest.mark.parametrize("option", ["dtmf", "active_speakers"])
@pytest.mark.parametrize("words", [["run", "my_app:echo"], ["record", "call.mcap"]])
@pytest.mark.usefixtures("application")
def test_what_is_told_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, words: list[str], option: str
) -> None:
    asked: list[Any] = []

    def starts(*_: object, **options: Any) -> None:
        asked.append(options[option])
        raise ConfigurationError("that is all")

    monkeypatch.setattr(ringroom, "Pool", starts)
    monkeypatch.setattr(ringroom, "transport", starts)
    for more in ([], [f"--{option.replace('_', '-')}"]):
        monkeypatch.setenv("LIVEKIT_TOKEN", "token")
        monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:1")
        assert main([*words, *more]) == 2
    assert asked == [False, True]


@pytest.mark.usefixtures("application")
def test_which_methods_are_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def starts(*_: object, **options: Any) -> None:
        asked.append(options["rpc_methods"])
        raise ConfigurationError("that is all")

    monkeypatch.setattr(ringroom, "Pool", starts)
    for more in ([], ["--rpc-methods", "order, cancel"]):
        monkeypatch.setenv("LIVEKIT_TOKEN", "token")
        monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:1")
        assert main(["run", "my_app:echo", *more]) == 2
    assert asked == [(), ("order", "cancel")]


@pytest.mark.parametrize("words", [["run", "my_app:echo"], ["record", "call.mcap"]])
@pytest.mark.usefixtures("application")
def test_a_source_that_there_is_not_is_a_wrong_command(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    access = ["--url", "ws://127.0.0.1:1", "--room", "r", "--key", "key", "--secret", SECRET]
    assert main([*words, *access, "--tracks", "microphone,mic"]) == 2
    assert "error: tracks has 'mic', expected some of: microphone," in capsys.readouterr().err
    assert not Path("call.mcap").exists()


def test_what_handled_sigterm_may_not_be_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then `signal.signal` gives nothing that could be set again."""
    set_to: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda _, handler: set_to.append(handler))
    with terminated_by_sigterm():
        set_to.clear()
    assert set_to == [signal.SIG_DFL]


def test_nothing_takes_sigterm_for_an_error_of_its_own(tmp_path: Path) -> None:
    class Late:
        """What is recorded as the signal comes."""

        @property
        def received_ns(self) -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            return 0

    went_on = False
    with ringroom.Recorder(tmp_path / "call.mcap") as recorder, terminated_by_sigterm():
        recorder.add(cast(Any, Late()))
        went_on = True
    assert not went_on
    assert recorder.missed == 0


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder, which holds a function ``echo``."""
    (tmp_path / "my_app.py").write_text(
        "import ringroom\n\ndef echo(frame):\n    return frame\n\n"
        "class Group:\n    class Inner(ringroom.Processor):\n        pass\n"
    )
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "lacking.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (tmp_path / "script.py").write_text("raise SystemExit(3)\n")
    for name in ("my_app", "broken", "lacking", "script"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "my_app:echo"


def test_a_processor_is_found_in_the_current_folder(application: str) -> None:
    assert find_processor(application)("x") == "x"
    assert issubclass(find_processor("my_app:Group.Inner"), ringroom.Processor)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("my_app", "expected MODULE:NAME"),
        (":echo", "expected MODULE:NAME"),
        ("my_app:nothing", "my_app has no 'nothing'"),
        ("no_module:echo", "no module 'no_module'"),
        ("my_app.py:echo", "or installed; leave out the .py"),
        ("./my_app:echo", "expected MODULE:NAME"),
        (".my_app:echo", "expected MODULE:NAME"),
        ("my_app:", "expected MODULE:NAME"),
        ("script:main", "script does not import: it exits (3)"),
        ("lacking:echo", "lacking does not import: No module named 'no_such_package'"),
        ("broken:echo", "broken does not import: division by zero"),
    ],
)
@pytest.mark.usefixtures("application")
def test_a_processor_that_is_not_there(target: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        find_processor(target)


@pytest.mark.parametrize("target", ["my_app", "./my_app.py", "my_app:nope", "broken:echo"])
@pytest.mark.usefixtures("application")
def test_a_processor_that_is_not_there_is_a_wrong_command(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", target, "--url", "ws://127.0.0.1:1"]) == 2
    assert "ringroom: error: " in capsys.readouterr().err


def test_run_says_what_is_required(application: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "run", application).startswith("livekit: URL is required; give --url")
    url = ("run", application, "--url", "ws://127.0.0.1:1")
    assert refused(capsys, *url).startswith("livekit: Token is required; give --token-file")
    no_jwt = refused(capsys, *url, "--token-file", str(Path("my_app.py").absolute()))
    assert "not a JWT" in no_jwt


def test_what_run_does_when_processes_die(
    application: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, object]] = []
    made = ringroom.Pool

    def pool(*arguments: object, **options: object) -> object:
        asked.append(options)
        made(*arguments, **options)  # type: ignore[arg-type]
        raise ConfigurationError("seen")

    monkeypatch.setattr(ringroom, "Pool", pool)
    names = ("spares", "standby", "restarts", "stuck_after", "restart_stuck")
    words = ("run", application, "--url", "ws://127.0.0.1:1", "--room", "r")
    words += ("--key", "k", "--secret", SECRET)
    for more, expected in (
        ((), [getattr(ringroom.PoolOptions(), name) for name in names]),
        (("--spares", "0", "--no-standby", "--restarts", "3"), [0, False, 3, None, False]),
        (("--stuck-after", "2.5", "--restart-stuck"), [1, True, 10, 2.5, True]),
    ):
        assert main([*words, *more]) == 2
        assert [asked[-1][name] for name in names] == expected
    capsys.readouterr()
    for wrong, message in (
        (("--restart-stuck",), "restart_stuck goes with stuck_after"),
        (("--spares", "-1"), "spares is -1"),
        (("--stuck-after", "0"), "stuck_after is 0"),
    ):
        assert main([*words, *wrong]) == 2
        assert message in capsys.readouterr().err
    assert len(asked) == 6


# On a fake room that answers to the name of the provider.


RUN = """
import os, sys, threading
from ringroom.cli import main
from ringroom.providers import registry
from ringroom.providers.fake import Fake
from ringroom.testing import FakeRoom

registry._BUILT_IN["livekit"] = registry._BUILT_IN["fake"]
with FakeRoom("r") as room:
    microphone = room.join("ann").publish_audio()
    microphone.tone(seconds=60)
    def watch():
        room.wait_for_audio("ann/mic", 0.1, timeout=30)
        {then}
    threading.Thread(target=watch, daemon=True).start()
    os.environ |= {"LIVEKIT_URL": "ws://fake", "LIVEKIT_TOKEN": "any"}
    words = ["run", "my_app:echo", "--room", "r", "--workers", "1", "--max-age", "20"]
    code = main(words)  # nothing is dropped because the machine is slow
    print("exit", code, flush=True)
"""


@pytest.mark.parametrize(
    ("then", "code", "said"),
    [
        ("room.close_room()", 0, "the room has ended: room closed"),
        ("import signal; os.kill(os.getpid(), signal.SIGINT)", 130, "finishing what waits"),
        ("import signal; os.kill(os.getpid(), signal.SIGTERM)", 0, "finishing what waits"),
    ],
    ids=["room ends", "Ctrl-C", "SIGTERM"],
)
@pytest.mark.once
def test_run_ends_in_good_order(application: str, then: str, code: int, said: str) -> None:
    script = textwrap.dedent(RUN).replace("{then}", then)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50
    )
    assert f"exit {code}" in done.stdout, done.stdout + done.stderr
    assert "in room 'r' as 'app'; Ctrl-C ends it" in done.stdout
    assert said in done.stdout
    assert re.search(r"received \d+: \d+ processed, 0 dropped", done.stdout)
    assert "Traceback" not in done.stderr
