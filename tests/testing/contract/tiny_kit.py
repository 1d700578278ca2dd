"""The other side of the third party's provider: its server, and the contract's driver for it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from ringroom import AudioFrame, DataFrame
from ringroom.testing import contract

CLAIMS = contract.Capabilities(
    audio_in=True,
    audio_out=True,
    data_in=True,
    data_out=True,
    topics=True,
    events=True,
    unpublish=True,
    several_people=True,
    several_tracks=True,
    people=True,
    room_end=True,
    broken_connection=True,
    pacing=True,
    lossless_audio=True,
    patience=3.0,
)


class TinyDriver:
    """A server for one application, and all the others in its room."""

    def __init__(self) -> None:
        self.present: list[str] = []
        self.messages: dict[str, list[DataFrame]] = defaultdict(list)
        self.sounds: dict[str, list[bytes]] = defaultdict(list)
        self.rates: dict[str, int] = {}
        self.published: set[str] = set()
        self.sids: dict[tuple[str, str], str] = {}
        self.numbers = itertools.count()
        self.writer: asyncio.StreamWriter | None = None
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = self.run(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]

    def run(self, call: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self.loop).result(5)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                head = json.loads(line)
                body = await reader.readexactly(head["size"])
                self.take(head, body, writer)
        self.writer = None
        if "app" in self.present:
            self.present.remove("app")
        self.published.clear()
        writer.close()

    def take(self, head: Any, body: bytes, writer: asyncio.StreamWriter) -> None:
        track = head.get("track", "")
        if head["kind"] == "hello":
            self.writer = writer
            self.write("welcome", room="tiny room")
            for who in self.present:
                self.write("participant_joined", who=who)
            self.present.append(head["who"])
            for (who, name), sid in self.sids.items():
                self.write("publish", who=who, track=name, sid=sid)
        elif head["kind"] == "publish":
            self.published.add(track)
            self.rates[track] = head["rate"]
        elif head["kind"] == "unpublish":
            self.published.discard(track)
        elif head["kind"] == "audio":
            self.sounds[track].append(body)
        elif head["kind"] == "data":
            for who in self.present:
                self.messages[who].append(DataFrame(body, topic=head["topic"], participant="app"))

    def write(self, kind: str, body: bytes = b"", **fields: Any) -> None:
        if self.writer is not None:
            head = json.dumps(fields | {"kind": kind, "size": len(body)})
            self.writer.write(head.encode() + b"\n" + body)

    def tell(self, kind: str, body: bytes = b"", **fields: Any) -> None:
        async def write() -> None:
            self.write(kind, body, **fields)

        self.run(write())

    # What the contract calls.

    def join(self, who: str) -> None:
        async def enter() -> None:
            # In one turn: who says hello meanwhile is told of it once.
            self.present.append(who)
            self.write("participant_joined", who=who)

        self.run(enter())

    def leave(self, who: str) -> None:
        self.present.remove(who)
        for person, track in [*self.sids]:
            if person == who:
                self.unpublish(who, track)
        self.tell("participant_left", who=who)

    def people(self) -> list[str]:
        return self.present

    def publish_audio(self, who: str, track: str, sample_rate: int, channels: int) -> None:
        async def publish() -> None:
            sid = self.sids[who, track] = str(next(self.numbers))
            self.write("publish", who=who, track=track, sid=sid)

        self.run(publish())

    def unpublish(self, who: str, track: str) -> None:
        self.tell("unpublish", who=who, track=track, sid=self.sids.pop((who, track)))

    def speak(self, who: str, track: str, sound: AudioFrame) -> None:
        pcm, sid = sound.data, self.sids[who, track]
        for start in range(0, len(pcm), 1000):  # no whole number of frames, as on a real network
            self.tell("audio", pcm[start : start + 1000], who=who, track=track, sid=sid)

    def send_data(self, who: str, payload: bytes, topic: str, to: tuple[str, ...]) -> None:
        self.tell("data", payload, who=who, topic=topic)

    def heard(self, track: str) -> AudioFrame | None:
        pcm = b"".join(self.sounds[track])
        return AudioFrame(np.frombuffer(pcm, "<i2"), self.rates[track]) if pcm else None

    def received(self, who: str) -> list[DataFrame]:
        return self.messages[who]

    def tracks(self) -> set[str]:
        return self.published

    def close_room(self) -> None:
        self.tell("end", who="")

    def break_connection(self) -> None:
        assert self.writer is not None
        self.loop.call_soon_threadsafe(self.writer.close)

    def close(self) -> None:
        async def stop() -> None:
            self.server.close()
            if self.writer is not None:
                self.writer.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            if tasks:
                await asyncio.wait(tasks, timeout=1)

        self.run(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


@contextlib.contextmanager
def rooms() -> Iterator[contract.Room]:
    driver = TinyDriver()
    try:
        yield contract.Room(provider="tiny", options={"port": driver.port}, driver=driver)
    finally:
        driver.close()


SUBJECT = contract.Subject(name="tiny", rooms=rooms, capabilities=CLAIMS)
