"""A network of a client's own, to switch off and on: a relay between one client and the server.

Signalling goes through a TCP port, media through a UDP port. While it is `down`, what either side
sends is lost (media) or stays where it is (signalling, which TCP would send again), and nothing
tells either side so. Without the privileges that a packet filter would need.

Who connects must use both ports: ``url`` instead of the server's, and ``media_port`` in place of
the port in the server's ICE candidates (the browser's page does that when it is told the port).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from typing import Self
from urllib.parse import urlsplit

__all__ = ["Relay"]

HOST = "127.0.0.1"
_MOST = 65_536
_SECONDS = 10.0  # to be seen by its own thread


class Relay:
    """Runs on a thread of its own from ``with`` to the block's end."""

    def __init__(self, server_url: str, server_media_port: int) -> None:
        self._server = (HOST, urlsplit(server_url).port or 80)
        self._server_media = (HOST, server_media_port)
        self._listener = socket.create_server((HOST, 0))
        self._media = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._media.bind((HOST, 0))
        self._wake, self._woken = socket.socketpair()
        self._lock = threading.Lock()  # of all that follows
        self._up = True
        self._over = False
        self._peers: dict[socket.socket, socket.socket] = {}  # signalling, both ways
        self._flows: dict[tuple[str, int], socket.socket] = {}  # media, by the client's address
        self._addresses: dict[socket.socket, tuple[str, int]] = {}
        self._lost = 0
        self._refuse = self._refused = 0
        self._severed = False
        self._done = threading.Event()  # what it was woken for
        self._thread = threading.Thread(target=self._run, name="relay")

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self._listener.getsockname()[1]}"

    @property
    def media_port(self) -> int:
        return int(self._media.getsockname()[1])

    @property
    def media_flows(self) -> int:
        """How many addresses media has come from: 0 shows that it takes another way."""
        with self._lock:
            return len(self._flows)

    @property
    def lost(self) -> int:
        """Packets of media that came while it was down."""
        with self._lock:
            return self._lost

    @property
    def refused(self) -> int:
        """Connections that ended as soon as they were made."""
        with self._lock:
            return self._refused

    def refuse(self, count: int) -> None:
        """The next connections end as soon as they are made."""
        with self._lock:
            self._refuse = count

    def sever(self) -> None:
        """Signalling has ended when this returns, and new connections end as soon as they are made,
        until `mend`."""
        self._cut(True)

    def mend(self) -> None:
        """The end of `sever`."""
        self._cut(False)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """The network is off until the block's end."""
        self._switch(False)
        try:
            yield
        finally:
            self._switch(True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._over = True
        self._wake.send(b"x")
        self._thread.join()
        for one in (self._listener, self._media, self._wake, self._woken):
            one.close()

    def _switch(self, up: bool) -> None:
        with self._lock:
            self._up = up
        self._wake.send(b"x")

    def _cut(self, severed: bool) -> None:
        with self._lock:
            self._severed = severed
            self._done.clear()
        self._wake.send(b"x")
        self._done.wait(_SECONDS)

    def _run(self) -> None:
        with selectors.DefaultSelector() as ready:
            for one in (self._listener, self._media, self._woken):
                ready.register(one, selectors.EVENT_READ)
            while True:
                events = ready.select()
                with self._lock:
                    if self._over:
                        break
                    for key, _ in events:
                        self._serve(key.fileobj, ready)  # type: ignore[arg-type]
            for one in (*self._peers, *self._flows.values()):
                one.close()

    def _serve(self, one: socket.socket, ready: selectors.BaseSelector) -> None:
        if one is self._woken:
            one.recv(_MOST)
            for stream in tuple(self._peers):
                (self._listen if self._up else self._ignore)(stream, ready)
                if self._severed:
                    self._end(stream, ready)
            self._done.set()
        elif one is self._listener:
            self._accept(ready)
        elif one is self._media:
            data, address = one.recvfrom(_MOST)
            if address not in self._flows:
                flow = self._flows[address] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                flow.connect(self._server_media)
                self._addresses[flow] = address
                self._listen(flow, ready)
            self._pass_packet(self._flows[address].send, data)
        elif one in self._addresses:
            with contextlib.suppress(ConnectionRefusedError):  # the server has gone
                data = one.recv(_MOST)
                address = self._addresses[one]
                self._pass_packet(lambda packet: self._media.sendto(packet, address), data)
        elif one in self._peers:
            self._pass_bytes(one, ready)

    def _pass_packet(self, send: object, data: bytes) -> None:
        if not self._up:
            self._lost += 1
            return
        with contextlib.suppress(OSError):
            send(data)  # type: ignore[operator]

    def _accept(self, ready: selectors.BaseSelector) -> None:
        client, _ = self._listener.accept()
        if self._refuse or self._severed:
            self._refuse = max(0, self._refuse - 1)
            self._refused += 1
            client.close()
            return
        try:
            server = socket.create_connection(self._server, timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        self._peers |= {client: server, server: client}
        if self._up:
            self._listen(client, ready)
            self._listen(server, ready)

    def _pass_bytes(self, one: socket.socket, ready: selectors.BaseSelector) -> None:
        if not self._up:
            return
        other = self._peers[one]
        try:
            data = one.recv(_MOST)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        for end in (one, other):
            self._end(end, ready)

    def _end(self, one: socket.socket, ready: selectors.BaseSelector) -> None:
        self._ignore(one, ready)
        del self._peers[one]
        one.close()

    @staticmethod
    def _listen(one: socket.socket, ready: selectors.BaseSelector) -> None:
        with contextlib.suppress(KeyError):
            ready.register(one, selectors.EVENT_READ)

    @staticmethod
    def _ignore(one: socket.socket, ready: selectors.BaseSelector) -> None:
        with contextlib.suppress(KeyError):
            ready.unregister(one)
