"""The command line: what it accepts, refuses, prints, and how it ends."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

import ringroom
from ringroom.accounts import LaneStatistics
from ringroom.cli import _parser, access, main, speech
from ringroom.cli.demo import Demo, Result, verdict
from ringroom.cli.inline import Outcome
from ringroom.cli.running import find_processor, terminated_by_sigterm
from ringroom.cli.speech import Heard
from ringroom.cli.view import Processes, View
from ringroom.connection import Statistics
from ringroom.errors import ConfigurationError
from ringroom.frames import Kind
from ringroom.lanes.statistics import LaneCounts

SECRET = "a-secret-of-thirty-two-characters-or-more"
NAMES = (
    "LIVEKIT_URL",
    "LIVEKIT_TOKEN",
    "LIVEKIT_API_KEY",
    "LIVEKIT_API_SECRET",
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def claims(token: str) -> dict[str, object]:
    part = token.strip().split(".")[1]
    found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert isinstance(found, dict)
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Runs a command that fails; the one line that says why."""
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert not out
    assert "Traceback" not in err
    lines = err.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("ringroom: error: ")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["demo", "--seconds", "0"],
        ["demo", "--seconds", "nan"],
        ["demo", "--workers", "1.5"],
        ["run"],
        ["run", "app:f", "--route", "somewhere"],
        ["token", "--room", "r"],
        ["run", "app:f", "--kinds", ""],
        ["run", "app:f", "--participants", ","],
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: ringroom" in capsys.readouterr().err


def test_version_and_providers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"ringroom \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)
    assert main(["providers"]) == 0
    assert {"fake", "livekit"} <= set(capsys.readouterr().out.split())


def test_without_standard_output_and_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell's ``>&-``: there is no such file object then."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["providers"]) == 0
    assert main(["run", "no_such_module:x"]) == 1


def test_what_a_terminal_cannot_show_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's name that is no Unicode, or any name where the locale has a smaller alphabet."""
    monkeypatch.setattr(ringroom, "provider_names", lambda: ("fünf", "\udcff"))
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    assert main(["providers"]) == 0
    assert shown.getvalue() == b"f\\xfcnf\n\\udcff\n"


# Tokens and secrets.


def test_a_token_from_the_environment_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    assert main(["token", "--room", "r", "--identity", "ann", "--ttl", "60", "--name", "A"]) == 0
    out, err = capsys.readouterr()
    assert not err
    found = claims(out)
    assert found["sub"] == "ann"
    assert found["iss"] == "key"
    assert found["name"] == "A"
    assert found["video"]["room"] == "r"  # type: ignore[index]
    assert 0 < found["exp"] - found["nbf"] <= 61  # type: ignore[operator]


def test_a_secret_as_an_option_works_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["token", "--room", "r", "--identity", "ann", "--key", "key", "--secret", SECRET]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert claims(out)["sub"] == "ann"
    assert "--secret shows in the process list" in err
    assert SECRET not in err


def test_key_and_secret_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, secret = tmp_path / "key", tmp_path / "secret"
    key.write_text("key\n")
    secret.write_text(SECRET + "\n")
    files = ["--key-file", str(key), "--secret-file", str(secret)]
    assert main(["token", "--room", "r", "--identity", "ann", *files]) == 0
    out, err = capsys.readouterr()
    assert claims(out)["iss"] == "key"
    assert not err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--identity", "\udcff", "--room", "r"), "token's identity is not valid Unicode"),
        (("--identity", "i", "--room", "r" * 257), "token's room has 257 bytes"),
        (("--identity", "i", "--room", ""), "token's room is empty"),
        (("--identity", "i", "--room", "r", "--name", "\udcff"), "token's name is not valid"),
    ],
)
def test_tokens_that_no_server_takes_are_not_minted(
    words: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    assert message in refused(capsys, "token", *words)


def test_keys_that_are_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ["token", "--room", "r", "--identity", "ann"]
    assert "no API key" in refused(capsys, *words)
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    assert "no API secret" in refused(capsys, *words)
    missing = str(tmp_path / "missing")
    assert "No such file" in refused(capsys, *words, "--secret-file", missing)
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert "empty" in refused(capsys, *words, "--secret-file", str(empty))
    noise = tmp_path / "noise"
    noise.write_bytes(b"\xff\xfe")
    assert refused(capsys, *words, "--secret-file", str(noise)) == f"{noise}: not a text"


# run: what stops it before anything starts.


def test_sigterm_before_the_room_is_joined_ends_in_good_order(
    application: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def starts(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ringroom, "Pool", starts)
    monkeypatch.setattr(ringroom, "transport", starts)
    monkeypatch.setenv("LIVEKIT_TOKEN", "token")
    assert main(["run", application]) == 0
    assert main(["record", "call.mcap"]) == 0
    assert capsys.readouterr() == ("", "")
    assert not Path("call.mcap").exists()


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


def test_run_says_what_is_required(application: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "run", application) == "livekit: URL is required"
    url = ("run", application, "--url", "ws://127.0.0.1:1")
    assert refused(capsys, *url) == "livekit: Token is required"
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
        assert main([*words, *more]) == 1
        assert [asked[-1][name] for name in names] == expected
    capsys.readouterr()
    for wrong, message in (
        (("--restart-stuck",), "restart_stuck goes with stuck_after"),
        (("--spares", "-1"), "spares is -1"),
        (("--stuck-after", "0"), "stuck_after is 0"),
    ):
        assert main([*words, *wrong]) == 1
        assert message in capsys.readouterr().err
    assert len(asked) == 6


def run_arguments(*words: str) -> access.argparse.Namespace:
    return _parser().parse_args(["run", "app:echo", *words])


def test_where_the_token_comes_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert access.token(run_arguments()) == ""
    monkeypatch.setenv("LIVEKIT_TOKEN", "from-environment")
    assert access.token(run_arguments()) == "from-environment"
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert access.token(run_arguments("--token-file", str(file))) == "from-file"
    assert not capsys.readouterr().err
    assert access.token(run_arguments("--token", "given")) == "given"
    assert "--token shows in the process list" in capsys.readouterr().err
    assert "LIVEKIT_TOKEN" not in os.environ, "the processes that are started inherit it"
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    minter = access.token(run_arguments("--room", "r", "--identity", "me"))
    assert callable(minter)
    assert claims(minter())["sub"] == "me"


def test_access_that_contradicts_itself(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t")
    for words, message in (
        (("--token", "t", "--token-file", str(file)), "give one of them"),
        (("--token-file", str(file), "--key", "k"), "one or the other"),
        (("--token-file", str(file), "--identity", "me"), "--identity"),
        (("--key", "k", "--secret", "s"), "--room is required"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            access.token(run_arguments(*words))


def test_the_url_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_URL", "ws://here")
    assert access.url(run_arguments()) == "ws://here"
    assert access.url(run_arguments("--url", "ws://there")) == "ws://there"


# run: on a fake room that answers to the name of the provider.

RUN = """
import sys, threading
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
    code = main(["run", "my_app:echo", "--room", "r", "--workers", "1"])
    print("exit", code, flush=True)
"""


@pytest.mark.parametrize(
    ("then", "code", "said"),
    [
        ("room.close_room()", 0, "the room has ended: room closed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", 130, "finishing what waits"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 0, "finishing what waits"),
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


def test_ctrl_c_before_anything_runs_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> tuple[str, ...]:
        raise KeyboardInterrupt

    monkeypatch.setattr(ringroom, "provider_names", interrupted)
    assert main(["providers"]) == 130


# demo


@pytest.mark.once
def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "heard.wav"
    words = ["demo", "--seconds", "1", "--burn-ms", "0.2", "--workers", "2", "--out", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert re.search(r"\d+ frames came in from 4 people", said)
    assert "all are accounted for" in said
    assert "the same in one asyncio loop, 1 s:" in said
    assert str(out) in said
    with wave.open(str(out)) as file:
        assert file.getframerate() == 16_000
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(sound) > 12_000
    assert np.abs(sound).max() > 3_000


def test_the_demo_refuses_a_file_that_is_no_wav(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise, heard = tmp_path / "noise.wav", tmp_path / "heard.wav"
    for content, why in ((b"no wav file", "RIFF"), (b"", "cut off")):
        noise.write_bytes(content)
        told = refused(capsys, "demo", "--wav", str(noise), "--out", str(heard))
        assert told.startswith(f"no 16-bit PCM WAV file: {noise}: is no WAV file of PCM (")
        assert why in told
    for file, why in ((tmp_path, "Is a directory"), (tmp_path / "none", "No such file")):
        told = refused(capsys, "demo", "--wav", str(file), "--out", str(heard))
        assert told.startswith(f"{file}: cannot be read ({why}")
    assert not heard.exists()


@pytest.mark.once
def test_ctrl_c_ends_the_demo_without_a_trace(tmp_path: Path) -> None:
    words = ["demo", "--no-comparison", "--burn-ms", "1", "--out", str(tmp_path / "heard.wav")]
    with subprocess.Popen(
        [sys.executable, "-m", "ringroom", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "processed" in line:
                break
        os.killpg(demo.pid, signal.SIGINT)
        _, errors = demo.communicate(timeout=30)
    assert demo.returncode == 130
    # On a busy machine frames are dropped, and that is told; nothing else is.
    assert not [line for line in errors.splitlines() if "frames were dropped" not in line]


def test_a_file_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "no" / "such.wav")
    assert refused(capsys, "demo", "--out", out) == (
        f"{out}: cannot be written (No such file or directory)"
    )


def lane(direction: str, counts: LaneCounts, participant: str = "ann") -> LaneStatistics:
    return LaneStatistics(
        direction=direction,
        kind=Kind.AUDIO,
        track="mic",
        participant=participant,
        place=0,
        counts=counts,
    )


def result(counts: LaneCounts, **more: object) -> Result:
    chord = Heard(track="chord", sample_rate=16_000, pieces=(), longest_gap=0.02)
    statistics = Statistics(lanes=(lane("in", counts),))
    return Result(statistics=statistics, heard=[chord], inline=None, **more)  # type: ignore[arg-type]


def test_the_verdict_tells_what_was_lost() -> None:
    good = LaneCounts(sent=100, taken=100, done=100, waited_ns=200_000_000, oldest_ns=7_000_000)
    said = "\n".join(verdict(Demo(), result(good)))
    assert "100 processed, 0 dropped as too old or too many, 0 lost" in said
    assert "all are accounted for" in said.splitlines()[2]
    assert "2.0 ms old on average, the oldest 7 ms" in said
    assert "longest gap 20 ms" in said
    assert "dropped because" not in said
    bad = LaneCounts(sent=100, taken=60, done=50, dropped_stale=40)
    said = "\n".join(verdict(Demo(), result(bad, busy=2.0)))
    assert "NOT all frames are accounted for" in said
    assert "dropped because this work takes 0.1 cores" in said


def test_the_verdict_compares_with_one_loop() -> None:
    slow = Outcome(seconds=3.0, offered=630, processed=400, behind=1.25, played=0.5)
    compared = Result(statistics=Statistics(lanes=()), heard=[], inline=slow, inline_gap=0.75)
    said = "\n".join(verdict(Demo(), compared))
    assert "400 of 630 frames processed, 1.2 s behind at the end" in said
    assert "0.5 of 3 s played, longest gap 750 ms" in said


# The demo's sound.


def test_a_voice_is_the_same_every_time_and_has_pauses() -> None:
    first, again = speech.voice(2.0, 120.0, 7), speech.voice(2.0, 120.0, 7)
    assert np.array_equal(first, again)
    assert first.shape == (32_000, 1)
    assert np.abs(first.astype(int)).max() > 3_000
    assert speech.longest_silence(first, speech.RATE) > 0.1
    assert speech.longest_silence(speech.chord(2.0), speech.RATE) < 0.01


def test_everybody_says_another_part_of_a_wav_file(tmp_path: Path) -> None:
    path = tmp_path / "said.wav"
    speech.write_wav(path, speech.chord(0.5))
    first, second = speech.voices(2, 1.2, path)
    assert first.duration == second.duration == 1.2
    assert not np.array_equal(first.samples, second.samples)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        speech.write_wav(tmp_path / "no" / "such.wav", speech.chord(0.1))


def test_the_mix_keeps_the_time_line_and_does_not_clip() -> None:
    loud = np.full((160, 1), 30_000, np.int16)
    one = Heard(track="a", sample_rate=16_000, pieces=((1_000, loud),), longest_gap=0)
    later = Heard(
        track="b", sample_rate=16_000, pieces=((1_000, loud), (20_001_000, loud)), longest_gap=0
    )
    mix = speech.mixed([one, later])
    assert len(mix) == 320 + 160
    assert np.abs(mix[:160].astype(int)).max() == 32_767
    assert not mix[160:320].any()
    assert mix[320, 0] == pytest.approx(16_383, abs=2)
    assert len(speech.mixed([])) == 0


# The live view.


def test_the_view_of_a_terminal_and_of_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = LaneCounts(sent=12, taken=11, done=10, waited_ns=22_000_000, oldest_ns=5_000_000)
    statistics = Statistics(lanes=(lane("in", counts), lane("out", counts, participant="")))
    now = [100.0]
    monkeypatch.setattr("ringroom.cli.view.time", SimpleNamespace(monotonic=lambda: now[0]))
    processes = Processes(dict)

    def show(console: Console) -> None:
        with View("title", lambda: statistics, processes, console) as view:
            view.tick()
            now[0] += 3.0
            view.tick()

    show(Console(force_terminal=False))
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert "in 12  processed 10  dropped 0  lost 0  oldest 5 ms  out 12  cpu app" in line
    show(Console(force_terminal=True, width=120))
    table = capsys.readouterr().out
    for part in ("title", "ann/mic", "worker 0", "2.0", "5.0", "CPU"):
        assert part in table


def test_the_cpu_of_children_is_told_by_name() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        processes = Processes(lambda: {child.pid: "burner"})
        processes.usage()
        wait_until(lambda: dict(processes.usage()).get("burner", 0.0) > 0.05)
        unnamed = Processes(dict)
        unnamed.usage()
        assert set(dict(unnamed.usage())) == {"app"}, "a spare, say, is nobody's business"
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(200):
        if condition():
            return
        pause.wait(0.1)
    raise AssertionError("it did not happen")
