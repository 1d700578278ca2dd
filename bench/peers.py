"""Other people's ways to pass frames on, in the form of `channels`; each imports its package late.

They are in one environment (`ENVIRONMENTS`, one entry each, so that one that does not install takes
no other along), whose packages the children put behind their own.
"""

from __future__ import annotations

import ctypes
import gc
import os
import site
import tempfile
import uuid
from collections.abc import Callable
from typing import Any

from bench.channels import SMALL, Channel, Copied, Get, InPlace, Loan, Put
from bench.environments import Environment, Unavailable
from ringroom.lanes.ring import Buffer


class _Peer(Channel):
    environment: Environment

    def found(self) -> None:
        """Make the package importable; after the fork, so that no process holds two."""
        site.addsitedir(str(self.environment.packages))


class ZeroMQ(_Peer, Copied):
    """PUSH and PULL over ``ipc``; large frames are received without a copy."""

    name = "pyzmq ipc"
    environment = Environment("pyzmq", ("pyzmq>=26",))

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self._folder = tempfile.TemporaryDirectory()
        self._address = f"ipc://{self._folder.name}/frames"

    def _socket(self, kind: str) -> Any:
        self.found()
        import zmq

        socket = zmq.Context().socket(getattr(zmq, kind))
        socket.set_hwm(self.depth)
        return socket

    def writing(self) -> Put:
        socket = self._socket("PUSH")
        socket.connect(self._address)
        put: Put = socket.send
        return put

    def reading(self) -> Get:
        socket = self._socket("PULL")
        socket.bind(self._address)
        if self.nbytes < SMALL:
            get: Get = socket.recv
            return get
        receive = socket.recv
        return lambda: memoryview(receive(copy=False).buffer)

    def close(self) -> None:
        self._folder.cleanup()


class FasterFifo(_Peer, Copied):
    """`put` and `get_many`, without pickling."""

    name = "faster-fifo"
    environment = Environment("faster-fifo", ("faster-fifo>=1.5",))

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self.found()
        from faster_fifo import Queue

        self._queue: Any = Queue((nbytes + 64) * self.depth, loads=_same, dumps=bytes)

    def writing(self) -> Put:
        put = self._queue.put
        return lambda frame: put(frame, timeout=60)

    def reading(self) -> Get:
        waiting: list[Buffer] = []

        def get() -> Buffer:
            if not waiting:
                waiting.extend(reversed(self._queue.get_many(timeout=60)))
            return waiting.pop()

        return get

    def close(self) -> None:
        self._queue.close()


def _same(frame: Any) -> Any:
    return frame


class _Iceoryx(_Peer):
    """Publish and subscribe, and an event that wakes the reader. A publisher whose subscriber is
    full loses the frame (`RetryUntilDelivered` does not wait in 0.10), so the writer counts what
    is under way, and an eventfd gives it credit back: an application that may lose nothing needs
    the same."""

    environment = Environment("iceoryx2", ("iceoryx2>=0.7",))

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self._service = f"ringroom-bench-{uuid.uuid4().hex}"
        self._kept: list[Any] = []
        self._freed = os.eventfd(0)

    def _factories(self) -> tuple[Any, Any]:
        """The service of the frames and the one that wakes their reader."""
        self.found()
        import iceoryx2 as iox

        iox.set_log_level(iox.LogLevel.Error)
        node = (
            iox.NodeBuilder.new()
            .signal_handling_mode(iox.SignalHandlingMode.Disabled)
            .create(iox.ServiceType.Ipc)
        )
        name = iox.ServiceName.new(self._service)
        frames = (
            node.service_builder(name)
            .publish_subscribe(iox.Slice[ctypes.c_uint8])
            .enable_safe_overflow(False)
            .subscriber_max_buffer_size(self.depth)
            .subscriber_max_borrowed_samples(2)
            .open_or_create()
        )
        events = node.service_builder(name).event().open_or_create()
        self._kept += [node, frames, events]
        return frames, events

    def _sending(self) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        """What loans a sample, once there is room for it, and what sends it."""
        frames, events = self._factories()
        publisher = frames.publisher_builder().initial_max_slice_len(self.nbytes).create()
        notifier = events.notifier_builder().create()
        nbytes, room = self.nbytes, self.depth

        def loan() -> Any:
            nonlocal room
            if not room:
                room += os.eventfd_read(self._freed)
            room -= 1
            return publisher.loan_slice_uninit(nbytes)

        def send(sample: Any) -> None:
            sample.assume_init().send()
            notifier.notify()

        return loan, send

    def reading(self) -> Get:
        frames, events = self._factories()
        subscriber = frames.subscriber_builder().create()
        listener = events.listener_builder().create()
        held: list[Any] = []
        taken, enough = 0, max(1, self.depth // 4)

        def get() -> Buffer:
            nonlocal taken
            held.clear()
            while (sample := subscriber.receive()) is None:
                listener.blocking_wait()
            held.append(sample)
            taken += 1
            if taken == enough:
                os.eventfd_write(self._freed, taken)
                taken = 0
            return _bytes_of(sample)

        return get

    def leave(self) -> None:
        self._kept.clear()
        gc.collect()

    def close(self) -> None:
        os.close(self._freed)


def _bytes_of(sample: Any) -> memoryview:
    view: memoryview = sample.payload().as_memory_view()
    return view.cast("B")


class Iceoryx(_Iceoryx, Copied):
    """A loan that the frame is copied into."""

    name = "iceoryx2"

    def writing(self) -> Put:
        loan, send = self._sending()

        def put(frame: bytearray) -> None:
            sample = loan()
            _bytes_of(sample)[:] = frame
            send(sample)

        return put


class IceoryxInPlace(_Iceoryx, InPlace):
    """A loan that is filled in place."""

    name = "iceoryx2, loan"

    def loaning(self) -> Loan:
        loan, send = self._sending()
        held: list[Any] = []

        def give() -> memoryview:
            held.append(loan())
            return _bytes_of(held[0])

        return give, lambda: send(held.pop())


PEERS: tuple[type[_Peer], ...] = (ZeroMQ, FasterFifo, Iceoryx, IceoryxInPlace)


def installed() -> tuple[list[type[Channel]], dict[str, str]]:
    """The peers that are to be had here, and why the others are not."""
    found: list[type[Channel]] = []
    missing: dict[str, str] = {}
    for peer in PEERS:
        try:
            peer.environment.ensure()
        except Unavailable as error:
            missing[peer.name] = str(error)
        else:
            found.append(peer)
    return found, missing
