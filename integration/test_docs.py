"""The examples of the documentation that want a LiveKit server, on a real one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ringroom
from ringroom.testing import sources
from ringroom.testing.server import LiveKitServer

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from docs_kit import Block, block_id, blocks

ROOM = "voice-room"  # the room of the examples
RATE = 48_000
LISTENING_SECONDS = 1.5


def close_room(server: LiveKitServer) -> None:
    from livekit import api

    async def delete() -> None:
        async with api.LiveKitAPI(server.url, server.api_key, server.api_secret) as client:
            await client.room.delete_room(api.DeleteRoomRequest(room=ROOM))

    asyncio.run(delete())


@contextlib.contextmanager
def somebody_speaks(server: LiveKitServer) -> Iterator[ringroom.Transport]:
    token = server.token("ann", ROOM)
    tone = ringroom.AudioFrame(sources.tone(440, 0.1, RATE), RATE)

    def speak(ann: ringroom.Transport) -> None:
        with contextlib.suppress(ringroom.RingroomError):
            while True:
                ann.send(tone)

    ann = ringroom.transport("livekit", url=server.url, token=token, kinds=("event",))
    thread = threading.Thread(target=speak, args=(ann,), daemon=True)
    thread.start()
    try:
        yield ann
    finally:
        ann.close()
        thread.join(10)


def wait_for_a_listener(ann: ringroom.Transport, program: subprocess.Popen[str]) -> None:
    """Until the application has joined and stayed for a while, or its program has ended."""
    joined, there = time.monotonic(), False
    events = ann.recv(timeout=0.1)
    while program.poll() is None:
        try:
            event = next(events)
        except TimeoutError:
            if there and time.monotonic() - joined > LISTENING_SECONDS:
                return
            continue
        if event.kind is ringroom.EventKind.PARTICIPANT_JOINED:
            joined, there = time.monotonic(), True
        elif event.kind is ringroom.EventKind.PARTICIPANT_LEFT:
            there = False


@pytest.mark.parametrize(
    "block", [block for block in blocks("python") if block.needs_livekit], ids=block_id
)
def test_an_example_runs_on_a_real_server(
    block: Block, livekit_server: LiveKitServer, tmp_path: Path
) -> None:
    environment = os.environ | {
        "LIVEKIT_URL": livekit_server.url,
        "LIVEKIT_TOKEN": livekit_server.token("app", ROOM),
    }
    with somebody_speaks(livekit_server) as ann:
        program = subprocess.Popen(
            block.command(tmp_path / "snippet.py"),
            env=environment,
            cwd=tmp_path,  # where an example records to
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_for_a_listener(ann, program)
            close_room(livekit_server)
            output, _ = program.communicate(timeout=30)
        finally:
            program.kill()
            program.communicate()
    assert program.returncode == 0, output
