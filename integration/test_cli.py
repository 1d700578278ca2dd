"""The command line against a real server: run, its ends, its refusals, and the demo."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import wave
from contextlib import suppress
from pathlib import Path

import pytest

import ringroom
from ringroom.testing import sources
from ringroom.testing.server import LiveKitRoom

APP = "def echo(frame):\n    return frame.gain(0.5)\n"
RATE = 48_000


def environment(room: LiveKitRoom) -> dict[str, str]:
    return os.environ | {
        "LIVEKIT_URL": room.url,
        "LIVEKIT_API_KEY": room.server.api_key,
        "LIVEKIT_API_SECRET": room.server.api_secret,
    }


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "ringroom", *words]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_run_answers_and_ends_in_good_order(
    livekit_room: LiveKitRoom, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "my_app.py").write_text(APP)
    words = command("run", "my_app:echo", "--room", livekit_room.name, "--identity", "bot")
    token = livekit_room.token("ann")
    with ringroom.transport("livekit", url=livekit_room.url, token=token) as ann:
        speaking = threading.Event()
        speaking.set()

        def speak() -> None:
            tone = ringroom.AudioFrame(sources.tone(440, 0.1, RATE), RATE)
            with suppress(ringroom.RingroomError):
                while speaking.is_set():
                    ann.send(tone)

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        program = subprocess.Popen(
            words, cwd=tmp_path, env=environment(livekit_room), stdout=subprocess.PIPE, text=True
        )
        try:
            replies = ann.recv(timeout=30)
            loudest = 0
            while loudest < 3_000:
                frame = next(replies)
                assert frame.participant == "bot"
                loudest = abs(frame.samples.astype(int)).max()
            program.send_signal(number)
            output, _ = program.communicate(timeout=30)
        finally:
            program.kill()
            program.communicate()
            speaking.clear()
            speaker.join(10)
    assert program.returncode == code, output
    assert f"in room {livekit_room.name!r} as 'bot'" in output
    assert re.search(r"received \d+: \d+ processed, 0 dropped", output)


@pytest.mark.alone
def test_a_file_is_spoken_to_its_end(livekit_room: LiveKitRoom, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "said.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(sources.tone(440, 1.0, RATE).tobytes())
    token = livekit_room.token("ann")
    with ringroom.transport("livekit", url=livekit_room.url, token=token, frame_ms=10) as ann:
        replies = ann.recv(timeout=30)
        speaker = subprocess.Popen(
            command("speak", "said.wav", "--room", livekit_room.name, "--identity", "bob"),
            cwd=tmp_path,
            env=environment(livekit_room),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            loud = 0
            while loud < 95:  # of 100
                frame = next(replies)
                assert (frame.participant, frame.track.name) == ("bob", "audio")
                loud += abs(frame.samples.astype(int)).max() > 3_000
            output, _ = speaker.communicate(timeout=30)
        finally:
            speaker.kill()
            speaker.communicate()
    assert speaker.returncode == 0, output
    assert output.endswith("said.wav: 1.0 s played\n")


def test_a_wrong_secret_is_one_clear_error(livekit_room: LiveKitRoom, tmp_path: Path) -> None:
    (tmp_path / "my_app.py").write_text(APP)
    secret = "another-secret-that-is-long-enough-too"
    done = subprocess.run(
        command("run", "my_app:echo", "--room", livekit_room.name),
        cwd=tmp_path,
        env=environment(livekit_room) | {"LIVEKIT_API_SECRET": secret},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("ringroom: error:")]
    assert len(errors) == 1
    assert "refused the token" in errors[0]
    assert "Traceback" not in done.stderr
    assert secret not in done.stderr


@pytest.mark.alone
def test_the_demo_on_a_real_server(livekit_room: LiveKitRoom, tmp_path: Path) -> None:
    done = subprocess.run(
        command("demo", "--livekit", "--seconds", "3", "--burn-ms", "2"),
        cwd=tmp_path,
        env=environment(livekit_room),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all are accounted for" in done.stdout
    heard = re.search(r"own track: ([\d.]+) of 3 s heard", done.stdout)
    assert heard is not None
    assert float(heard[1]) > 2.5
    assert (tmp_path / "ringroom-demo.wav").stat().st_size > 60_000
