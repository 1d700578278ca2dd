"""Processors for the tests of the pool. A worker imports this, so it loads no more than it must."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import sys
import threading
import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

import ringroom
from ringroom import (
    AudioFrame,
    DataFrame,
    DtmfFrame,
    Event,
    FileFrame,
    Processor,
    RpcCall,
    TextFrame,
    TrackInfo,
)


def echo(frame: Any) -> Any:
    return frame


def quieter(frame: AudioFrame) -> AudioFrame:
    return frame.gain(0.5)


def tell(context: Any, text: str, topic: str = "told") -> None:
    context.send_data(text, topic=topic)


class Echo(Processor):
    def process(self, frame: Any) -> Any:
        return frame


class Teller(Processor):
    """Tells over the room what is called, with which worker."""

    def start(self, context: Any) -> None:
        self.context = context
        self.counts: dict[str, int] = {}

    def open(self, track: TrackInfo) -> None:
        self.counts[track.sid] = 0
        tell(self.context, f"open {track.reply_name} {self.context.worker}", "life")

    def process(self, frame: Any) -> None:
        self.counts[frame.track.sid] += 1

    def close(self, track: TrackInfo) -> None:
        count = self.counts.pop(track.sid)
        tell(self.context, f"close {track.reply_name} {count}", "life")

    def stop(self) -> None:
        tell(self.context, f"stop {self.context.worker}", "life")


class AnswersAtLength(Processor):
    """With two and a half seconds to the first frame; a message cuts them."""

    kinds = ("audio", "data")

    def start(self, context: Any) -> None:
        self.context = context
        self.answered = False

    def process(self, frame: Any) -> Any:
        if isinstance(frame, DataFrame):
            return DataFrame(str(self.context.flush()).encode(), "flushed")
        before, self.answered = self.answered, True
        return None if before else AudioFrame(np.full(40_000, 1_000, np.int16), 16_000)

    def close(self, track: TrackInfo) -> None:
        tell(self.context, "ended")


class Events(Processor):
    kinds = ()

    def start(self, context: Any) -> None:
        self.context = context

    def event(self, event: Event) -> Any:
        who = event.participant.identity if event.participant else ""
        return DataFrame(f"{event.kind} {who}".encode(), "event")


class Words(Processor):
    """Answers commands that come as messages."""

    kinds = ("data",)

    def start(self, context: Any) -> None:
        self.context = context

    def process(self, frame: DataFrame) -> Any:
        command, _, rest = frame.payload.decode().partition(" ")
        return getattr(self, command)(rest)

    def say(self, seconds: str) -> None:
        samples = np.full(int(16_000 * float(seconds)), 1_000, np.int16)
        self.context.send(AudioFrame(samples, 16_000, track="voice"))

    def live(self, seconds: str) -> None:
        samples = np.full(int(16_000 * float(seconds)), 1_000, np.int16)
        self.context.send(AudioFrame(samples, 16_000, track="live"), mode="live")

    def flush(self, track: str) -> DataFrame:
        return DataFrame(str(self.context.flush(track or None)).encode(), "flushed")

    def flush_elsewhere(self, track: str) -> None:
        def run() -> None:
            tell(self.context, str(self.context.flush(track or None)), "flushed")

        threading.Thread(target=run, daemon=True).start()

    def played(self, track: str) -> DataFrame:
        return DataFrame(str(self.context.played(track or None)).encode(), "played")

    def rubbish(self, _: str) -> Any:
        return 7

    def rubbish_in_list(self, _: str) -> Any:
        return [DataFrame(b"x"), b"x"]

    def fail(self, text: str) -> None:
        raise ValueError(text)

    def worker(self, _: str) -> DataFrame:
        return DataFrame(f"{self.context.worker} {os.getpid()}".encode(), "worker")

    def nothing(self, _: str) -> None:
        return None

    def several(self, text: str) -> Any:
        return (DataFrame(word.encode(), "several") for word in text.split())

    def hang(self, seconds: str) -> None:
        tell(self.context, "hanging")
        time.sleep(float(seconds))


class Named(Processor):
    """Replies on tracks of its own choice; keeps one frame for all."""

    def start(self, context: Any) -> None:
        self.beep = AudioFrame(np.full(320, 2_000, np.int16), 16_000)

    def process(self, frame: AudioFrame) -> Any:
        return [self.beep, frame.replace(track="extra")]


class Longer(Processor):
    """Returns far more sound than it receives for one participant."""

    def process(self, frame: AudioFrame) -> Any:
        if frame.participant == "alice":
            return AudioFrame(np.tile(frame.samples, (125, 1)), frame.sample_rate)
        return frame


class Goodbye(Processor):
    """Says something when a track ends, and when it stops."""

    def start(self, context: Any) -> None:
        self.context = context

    def close(self, track: TrackInfo) -> Any:
        return [AudioFrame(np.full(8_000, 3_000, np.int16), 16_000), DataFrame(b"bye", "bye")]

    def stop(self) -> None:
        tell(self.context, "stopped", "bye")


class LongGoodbye(Processor):
    """Says more at the end than its track takes at once."""

    def close(self, track: TrackInfo) -> AudioFrame:
        return AudioFrame(np.full(41_600, 3_000, np.int16), 16_000)


class Slow(Processor):
    """Takes longer for a frame than the frame lasts."""

    def start(self, context: Any) -> None:
        self.context = context

    def process(self, frame: AudioFrame) -> None:
        time.sleep(0.3)

    def stop(self) -> None:
        tell(self.context, "stopped", "bye")


class Once(Processor):
    """Tells once that it has begun, and takes its time."""

    def start(self, context: Any) -> None:
        self.context = context
        self.count = 0

    def process(self, frame: AudioFrame) -> None:
        if not self.count:
            tell(self.context, "begun")
        self.count += 1
        time.sleep(0.02)

    def stop(self) -> None:
        tell(self.context, str(self.count), "bye")


class Failing(Processor):
    def start(self, context: Any) -> None:
        raise OSError("no model here")


class Slowly(Processor):
    def start(self, context: Any) -> None:
        time.sleep(30)


class SendsTooEarly(Processor):
    def start(self, context: Any) -> None:
        context.send_data("x")


class Clerk(Processor):
    """Answers each text twice: by the context, and with what it returns."""

    kinds = ("data",)

    def start(self, context: Any) -> None:
        self.context = context

    def process(self, frame: Any) -> Any:
        if not isinstance(frame, TextFrame):
            return None
        to, attributes = [frame.participant], {**frame.attributes, "worker": "1"}
        self.context.send_text(frame.text.upper(), topic="by", to=to, attributes=attributes)
        return replace(frame, topic="returned", participant="", to=())


class Scribe(Processor):
    """Writes a text as it is told to."""

    kinds = ("data",)

    def start(self, context: Any) -> None:
        self.context = context
        self.held: list[Any] = []

    def process(self, frame: DataFrame) -> None:
        if frame.payload == b"hold":  # and never end it
            self.held.append(self.context.open_text(topic="held", attributes={"a": "b"}))
            self.held[-1].__enter__().write("half")
            return
        with self.context.open_text(topic="t", to=[frame.participant]) as text:
            text.write("half")
            if frame.payload == b"raise":
                raise ValueError("in the middle")
            if frame.payload == b"die":
                os.kill(os.getpid(), signal.SIGKILL)
            self.context.send_data(b"between", topic="between")
            text.write(" and half")
            if frame.payload == b"finish":
                text.finish({"final": "true"})
            if frame.payload == b"much":
                for _ in range(3):
                    text.write("x" * 60_000)


class RoomEvents(Processor):
    """Tells what it is told of the room."""

    kinds = ()

    def event(self, event: Event) -> Any:
        if event.room is None:
            return None
        return DataFrame(f"{event.kind} {event.room.metadata}".encode(), "room")


class Switchboard(Processor):
    """Answers each digit twice: by the context, and with what it returns."""

    kinds = ("data",)

    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def process(self, frame: Any) -> Any:
        if isinstance(frame, DtmfFrame):
            self.context.send_dtmf(f"*{frame.digit}")
            return DtmfFrame("#")
        return None


class Scanner(Processor):
    """Answers each file twice: by the context, and with what it returns."""

    kinds = ("data",)

    def start(self, context: Any) -> None:
        self.context = context

    def process(self, frame: Any) -> Any:
        if not isinstance(frame, FileFrame):
            return None
        to = [frame.participant]
        self.context.send_file(frame.payload[::-1], topic="by", name="back.png", to=to)
        return replace(frame, topic="returned", participant="", to=())


class Odd(Processor):
    """Raises for every second frame, in everything else always."""

    def start(self, context: Any) -> None:
        self.count = 0

    def open(self, track: TrackInfo) -> None:
        raise RuntimeError("open")

    def process(self, frame: AudioFrame) -> Any:
        self.count += 1
        if self.count % 2:
            raise ValueError(f"number {self.count}")
        return frame

    def event(self, event: Event) -> None:
        if event.kind == "track_ended":
            raise RuntimeError("event")

    def close(self, track: TrackInfo) -> None:
        raise RuntimeError("close")

    def stop(self) -> None:
        raise RuntimeError("stop")


class Interrupts(Processor):
    """The application is sent a signal as the worker starts, which takes long."""

    def __init__(self, number: int) -> None:
        self.number = number

    def start(self, context: ringroom.Context) -> None:
        os.kill(os.getppid(), self.number)
        time.sleep(60)


class Suicide(Processor):
    kinds = ("data",)

    def process(self, frame: DataFrame) -> None:
        os.kill(os.getpid(), getattr(signal, frame.payload.decode()))


class Add(Processor):
    """For chains: adds, and tells in which order it is called."""

    def __init__(self, name: str, amount: int) -> None:
        self.name, self.amount = name, amount

    def start(self, context: Any) -> None:
        self.context = context

    def open(self, track: TrackInfo) -> None:
        tell(self.context, f"open {self.name}", "order")

    def process(self, frame: AudioFrame) -> AudioFrame:
        return AudioFrame((frame.samples * 2 + self.amount).astype(np.int16), frame.sample_rate)

    def close(self, track: TrackInfo) -> Any:
        tell(self.context, f"close {self.name}", "order")
        return AudioFrame(np.full(320, self.amount, np.int16), 16_000)

    def stop(self) -> None:
        tell(self.context, f"stop {self.name}", "order")


class Video(Processor):
    kinds = ("video",)

    def process(self, frame: Any) -> Any:
        return ringroom.VideoFrame(255 - frame.data, frame.width, frame.height)


class Readings(Processor):
    """Answers what is read, with the identity of its process."""

    kinds = ("data_track",)

    def process(self, frame: Any) -> Any:
        return frame.replace(payload=b"%d %s" % (os.getpid(), frame.payload))


class Imports(Processor):
    """Tells which heavy modules its worker has loaded."""

    kinds = ("data",)

    def process(self, frame: DataFrame) -> DataFrame:
        import sys

        heavy = [name for name in ("livekit", "asyncio.base_events") if name in sys.modules]
        return DataFrame(",".join(heavy).encode(), "imports")


class Trap(Processor):
    """Echoes; stays for ever with a frame of the value 5, which says so by a message."""

    def start(self, context: Any) -> None:
        self.context = context

    def process(self, frame: AudioFrame) -> AudioFrame:
        if frame.samples[0, 0] == 5:
            tell(self.context, f"trapped {os.getpid()}")
            time.sleep(600)
        return frame


class Deaths(Words):
    """Dies as it is told."""

    def signal(self, name: str) -> None:
        os.kill(os.getpid(), getattr(signal, name))

    def leave(self, code: str) -> None:
        sys.stderr.write("famous last words\n")
        os._exit(int(code))

    def exit(self, code: str) -> None:
        sys.exit(int(code))

    def stereo(self, seconds: str) -> None:
        samples = np.full((int(16_000 * float(seconds)), 2), 1_000, np.int16)
        self.context.send(AudioFrame(samples, 16_000, track="voice"))

    def bare(self, _: str) -> None:
        """As code does that makes a daemon of itself."""
        os.closerange(3, 4_096)
        signal.pause()

    def shout(self, text: str) -> None:
        """To whatever sockets there are, as with a number that has been closed and taken again."""
        for fd in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.fstat(fd).st_mode):
                    os.write(fd, text.encode())
        signal.pause()

    def crash(self, _: str) -> None:
        ctypes.string_at(0)

    def hold(self, count: str) -> None:
        """C code that does not let go of the GIL."""
        sum(range(int(count)))


class DiesClosing(Processor):
    """Answers, if at all, and dies when a track has ended; with a first or last word, if so."""

    def __init__(self, answers: bool, says: bool) -> None:
        self.answers, self.says = answers, says

    def start(self, context: Any) -> None:
        self.context = context

    def process(self, frame: AudioFrame) -> Any:
        tell(self.context, "heard")
        return frame if self.answers else None

    def close(self, track: TrackInfo) -> None:
        if self.says:
            word = AudioFrame(np.full(8_000, 3_000, np.int16), 16_000, track=track.reply_name)
            self.context.send(word)
        os.kill(os.getpid(), signal.SIGKILL)


class SpareFails(Words):
    """Starts the first time only."""

    def __init__(self, path: str) -> None:
        self.path = path

    def start(self, context: Any) -> None:
        super().start(context)
        if os.path.exists(self.path):
            raise OSError("no second model")
        with open(self.path, "w"):
            pass

    def die(self, _: str) -> None:
        os._exit(1)


class OnlyMicrophones:
    """A function for ``tracks=``; it notes the processes that take it over."""

    def __init__(self, takers: str) -> None:
        self.takers = takers

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with open(self.takers, "a") as file:
            file.write(f"{os.getpid()} ")

    def __call__(self, track: TrackInfo) -> bool:
        return track.source == "microphone"


class Lives(Processor):
    """Echoes, and tells of the life of its tracks."""

    def start(self, context: Any) -> None:
        self.context = context

    def open(self, track: TrackInfo) -> None:
        tell(self.context, f"open {track.reply_name}", "life")

    def process(self, frame: AudioFrame) -> AudioFrame:
        return frame

    def event(self, event: Event) -> None:
        if event.kind == "track_resumed":
            tell(self.context, f"event {event.kind}", "life")

    def close(self, track: TrackInfo) -> None:
        tell(self.context, f"close {track.reply_name}", "life")


class Forks(Processor):
    """Its child comes back to the worker, as that of a careless library does."""

    kinds = ("data",)

    def start(self, context: Any) -> None:
        self.context = context
        self.child = 0

    def process(self, frame: DataFrame) -> Any:
        command, _, rest = frame.payload.decode().partition(" ")
        return getattr(self, command)(rest)

    def echo(self, text: str) -> Any:
        return DataFrame(text.encode(), "told")

    def fork(self, how: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads about
            self.child = os.fork()
        return None if self.child else getattr(self, how)()

    def returns(self) -> Any:
        return [DataFrame(b"x", "child"), AudioFrame(np.ones(320, np.int16), 16_000, track="child")]

    def yields(self) -> Any:
        yield from self.returns()

    def raises(self) -> None:
        raise ValueError("child")

    def asks(self) -> None:
        frame = AudioFrame(np.ones(320, np.int16), 16_000, track="child")
        calls = (
            lambda: self.context.send(frame),
            lambda: self.context.send_data(b"x", topic="child"),
            lambda: self.context.send_text("x", topic="child"),
            lambda: self.context.open_text(topic="child").__enter__(),
            lambda: self.context.send_dtmf("1"),
            lambda: self.context.send_file(b"x", topic="child"),
            lambda: self.context.fill_video(64, 48).__enter__(),
            lambda: self.context.set_profile(name="child"),
            self.context.flush,
            self.context.played,
        )
        for call in calls:
            try:
                call()
            except ringroom.ClosedError as error:
                if "forked from a worker" in str(error):
                    continue
            os._exit(3)

    def reap(self, _: str) -> Any:
        _, status = os.waitpid(self.child, 0)
        return DataFrame(str(os.waitstatus_to_exitcode(status)).encode(), "reaped")


class Desk(Processor):
    """Answers calls, in whatever way the payload asks for."""

    kinds = ("data",)

    def start(self, context: Any) -> None:
        self.context = context

    def process(self, frame: Any) -> Any:
        if not isinstance(frame, RpcCall):
            return None
        answer = frame.answer(f"{frame.text} {frame.participant}")
        if frame.text == "refuse":
            return frame.refuse("not today", code=42)
        if frame.text == "raise":
            raise ValueError("what is not the caller's business")
        if frame.text == "echo":
            return frame
        if frame.text == "later":
            threading.Timer(0.01, self.context.send, [answer]).start()
            return None
        if frame.text == "ask back":
            return frame.answer(self.context.call(frame.participant, "back", "to you"))
        if frame.text == "ask back late":
            return frame.answer(self.context.call(frame.participant, "back", timeout=0.1))
        if frame.text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if frame.text == "never":
            return None
        return answer


class Shouts(Processor):
    kinds = ("data",)

    def process(self, frame: Any) -> Any:
        raise AssertionError(f"it is no business of mine: {frame}")
