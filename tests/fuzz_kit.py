"""Bytes that somebody has damaged, for every decoder: each gives a value or a `WireError`.

A short run is part of the suite (test_fuzz.py). A long one, by hand:

    python tests/fuzz_kit.py 1000000 [SEED]

A case is a valid encoding, or noise, that was damaged in one to six places. Anything else than a
value or a `WireError` ends the run with the bytes, which then belong into the decoder's own tests.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ringroom import Recorder, message_codec, messages
from ringroom.dtmf import DtmfFrame
from ringroom.errors import ClosedError, ConfigurationError, WireError
from ringroom.events import Event, EventKind, Kind, Participant, RoomInfo, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, FileFrame, Item, TextFrame, VideoFrame
from ringroom.lanes import records
from ringroom.link import Link
from ringroom.pieces import ADD, TextPiece
from ringroom.providers.fake import messages as fake
from ringroom.providers.fake import wire
from ringroom.recording import Reader
from ringroom.rpc import RpcAnswer, RpcCall

ANN = Participant(identity="ann", sid="PA", name="Ann é", metadata="{}", attributes={"a": "b"})
MIC = TrackInfo(sid="TR", name="mic", kind=Kind.AUDIO, participant="ann", source="microphone")
HALL = RoomInfo(name="hall", sid="RM_1", metadata="{é}")
ITEMS: tuple[Item, ...] = (
    AudioFrame(np.arange(6, dtype=np.int16), 16_000, 2, track=MIC),
    VideoFrame(bytes(range(6)), 2, 2, rotation=90, timestamp_us=5, track="camera"),
    DataFrame(b"hello", "chat", "ann", to=("bob", "cé")),
    TextFrame("hé".encode(), "lk.chat", "ann", to=("bob",), attributes={"a": "1", "é": ""}),
    FileFrame(b"\xff", "photos", "ann", name="é.jpg", mime_type="image/jpeg", attributes={"a": ""}),
    RpcCall("hé".encode(), "greet", "ann", number=7, timeout=2.5),
    RpcCall(b"", "greet", "ann", number=7).answer("hé"),
    RpcCall(b"", "greet", "ann", number=7).refuse("hé", code=42, data="{}"),
    TextPiece.first(TextFrame(b"", "lk.chat", to=("bob",), attributes={"number": "é"}), 7),
    TextPiece("hé".encode(), "lk.chat", number=7, step=ADD),
    DtmfFrame("#", participant="ann"),
    Event(kind=EventKind.TRACK_MUTED, participant=ANN, track=MIC, reason="why"),
    Event(kind=EventKind.ROOM_CHANGED, room=HALL),
    Event(kind=EventKind.CONNECTION_QUALITY, participant=ANN, quality="poor"),
    Event(kind=EventKind.ACTIVE_SPEAKERS, speakers=("ann", "bob")),
)
NUMBERS = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 64) - 1)


class Decoder:
    """What is fuzzed: valid encodings, and what makes something of bytes.

    ``whole`` is how many each encoding holds, for one that ends quietly where the damage is and
    gives how many it has read.
    """

    def __init__(
        self,
        name: str,
        seeds: Sequence[bytes],
        decode: Callable[[bytes], object],
        whole: int | None = None,
    ) -> None:
        self.name, self.seeds, self.decode, self.whole = name, tuple(seeds), decode, whole

    def check(self, raw: bytes) -> bool:
        """Whether it gave a value. Raises what a decoder must not raise."""
        try:
            self.decode(raw)
        except WireError:
            return False
        return True


def damaged(seeds: Sequence[bytes], dice: random.Random) -> bytes:
    raw = bytearray(dice.choice(seeds) if dice.random() < 0.95 else dice.randbytes(60))
    for _ in range(dice.randint(1, 6)):
        place = dice.randint(0, len(raw))
        match dice.randint(0, 6):
            case 0:
                raw[place : place + 1] = dice.randbytes(1)
            case 1:
                del raw[place:]
            case 2:
                del raw[place : place + dice.randint(1, 8)]
            case 3:
                raw[place:place] = dice.randbytes(dice.randint(1, 8))
            case 4:
                other = dice.choice(seeds)
                raw[place:] = other[dice.randint(0, len(other)) :]
            case 5:
                number = struct.pack("<Q", dice.choice(NUMBERS))[: dice.choice((1, 2, 4, 8))]
                raw[place : place + len(number)] = number
            case 6 if raw:
                raw[min(place, len(raw) - 1)] ^= 1 << dice.randint(0, 7)
    return bytes(raw)


def a_record() -> Decoder:
    seeds = [b"".join(records.encode(item, (7, 8))) for item in ITEMS]
    return Decoder("record", seeds, lambda raw: records.decode(raw, MIC))


def _message_seeds() -> list[bytes]:
    blank = {
        "int": 3,
        "float": 0.5,
        "str": "text",
        "bool": True,
        "bytes": b"blob",
        "dict[str, Any]": {"a": 1},
        "list[int]": [1, 2],
        "list[str]": ["a", "b"],
    }
    made = []
    for kind in messages.Message.types.values():
        values = {name: blank[type_] for name, type_ in kind.fields.items()}
        made.append(message_codec.encode(kind(**values)))
    return made


def a_message() -> Decoder:
    return Decoder("message", _message_seeds(), message_codec.decode)


def a_link() -> Decoder:
    seeds = [struct.pack("!II", len(raw), 0) + raw for raw in _message_seeds()]

    def decode(raw: bytes) -> int:
        read = 0
        far, near = socket.socketpair()
        with far, contextlib.closing(Link(near)) as link:
            far.sendall(raw)
            far.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ClosedError):
                while link.receive_nowait() is not None:
                    read += 1
        return read

    return Decoder("link", seeds, decode, whole=1)


def a_fake_message() -> Decoder:
    said: list[fake.Message] = [
        fake.Join(identity="app"),
        fake.Happened(kind=EventKind.PARTICIPANT_JOINED, participant=ANN, reason=""),
        fake.TrackPublished(track=MIC, participant=ANN, muted=False, withheld=False),
        fake.TrackWithheld(track="TR_1", withheld=True),
        fake.AllowSubscribers(payload=b'{"everywhere": ["ann"], "tracks": {"a": null}}'),
        fake.Audio(track="TR", sample_rate=16_000, channels=1, time_ns=3, payload=bytes(8)),
        fake.Data(
            request=1, participant="ann", topic="t", reliable=True, to=("a",), payload=b"hello"
        ),
        fake.Text(
            request=1, participant="", topic="t", to=(), attributes={"a": "b"}, payload=b"hello"
        ),
        fake.Dtmf(request=1, participant="ann", payload=b"#"),
        fake.Call(request=1, participant="ann", method="m", timeout_ms=500, payload=b"hello"),
        fake.Answered(request=1, code=42, detail="d", payload=b"hello"),
        fake.Joined(room=HALL, participant=ANN),
        fake.RoomChanged(room=HALL),
        fake.QualityTold(participant=ANN, quality="poor"),
        fake.TextBroken(participant=ANN, topic="t", reason="why"),
        fake.Publish(
            request=1, track="1", name="mic", kind=Kind.AUDIO, source="microphone", muted=True
        ),
        fake.Mute(track="1", muted=True),
        fake.SetProfile(request=1, name="Ann", metadata="{}", attributes={"a": "b"}),
    ]
    return Decoder("fake room's message", [wire.encode(one) for one in said], wire.decode)


def a_recording() -> Decoder:
    """The file is read to its end; where it is damaged, reading stops and says where."""
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name, "call.mcap")
    with Recorder(path) as recorder:
        for item in ITEMS:
            recorder.add(item)
    seed = path.read_bytes()
    fd = os.memfd_create("recording")

    def decode(raw: bytes, keep: object = folder) -> int:
        read = 0
        os.ftruncate(fd, 0)
        os.pwrite(fd, _checksummed(raw), 0)
        with contextlib.suppress(ConfigurationError):
            for _ in Reader(f"/proc/self/fd/{fd}").entries():
                read += 1
        return read

    recorded = [item for item in ITEMS if not isinstance(item, RpcCall | RpcAnswer | TextPiece)]
    made = Decoder("recording", [seed], decode, whole=len(recorded))
    made.close = lambda: (os.close(fd), folder.cleanup())  # type: ignore[attr-defined]
    return made


def _checksummed(raw: bytes) -> bytes:
    """With the chunk's checksum put right where it can be, so that damage within is looked at."""
    header = struct.Struct("<BQ")
    place = 8
    while place + header.size <= len(raw):
        code, length = header.unpack_from(raw, place)
        body = raw[place + header.size : place + header.size + length]
        if code == 0x06 and len(body) == length >= 40:
            content = body[40:]
            put = struct.pack("<QI", len(content), zlib.crc32(content))
            start = place + header.size + 16
            return raw[:start] + put + raw[start + len(put) :]
        place += header.size + length
    return raw


ALL: tuple[Callable[[], Decoder], ...] = (
    a_record,
    a_message,
    a_link,
    a_fake_message,
    a_recording,
)


def fuzz(decoder: Decoder, cases: int, seed: int) -> int:
    """How many gave a value."""
    dice = random.Random(seed)
    values = 0
    for _ in range(cases):
        raw = damaged(decoder.seeds, dice)
        try:
            values += decoder.check(raw)
        except Exception as error:
            error.add_note(f"{decoder.name}, seed {seed}: {raw!r}")
            raise
    return values


def main(cases: int, seed: int) -> None:
    for make in ALL:
        decoder = make()
        began, share = time.monotonic(), cases // len(ALL)
        values = fuzz(decoder, share, seed)
        seconds = time.monotonic() - began
        print(
            f"{decoder.name}: {share} cases, {values} values, {share - values} wire errors, "
            f"{seconds:.0f} s",
            flush=True,
        )
        getattr(decoder, "close", lambda: None)()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32))
