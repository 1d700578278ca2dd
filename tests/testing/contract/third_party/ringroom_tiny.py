"""A provider as somebody else would write it: rooms behind a TCP socket, a line of JSON and bytes
for each message. It knows nothing of ringroom but its public interface.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

from ringroom import DataFrame, Event, EventKind, Kind, Participant, RoomError, TrackInfo
from ringroom.providers.provider import Joined, Playout, Provider, ProviderSpec


@dataclass(frozen=True, kw_only=True)
class Tiny(ProviderSpec):
    name = "tiny"

    port: int
    identity: str = "app"

    def open(self, descriptors):
        return TinyProvider(self)


class TinyProvider(Provider):
    def __init__(self, spec):
        self.spec = spec
        self.tracks = {}
        self.held = {}
        self.task = self.writer = None

    async def connect(self, sink, options):
        self.sink = sink
        self.length = 2 * options.sample_rate * options.frame_ms // 1000
        self.rate = options.sample_rate
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.spec.port)
        self.write("hello", who=self.spec.identity)
        answer, _ = await self.receive()
        if answer["kind"] != "welcome":
            raise RoomError("tiny: not let in", reason="unauthorized")
        self.task = asyncio.create_task(self.listen())
        return Joined(room=answer["room"], identity=self.spec.identity)

    def write(self, kind, body=b"", **fields):
        self.writer.write(json.dumps(fields | {"kind": kind, "size": len(body)}).encode() + b"\n")
        self.writer.write(body)

    async def receive(self):
        head = json.loads(await self.reader.readline() or b'{"kind": "lost", "size": 0}')
        return head, await self.reader.readexactly(head["size"])

    async def listen(self):
        ending, error = "", ""
        while not ending:
            head, body = await self.receive()
            if head["kind"] in ("end", "lost"):
                ending = head["kind"]
                error = "tiny: the connection is lost" if ending == "lost" else ""
            else:
                self.handle(head, body)
        for track in self.tracks.values():
            track.close(ending)
        self.sink.ended(ending, error=error)

    def handle(self, head, body):
        kind, track, who = head["kind"], head.get("track", ""), Participant(identity=head["who"])
        info = TrackInfo(
            sid=head.get("sid", ""), name=track, kind=Kind.AUDIO, participant=head["who"]
        )
        if kind == "publish":
            now = time.monotonic_ns()
            published = EventKind.TRACK_PUBLISHED
            self.sink.event(Event(kind=published, track=info, participant=who, received_ns=now))
            if self.sink.wants(info, who):
                self.tracks[info.sid] = self.sink.open_track(info, who)
        elif kind == "audio" and info.sid in self.tracks:
            sound = self.held.pop(info.sid, b"") + body
            while len(sound) >= self.length:
                self.tracks[info.sid].audio(memoryview(sound[: self.length]), self.rate, 1)
                sound = sound[self.length :]
            self.held[info.sid] = sound
        elif kind == "unpublish":
            if info.sid in self.tracks:
                self.tracks.pop(info.sid).close()
            self.sink.event(Event(kind=EventKind.TRACK_UNPUBLISHED, track=info, participant=who))
        elif kind == "data":
            self.sink.data(DataFrame(body, topic=head["topic"], participant=head["who"]))
        elif kind in ("participant_joined", "participant_left"):
            self.sink.event(Event(kind=EventKind(kind), participant=who))

    async def publish(self, track):
        self.write("publish", track=track.name, rate=track.sample_rate)
        return TinyPlayout(self, track)

    async def send_data(self, frame):
        self.write("data", frame.payload, topic=frame.topic, to=frame.to)
        await self.writer.drain()

    async def close(self):
        if self.task is not None:
            self.task.cancel()
        if self.writer is not None:
            self.writer.close()


class TinyPlayout(Playout):
    def __init__(self, provider, track):
        self.provider, self.track, self.ends = provider, track, 0.0

    def queued(self):
        return max(0.0, self.ends - asyncio.get_running_loop().time())

    async def play(self, frame):
        await asyncio.sleep(self.queued())
        self.ends = max(self.ends, asyncio.get_running_loop().time()) + frame.duration
        self.provider.write("audio", frame.data, track=self.track.name)

    def clear(self):
        return 0.0  # what is written is beyond recall

    async def close(self):
        if not self.provider.writer.is_closing():
            self.provider.write("unpublish", track=self.track.name)
