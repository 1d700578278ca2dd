"""The demo's room on a real LiveKit server, which is started for it.

Everybody in it, and the listener, is a transport; together they have one I/O process, apart from
that of the application. What was heard is what arrived there, encoded and decoded by WebRTC.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

import ringroom
from ringroom.cli.scene import FPS, OWN_TRACK, PEOPLE, PICTURE, Scene
from ringroom.cli.speech import Heard, longest_silence
from ringroom.errors import ClosedError
from ringroom.events import Participant, TrackInfo
from ringroom.frames import AudioFrame
from ringroom.providers.provider import ProviderSpec
from ringroom.testing import sources
from ringroom.testing.server import LiveKitRoom, LiveKitServer

__all__ = ["livekit_scene"]

PIECE_SECONDS = 0.1
_LISTENER = "listener"


class _Threads:
    """Runs what the people do, each on a thread of its own, and keeps what they raise."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._failures: list[Exception] = []
        self._over = False

    def begin(self, function: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 (raised again by `check`)
            if not self._over:  # else everybody is leaving
                self._failures.append(error)

    def join(self) -> None:
        """Waits for all that was begun. Raises as `check` does."""
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self.check()

    def check(self) -> None:
        """Raises what went wrong first."""
        if self._failures:
            raise self._failures[0]

    def forgive(self) -> None:
        """From here on it is no error that the room is over."""
        self._over = True


class _Ears:
    """Keeps all that applications send; a thread of its own."""

    def __init__(self, transport: ringroom.Transport, threads: _Threads) -> None:
        self._transport = transport
        self._frames: dict[tuple[str, str], list[AudioFrame]] = {}
        threads.begin(self._listen)

    def _listen(self) -> None:
        for frame in self._transport.recv():
            if isinstance(frame, AudioFrame) and isinstance(frame.track, TrackInfo):
                key = (frame.participant, frame.track.name)
                # Copied: kept views would hold the ring's memory.
                kept = frame.replace(samples=frame.samples.copy())
                self._frames.setdefault(key, []).append(kept)
        raise ClosedError(f"the listener's room has ended: {self._transport.ended}")

    def heard(self, identity: str) -> list[Heard]:
        found = []
        for (participant, track), frames in tuple(self._frames.items()):
            if participant != identity or not frames:
                continue
            sounding = _trimmed(tuple(frames)) if track == OWN_TRACK else frames
            begin, position = frames[0].received_ns, 0
            pieces = []
            for frame in tuple(sounding):
                pieces.append((begin + round(position * 1e9 / frame.sample_rate), frame.samples))
                position += len(frame.samples)
            # WebRTC fills holes with silence, so only in the chord, which has none, can they show.
            everything = np.concatenate([samples for _, samples in pieces])
            rate = frames[0].sample_rate
            hole = longest_silence(everything, rate) if track == OWN_TRACK else 0.0
            found.append(
                Heard(track=track, sample_rate=rate, pieces=tuple(pieces), longest_gap=hole)
            )
        return found


def _trimmed(frames: tuple[AudioFrame, ...]) -> tuple[AudioFrame, ...]:
    """Without the silence that WebRTC fills in before the first sound and after the last."""
    loud = [index for index, frame in enumerate(frames) if abs(frame.samples).max() > 100]
    return frames[loud[0] : loud[-1] + 1] if loud else frames[:1]


class _LiveKitScene:
    def __init__(self, room: LiveKitRoom, io: ringroom.IOProcess, closing: contextlib.ExitStack):
        self._room = room
        self._io = io
        self._closing = closing
        self._speaking, self._listening = _Threads(), _Threads()
        self._people = [self._join(identity, ()) for identity in PEOPLE]
        self._ears = _Ears(self._join(_LISTENER, ("audio",)), self._listening)
        for threads in (self._speaking, self._listening):
            closing.callback(threads.forgive)

    def _join(self, identity: str, kinds: tuple[str, ...]) -> ringroom.Transport:
        def is_application(participant: Participant) -> bool:
            return participant.identity not in (*PEOPLE, _LISTENER)

        transport = ringroom.transport(
            self.spec(identity), io=self._io, kinds=kinds, participants=is_application
        )
        # `close`, and not the context manager: at the end of a demo nobody waits for a playout.
        self._closing.callback(transport.close)
        return transport

    def spec(self, identity: str) -> ProviderSpec:
        return ringroom.LiveKit(url=self._room.url, token=self._room.token(identity))

    def speak(self, sounds: Sequence[AudioFrame]) -> None:
        for transport, sound in zip(self._people, sounds, strict=True):
            self._speaking.begin(partial(self._say, transport, sound))
        seconds = max(sound.duration for sound in sounds)
        self._speaking.begin(partial(self._show, self._people[0], seconds))

    @staticmethod
    def _say(transport: ringroom.Transport, sound: AudioFrame) -> None:
        step = round(sound.sample_rate * PIECE_SECONDS)
        for start in range(0, len(sound.samples), step):
            transport.send(sound.replace(samples=sound.samples[start : start + step]))
        transport.wait_playout(timeout=5)

    @staticmethod
    def _show(transport: ringroom.Transport, seconds: float) -> None:
        begin = time.monotonic()
        for number in range(round(seconds * FPS)):
            transport.send(sources.picture(number, *PICTURE))
            time.sleep(max(0.0, begin + (number + 1) / FPS - time.monotonic()))

    def silence(self) -> None:
        self._speaking.join()

    def heard(self, identity: str) -> list[Heard]:
        # What was just played is still on its way: jitter buffer, decoder, our own lane.
        time.sleep(0.5)
        self._listening.check()
        return self._ears.heard(identity)

    def pids(self) -> dict[int, str]:
        return {} if self._io.pid is None else {self._io.pid: "the others"}


@contextlib.contextmanager
def livekit_scene() -> Iterator[Scene]:
    """A room on a local server of its own. What goes wrong with the people in it, `silence` and
    `heard` raise.

    Raises `StartupError`, or `ServerUnavailable` where there is no way to run one.
    """
    with contextlib.ExitStack() as closing:
        server = closing.enter_context(LiveKitServer())
        io = closing.enter_context(ringroom.IOProcess())
        yield _LiveKitScene(server.room("demo"), io, closing)
