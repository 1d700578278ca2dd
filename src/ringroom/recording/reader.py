"""The way out of the file: items in the order in which they were recorded, up to where it is cut.

Law: of a file that is cut after any byte, exactly the items whose records lie before the cut are
read. Where bytes are damaged, reading ends before the chunk (or the record) that they are in; of a
last chunk that ends in zeros, which may stand for what was not written, before the zeros.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import IO, TYPE_CHECKING

from ringroom.errors import ConfigurationError, WireError
from ringroom.events import TrackInfo
from ringroom.frames import Item
from ringroom.lanes import records
from ringroom.recording import format as layout

if TYPE_CHECKING:
    from mcap.records import Channel

__all__ = ["Entry", "Reader"]

_RECORD = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")
_CHUNK = struct.Struct("<QQQII")
_LENGTH = struct.Struct("<Q")
# The kinds of MCAP's records that are looked at; all others are passed over.
_HEADER, _CHANNEL, _MESSAGE_CODE, _CHUNK_CODE, _DATA_END = 0x01, 0x04, 0x05, 0x06, 0x0F


@dataclass(frozen=True, slots=True)
class Entry:
    """An item, and when it came in."""

    time_ns: int
    """The wall clock, in nanoseconds since 1970."""
    item: Item


class Reader:
    """A recording. Iterate over it as often as you like: each time from the beginning.

    Raises `ConfigurationError` when there is no such file, when it is not an MCAP file or holds
    something else than a recording of ours, or when the package mcap is missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        layout.require_mcap()
        self.path = layout.as_path(path)
        self.cut = ""
        """Where the file ends too early, or is damaged; empty when it is whole. Known after it
        was read to its end."""
        for _ in self.batches():
            break  # so that what is wrong with the file shows here
        self.cut = ""

    def __iter__(self) -> Iterator[Item]:
        for batch in self.batches():
            for entry in batch:
                yield entry.item

    def entries(self) -> Generator[Entry, None, None]:
        """Items with their times."""
        for batch in self.batches():
            yield from batch

    def batches(self) -> Generator[list[Entry], None, None]:
        """Entries by chunk, as they are read from the disk."""
        self.cut = ""
        try:
            stream = self.path.open("rb")
        except OSError as error:
            raise ConfigurationError(f"{self.path}: cannot be read ({error.strerror})") from None
        with stream:
            scan = _Scan(str(self.path), stream)
            try:
                yield from scan.batches()
            except _Cut as cut:
                self.cut = f"{self.path}: {cut}"


class _Cut(Exception):
    """Nothing can be read beyond here."""


class _Scan:
    """One pass over a file.

    The framing of records is done here, because the library's readers take what a cut has left
    of a record for a whole one.
    """

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self._name = name
        self._stream = stream
        self._size = os.fstat(stream.fileno()).st_size
        self._ours = False
        self._tracks: dict[int, TrackInfo | str | None] = {}

    def batches(self) -> Generator[list[Entry], None, None]:
        magic = self._stream.read(len(layout.MAGIC))
        if not layout.MAGIC.startswith(magic):
            raise ConfigurationError(f"{self._name}: is not an MCAP file")
        if magic != layout.MAGIC:
            raise _Cut(f"cut off at byte {self._size}")
        for code, body, whole in _pieces(self._stream, self._size):
            if code == _DATA_END and whole:
                return self._check_end()
            at = self._stream.tell()
            batch, complete = self._batch(code, body, whole)
            if whole and not complete and self._lacks_its_end(code, body):
                whole = False  # though it has its length
                batch, _ = self._batch(code, body.rstrip(b"\0"), whole)
            if batch:
                yield batch
            if not complete:
                raise _Cut(f"damaged before byte {at}" if whole else f"cut off at byte {at}")
        raise _Cut(f"cut off at byte {self._size}")

    def _lacks_its_end(self, code: int, body: bytes) -> bool:
        """Whether a damaged chunk may hold zeros for what was not written yet: then no other record
        follows it, whose first byte is not zero."""
        if code != _CHUNK_CODE or not body.endswith(b"\0"):
            return False
        return not self._stream.read(_RECORD.size).strip(b"\0")

    def _batch(self, code: int, body: bytes, whole: bool) -> tuple[list[Entry], bool]:
        """The entries of a record at the top of the file, and whether that was all of it."""
        batch: list[Entry] = []
        if code == _CHUNK_CODE:
            return batch, self._chunk(body, whole, batch) and whole
        return batch, whole and self._record(code, body, batch)

    def _chunk(self, body: bytes, whole: bool, batch: list[Entry]) -> bool:
        data = _whole_chunk(body) if whole else _rest_of_chunk(body)
        if data is None:
            return False
        pieces = _pieces(BytesIO(data), len(data))
        return all(
            complete and self._record(code, piece, batch) for code, piece, complete in pieces
        )

    def _record(self, code: int, body: bytes, batch: list[Entry]) -> bool:
        """Take a record that is whole; False when it is damaged."""
        try:
            if code == _MESSAGE_CODE:
                self._message(body, batch)
            elif code == _CHANNEL:
                self._channel(body)
            elif code == _HEADER:
                self._ours = _profile(body) == layout.PROFILE
        except ConfigurationError:
            raise
        except (WireError, ValueError, struct.error):
            return False
        return code != 0

    def _message(self, body: bytes, batch: list[Entry]) -> None:
        channel, _, log_time, _ = _MESSAGE.unpack_from(body)
        if channel in self._tracks:
            record = memoryview(body)[_MESSAGE.size :]
            batch.append(Entry(log_time, records.decode(record, self._tracks[channel])))

    def _channel(self, body: bytes) -> None:
        channel = _parsed_channel(body)
        encoding = channel.message_encoding
        if encoding == layout.ENCODING:
            self._tracks[channel.id] = layout.source_from(channel.metadata)
        elif encoding.startswith("ringroom.record."):
            raise ConfigurationError(
                f"{self._name}: holds {encoding}, this version reads {layout.ENCODING}; "
                "it was recorded by another version of ringroom"
            )
        elif not self._ours:
            raise ConfigurationError(
                f"{self._name}: is an MCAP file, but no recording of ringroom: "
                f"its channel {channel.topic!r} holds {encoding!r}"
            )

    def _check_end(self) -> None:
        self._stream.seek(-len(layout.MAGIC), os.SEEK_END)
        if self._stream.read() != layout.MAGIC:
            raise _Cut(f"cut off at byte {self._size}, behind the last item")


def _pieces(stream: IO[bytes], size: int) -> Iterator[tuple[int, bytes, bool]]:
    """Records: the kind, the content, and whether that is all of it. The first that is not whole,
    or whose head is not, is the last."""
    while head := stream.read(_RECORD.size):
        if len(head) < _RECORD.size:
            yield 0, b"", False
            return
        code, length = _RECORD.unpack(head)
        # A damaged length may be anything: no more is read than is there.
        left = size - stream.tell()
        yield code, stream.read(min(length, left)), length <= left
        if length > left:
            return


def _profile(header: bytes) -> str:
    (length,) = struct.unpack_from("<I", header)
    return header[4 : 4 + length].decode()


def _parsed_channel(body: bytes) -> Channel:
    from mcap.data_stream import ReadDataStream
    from mcap.exceptions import McapError
    from mcap.records import Channel

    try:
        channel: Channel = Channel.read(ReadDataStream(BytesIO(body)))
    except McapError as error:
        raise ValueError("no channel") from error
    return channel


def _whole_chunk(body: bytes) -> bytes | None:
    """What is in a chunk, of whatever compression; None when it is damaged."""
    from mcap.data_stream import ReadDataStream
    from mcap.records import Chunk
    from mcap.stream_reader import get_chunk_data_stream

    try:
        chunk = Chunk.read(ReadDataStream(BytesIO(body)))
        stream, length = get_chunk_data_stream(chunk, validate_crc=True)
        return stream.read(length)
    except Exception:  # noqa: BLE001 (each compression has errors of its own)
        return None


def _rest_of_chunk(body: bytes) -> bytes | None:
    """What is left of an uncompressed chunk that is cut in two; None when there is nothing."""
    if len(body) < _CHUNK.size:
        return None
    *_, compression = _CHUNK.unpack_from(body)
    if compression:  # the length of its name
        return None
    data = body[_CHUNK.size + _LENGTH.size :]
    if all(code and complete for code, _, complete in _pieces(BytesIO(data), len(data))):
        return data
    # Where the power failed a file may hold zeros for what was not written yet, and a record that
    # ends in them may be half of one.
    return data.rstrip(b"\0")
