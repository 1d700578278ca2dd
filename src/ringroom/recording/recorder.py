"""The way into the file: a bounded queue, and a thread of its own that writes.

Promises: recording neither holds up nor stops its caller. `Recorder.add` copies the frame and
returns; what cannot be recorded (a full disk, or one that is too slow) is counted in `missed` and
told once in the log. Memory is bounded: the queue, one chunk, and some 500 bytes for each chunk
written. The file is whole up to a moment ago: what was added reaches it within `FLUSH_SECONDS`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import AsyncIterable, Iterable
from typing import IO, TYPE_CHECKING, TypeVar, overload

from ringroom.closeable import Closeable
from ringroom.errors import ConfigurationError
from ringroom.frames import Item
from ringroom.option_checks import check_flag, check_whole
from ringroom.pieces import TextPiece
from ringroom.recording import format as layout
from ringroom.recording.tap import AsyncTap, Tap
from ringroom.recording.tape import Encoded, Tape, encoded
from ringroom.rpc import RpcAnswer, RpcCall
from ringroom.system import no_thread

if TYPE_CHECKING:
    from mcap.writer import Writer

__all__ = ["Recorder"]

T = TypeVar("T")

CHUNK_BYTES = 1 << 20
FLUSH_SECONDS = 0.5
CLOSE_SECONDS = 30.0
_MAX_U64 = (1 << 64) - 1


class Recorder(Closeable):
    """Writes what it is given into a new file at ``path``; a context manager. Thread-safe.

    A file that is there already is refused, unless ``overwrite`` replaces it; ``queue_bytes`` is
    how much may wait for the disk. Raises `ConfigurationError` when the file is there or cannot be
    made, the queue's size is none, or the package mcap is missing, `StartupError` when no thread
    is to be had.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        queue_bytes: int = 64 << 20,
    ) -> None:
        layout.require_mcap()
        self.path = layout.as_path(path)
        check_flag("overwrite", overwrite)
        check_whole("queue_bytes", queue_bytes, 1, 1 << 40)
        try:
            stream = self.path.open("wb" if overwrite else "xb")
        except FileExistsError:
            raise ConfigurationError(
                f"{path} is there already; overwrite=True replaces it"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be written ({error.strerror})") from None
        self._tape = Tape(str(path), queue_bytes)
        self._thread = threading.Thread(
            target=_write, args=(self._tape, stream), name="ringroom-recorder", daemon=True
        )
        try:
            self._thread.start()
        except BaseException as error:
            self._tape.close()  # which ends the thread, if there is one
            if isinstance(error, RuntimeError):
                stream.close()
                raise no_thread(self._thread.name, error) from error
            raise

    @overload
    def tap(self, receiver: AsyncIterable[T]) -> AsyncTap[T]: ...
    @overload
    def tap(self, receiver: Iterable[T]) -> Tap[T]: ...
    def tap(self, receiver: AsyncIterable[T] | Iterable[T]) -> AsyncTap[T] | Tap[T]:
        """What the receiver gives (``transport.recv()``, of either face), recorded on its way."""
        if isinstance(receiver, AsyncIterable):
            return AsyncTap(aiter(receiver), self.add)
        if isinstance(receiver, Iterable):
            return Tap(iter(receiver), self.add)
        raise ConfigurationError(
            f"a tap on a {type(receiver).__name__}, expected what recv() gives: "
            "recorder.tap(transport.recv())"
        )

    def add(self, item: Item) -> None:
        """Record one frame or event; a call (`RpcCall`) is left out, for nobody waits in a replay.
        Never raises and never waits for the disk."""
        if isinstance(item, RpcCall | RpcAnswer | TextPiece):
            return
        try:
            entry = encoded(item)
        except Exception as error:  # noqa: BLE001 (whatever it is: the receiving goes on)
            why = error if isinstance(item, Item) else "expected a frame or an event"
            self._tape.miss(f"a {type(item).__name__} cannot be recorded: {why}")
        else:
            self._tape.put(entry)

    @property
    def recorded(self) -> int:
        """Frames and events that are in the file."""
        return self._tape.recorded

    @property
    def missed(self) -> int:
        """Frames and events that are not in the file and will not be."""
        return self._tape.missed

    @property
    def problem(self) -> str:
        """Why something was missed first; empty when nothing was."""
        return self._tape.problem

    def close(self) -> None:
        """Write what waits, and the index. Idempotent; never raises for the disk."""
        self._tape.close()
        if self._thread is threading.current_thread():  # which has collected it
            return
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self._tape.miss(f"the disk took longer than {CLOSE_SECONDS:.0f} s", 0)

    def _left_open(self) -> str:
        return "Recorder" if hasattr(self, "_thread") and not self._tape.closing else ""


def _write(tape: Tape, stream: IO[bytes]) -> None:
    """The thread."""
    file = _File(stream)
    pending = 0
    try:
        file.start()
        due = 0.0
        while True:
            entry = tape.take(max(0.0, due - time.monotonic()) if pending else None)
            if entry is not None:
                due = due if pending else time.monotonic() + FLUSH_SECONDS
                pending += 1
                file.add(entry)
                tape.written(entry)
            elif not pending and tape.closing:
                break
            if pending and (entry is None or time.monotonic() >= due):
                file.flush()
                tape.reached_the_file(pending)
                pending = 0
        file.finish()
        stream.close()  # the last of it is written here
    except Exception as error:  # noqa: BLE001 (a full disk, or what the library does not take)
        # After half a record nothing more is written: what stands before it is still readable.
        tape.broke(f"{type(error).__name__}: {error}", pending)
    finally:
        with contextlib.suppress(OSError):  # it writes what it still holds once more
            stream.close()


class _File:
    """The writer of the library, and the channels that it knows so far."""

    def __init__(self, stream: IO[bytes]) -> None:
        from mcap.writer import CompressionType, Writer

        self._writer: Writer = Writer(
            stream, chunk_size=CHUNK_BYTES, compression=CompressionType.NONE
        )
        self._offset = time.time_ns() - time.monotonic_ns()
        self._schema = 0
        self._channels: dict[layout.Source, int] = {}

    def start(self) -> None:
        self._writer.start(layout.PROFILE)
        self._writer.add_metadata("ringroom", {layout.OFFSET: str(self._offset)})
        self._schema = self._writer.register_schema(layout.ENCODING, "text/plain", layout.SCHEMA)
        self._writer.flush()

    def add(self, entry: Encoded) -> None:
        channel = self._channels.get(entry.source)
        if channel is None:
            topic, metadata = layout.described(entry.source)
            channel = self._writer.register_channel(topic, layout.ENCODING, self._schema, metadata)
            self._channels[entry.source] = channel
        when = min(max(0, entry.monotonic_ns + self._offset), _MAX_U64)
        # MCAP's own sequence number has 32 bits; the record holds all of ours.
        self._writer.add_message(channel, when, entry.record, when, entry.sequence & 0xFFFF_FFFF)

    def flush(self) -> None:
        self._writer.flush()

    def finish(self) -> None:
        self._writer.finish()
