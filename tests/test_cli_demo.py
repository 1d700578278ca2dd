"""``ringroom demo``: what it does, what it says of it, and its sound."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

import cli_kit
from app_kit import until
from cli_kit import lane, refused
from ringroom.cli import main, speech
from ringroom.cli.demo import Demo, Result, verdict
from ringroom.cli.inline import Comparison, Outcome
from ringroom.cli.speech import Heard
from ringroom.errors import ConfigurationError, StartupError
from ringroom.faces.connection import Statistics
from ringroom.lanes.statistics import LaneCounts
from ringroom.providers.fake import Fake
from ringroom.testing import FakeRoom

no_environment = cli_kit.no_environment


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
def test_sigterm_ends_the_demo_and_its_comparison_without_a_trace(tmp_path: Path) -> None:
    words = ["demo", "--burn-ms", "1", "--out", str(tmp_path / "heard.wav")]
    with subprocess.Popen(
        [sys.executable, "-m", "ringroom", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        assert "for comparison" in demo.stdout.readline()
        folder = Path(f"/proc/{demo.pid}/task/{demo.pid}")
        until(lambda: (folder / "children").read_text())
        demo.terminate()
        _, errors = demo.communicate(timeout=30)
    assert (demo.returncode, errors) == (0, "")


@pytest.mark.once
@pytest.mark.parametrize("orders", [b"", pickle.dumps(("half", "of", "them"))[:-9]])
def test_a_comparison_whose_starter_has_ended_already_says_nothing(orders: bytes) -> None:
    command = [sys.executable, "-m", "ringroom.cli.inline"]
    done = subprocess.run(command, input=orders, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


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


@pytest.mark.once
@pytest.mark.timeout(60)
def test_a_comparison_whose_room_ends_before_the_first_word_ends(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with FakeRoom() as room:
        comparison = Comparison(Fake(room=room, identity="inline"), 1.0, 0.0)
        try:
            room.close_room("nobody came")
            with pytest.raises(StartupError, match="ended early"):
                comparison.result()
        finally:
            comparison.close()
    assert "the room has ended: nobody came" in capfd.readouterr().err


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


# Its sound.


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
