"""``ringroom speak``: a WAV file is heard in a room, and what cannot be heard is said before."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import cli_kit
import ringroom
from cli_kit import SECRET, refused
from ringroom.cli import main
from ringroom.testing import FakeRoom, Recording

no_environment = cli_kit.no_environment
LONG = 30.0
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


def spoken(fake_room: FakeRoom, file: Path, *more: str) -> Recording:
    """What the room has heard of it, on the track that is named last."""
    with fake_room.stand_in("livekit"):
        assert main(["speak", str(file), *ACCESS, "--room", fake_room.name, *more]) == 0
    fake_room.wait_for_app_gone(timeout=LONG)  # it hears on a thread of its own
    return fake_room.heard(more[-1] if more else "audio")


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
    heard = spoken(fake_room, file, "--track", "mic")
    assert np.array_equal(heard.samples, said)
    assert heard.sample_rate == rate
    told = capsys.readouterr().out
    assert told.startswith(f"in room {fake_room.name!r} as 'speaker'; Ctrl-C ends it\n")
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


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("--track", ""), "--track is empty, expected a name"),
        (("--track", "x" * 257), "--track: the track name has 257 bytes"),
    ],
)
def test_a_name_that_no_track_can_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, str], why: str
) -> None:
    file = wav(tmp_path / "said.wav", counted(100))
    assert why in refused(capsys, "speak", str(file), *ACCESS, "--room", "r", *given)


def test_of_a_file_that_was_cut_off_all_whole_samples_are_heard(
    fake_room: FakeRoom, tmp_path: Path
) -> None:
    said = counted(6_000).repeat(2, axis=1)
    file = wav(tmp_path / "said.wav", said)
    file.write_bytes(file.read_bytes()[:-7])
    assert np.array_equal(spoken(fake_room, file).samples, said[:-2])


@contextlib.contextmanager
def piped(file: Path) -> Iterator[Path]:
    """The end of a pipe from which the file's content is read."""
    reading, writing = os.pipe()
    with open(reading), open(writing, "wb") as into, ThreadPoolExecutor() as threads:
        content = file.read_bytes()
        threads.submit(lambda: (into.write(content), into.close()))
        yield Path(f"/dev/fd/{reading}")


def test_what_comes_through_a_pipe_is_heard(fake_room: FakeRoom, tmp_path: Path) -> None:
    """Also where its beginning does not tell how long it is, as of what is still recorded."""
    said = counted(6_000)
    file = wav(tmp_path / "said.wav", said)
    content = file.read_bytes()
    file.write_bytes(content[:40] + b"\xff" * 4 + content[44:])
    with piped(file) as pipe:
        assert np.array_equal(spoken(fake_room, pipe).samples, said)


def test_a_pipe_cannot_be_played_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with piped(wav(tmp_path / "said.wav", counted(100))) as pipe:
        told = refused(capsys, "speak", str(pipe), *ACCESS, "--room", "r", "--loop")
    assert told.startswith(f"{pipe}: --loop begins a file again")


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
from ringroom.testing import FakeRoom, Recording

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
    from ringroom.cli.speaking import _next, _opened, _pieces

    said = counted(10_000)
    with _opened(wav(tmp_path / "said.wav", said)) as file:
        first = _next(file)
        assert first is not None
        pieces = _pieces(file, first, loop=True)
        heard = np.concatenate([next(pieces).samples for _ in range(9)])
    assert np.array_equal(heard, np.concatenate([said] * 3))
