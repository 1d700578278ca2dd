"""The demo's room on a real LiveKit server, which is started for it.

Everybody in it, and the listener, is a transport; together they have one I/O process, apart from
that of the application. What was heard is what arrived there, encoded and decoded by WebRTC.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

import ringroom
from ringroom.cli.scene import FPS, OWN_TRACK, PEOPLE, PICTURE, Scene
from ringroom.cli.speech import Heard, longest_silence
from ringroom.errors import RingroomError
from ringroom.frames import AudioFrame, Participant, TrackInfo
from ringroom.providers.provider import ProviderSpec
from ringroom.testing import sources
from ringroom.testing.server import LiveKitRoom, LiveKitServer

__all__ = ["livekit_scene"]

PIECE_SECONDS = 0.1
_LISTENER = "listener"


class _Ears:
    """Keeps all that applications send; a thread of its own."""

    def __init__(self, transport: ringroom.Transport) -> None:
        self._transport = transport
        self._frames: dict[tuple[str, str], list[AudioFrame]] = {}
        self._thread = threading.Thread(target=self._listen, name="ears", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(RingroomError):
            for frame in self._transport.recv():
                if isinstance(frame, AudioFrame) and isinstance(frame.track, TrackInfo):
                    key = (frame.participant, frame.track.name)
                    # Copied: kept views would hold the ring's memory.
                    kept = frame.replace(samples=frame.samples.copy())
                    self._frames.setdefault(key, []).append(kept)

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
        self._threads: list[threading.Thread] = []
        self._people = [self._join(identity, ()) for identity in PEOPLE]
        self._ears = _Ears(self._join(_LISTENER, ("audio",)))

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
            self._begin(self._say, transport, sound)
        self._begin(self._show, self._people[0], max(sound.duration for sound in sounds))

    def _begin(self, function: object, *arguments: object) -> None:
        assert callable(function)
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    @staticmethod
    def _say(transport: ringroom.Transport, sound: AudioFrame) -> None:
        step = round(sound.sample_rate * PIECE_SECONDS)
        with contextlib.suppress(RingroomError):
            for start in range(0, len(sound.samples), step):
                transport.send(sound.replace(samples=sound.samples[start : start + step]))
            transport.wait_playout(timeout=5)

    @staticmethod
    def _show(transport: ringroom.Transport, seconds: float) -> None:
        begin = time.monotonic()
        with contextlib.suppress(RingroomError):
            for number in range(round(seconds * FPS)):
                transport.send(sources.picture(number, *PICTURE))
                time.sleep(max(0.0, begin + (number + 1) / FPS - time.monotonic()))

    def silence(self) -> None:
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def heard(self, identity: str) -> list[Heard]:
        # What was just played is still on its way: jitter buffer, decoder, our own lane.
        time.sleep(0.5)
        return self._ears.heard(identity)

    def pids(self) -> dict[int, str]:
        return {} if self._io.pid is None else {self._io.pid: "the others"}


@contextlib.contextmanager
def livekit_scene() -> Iterator[Scene]:
    """A room on a local server of its own.

    Raises `StartupError`, or `ServerUnavailable` where there is no way to run one.
    """
    with contextlib.ExitStack() as closing:
        server = closing.enter_context(LiveKitServer())
        io = closing.enter_context(ringroom.IOProcess())
        yield _LiveKitScene(server.room("demo"), io, closing)
