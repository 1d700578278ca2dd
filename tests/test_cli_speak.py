"""``ringroom speak``: a WAV file is heard in a room, and what cannot be heard is said before."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import wave
from pathlib import Path

import numpy as np
import pytest

import cli_kit
import ringroom
from cli_kit import SECRET, refused
from ringroom.cli import main
from ringroom.testing import FakeRoom

no_environment = cli_kit.no_environment
ACCESS = ("--url", "ws://127.0.0.1:1", "--key", "key", "--secret", SECRET)


def counted(count: int) -> np.ndarray:
    """Samples that are all different."""
    return np.arange(1, count + 1, dtype=np.int16).reshape(-1, 1)


def wav(path: Path, samples: np.ndarray, rate: int = 16_000, *, width: int = 2) -> Path:
    """A file of int16 samples of shape (samples per channel, channels), said to have that width."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2)])
def test_all_of_the_file_is_heard(
    fake_room: FakeRoom,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rate: int,
    channels: int,
) -> None:
    said = counted(rate * 2 // 5).repeat(channels, axis=1)
    file = wav(tmp_path / "said.wav", said, rate)
    with fake_room.stand_in("livekit"):
        assert main(["speak", str(file), *ACCESS, "--room", fake_room.name, "--track", "mic"]) == 0
    heard = fake_room.heard("mic")
    assert np.array_equal(heard.samples, said)
    assert heard.sample_rate == rate
    told = capsys.readouterr().out
    assert told.startswith(f"in room {fake_room.name!r} as 'ringroom'; Ctrl-C ends it\n")
    assert told.endswith(f"{file}: 0.4 s played\n")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is no WAV file of PCM (cut off)"),
        (b"RIFF and no more of it", "is no WAV file of PCM ("),
    ],
)
def test_what_is_no_wav_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, why: str
) -> None:
    file = tmp_path / "said.wav"
    if content is not None:
        file.write_bytes(content)
    assert f"{file}: {why}" in refused(capsys, "speak", str(file), *ACCESS, "--room", "r")


@pytest.mark.parametrize(
    ("shape", "rate", "width", "why"),
    [
        ((0, 1), 16_000, 2, "no sound in it"),
        ((100, 3), 16_000, 2, "channels is 3, expected 1 (mono) or 2 (stereo)"),
        ((100, 1), 1_000, 2, "1000"),
        ((100, 1), 16_000, 1, "8-bit samples, expected 16-bit PCM"),
    ],
)
def test_sound_that_cannot_be_sent(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    shape: tuple[int, int],
    rate: int,
    width: int,
    why: str,
) -> None:
    file = wav(tmp_path / "said.wav", np.zeros(shape, np.int16), rate, width=width)
    told = refused(capsys, "speak", str(file), *ACCESS, "--room", "r")
    assert told.startswith(f"{file}: ")
    assert why in told


def test_sigterm_before_the_room_is_joined_ends_in_good_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = wav(tmp_path / "said.wav", counted(100))
    monkeypatch.setattr(ringroom, "transport", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:1")
    monkeypatch.setenv("LIVEKIT_TOKEN", "token")
    assert main(["speak", str(file)]) == 0
    assert capsys.readouterr() == ("", "")


COMMAND = """
import os, signal, sys, threading
from ringroom.cli import main
from ringroom.testing import FakeRoom

with FakeRoom("r") as room:
    def watch():
        room.wait_for_audio("audio", seconds=2.5)  # more than the file has: it begins again
        {then}
    threading.Thread(target=watch, daemon=True).start()
    os.environ |= {"LIVEKIT_URL": "ws://fake", "LIVEKIT_TOKEN": "any"}
    with room.stand_in("livekit"):
        code = main(["speak", "said.wav", "--room", "r", "--loop"])
    room.wait_for_app_gone(timeout=10)
    print("exit", code, flush=True)
"""


@pytest.mark.parametrize(
    ("then", "code", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGINT)", 130, " s played"),
        ("os.kill(os.getpid(), signal.SIGTERM)", 0, " s played"),
        ("room.close_room()", 1, "ringroom: error: "),
    ],
    ids=["Ctrl-C", "SIGTERM", "room ends"],
)
@pytest.mark.once
def test_how_a_loop_ends(tmp_path: Path, then: str, code: int, told: str) -> None:
    wav(tmp_path / "said.wav", counted(16_000))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COMMAND).replace("{then}", then)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert f"exit {code}" in done.stdout, done.stdout + done.stderr
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_file_goes_on_without_a_gap_where_it_begins_again(tmp_path: Path) -> None:
    from ringroom.cli.speaking import _opened, _pieces

    said = counted(10_000)
    with _opened(wav(tmp_path / "said.wav", said)) as file:
        pieces = _pieces(file, "audio", loop=True)
        heard = np.concatenate([next(pieces).samples for _ in range(9)])
    assert np.array_equal(heard, np.concatenate([said] * 3))
