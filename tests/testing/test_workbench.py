"""A processor on a workbench: what a worker calls, sends, tells and refuses, without a pool."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ringroom
from ringroom import (
    AudioFrame,
    DataFrame,
    DataTrackFrame,
    Event,
    EventKind,
    FileFrame,
    TextFrame,
    TrackInfo,
    VideoFrame,
)
from ringroom.dtmf import DtmfFrame
from ringroom.errors import ClosedError, ConfigurationError, FrameError, RpcError, WireError
from ringroom.events import Kind, Participant
from ringroom.options import PublishOptions
from ringroom.processor import Problem, Processor
from ringroom.profile import Profile
from ringroom.rpc import RpcAnswer, RpcCall
from ringroom.testing import FakeRoom, VirtualClock, Workbench

pytestmark = pytest.mark.usefixtures("no_leaks")


def sound(level: int = 1_000, samples: int = 320, track: Any = None) -> AudioFrame:
    return AudioFrame(np.full(samples, level, np.int16), 16_000, track=track)


def levels(frames: list[Any]) -> list[tuple[str, int]]:
    """What was sent: on which track, and its first sample."""
    return [(frame.track, int(frame.samples[0, 0])) for frame in frames]


class Diary(ringroom.Processor):
    """Writes down what is called, and sends what is asked for."""

    kinds = ("audio", "data")

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self, context: ringroom.Context) -> None:
        self.context = context
        self.calls.append(f"start at {context.worker}")

    def open(self, track: TrackInfo) -> None:
        self.calls.append(f"open {track.reply_name}")
        self.context.send_data("open", topic=track.name)

    def process(self, frame: Any) -> Any:
        if isinstance(frame, DataFrame):
            self.calls.append(f"message of {frame.participant}")
            return None
        self.calls.append(f"sound of {frame.track.name}")
        return [frame.gain(0.5), frame.replace(track="aside")]

    def event(self, event: Event) -> Any:
        self.calls.append(str(event.kind))

    def close(self, track: TrackInfo) -> Any:
        self.calls.append(f"close {track.reply_name}")
        return sound(7)

    def stop(self) -> None:
        self.calls.append(f"stop at {self.context.worker}")


def test_it_is_called_as_by_a_worker() -> None:
    diary = Diary()
    with Workbench(diary) as bench:
        assert bench.processor is diary
        ann = bench.open("ann")
        answers = bench.process(sound(1_000))
        assert levels(answers) == [("ann/mic", 500), ("aside", 1_000)]
        assert bench.process(DataFrame(b"hi", participant="bob")) == []
        bench.event(Event(kind=EventKind.TRACK_MUTED, track=ann))
        bench.event(Event(kind=EventKind.CONNECTION_LOST))
        assert sorted(bench.published) == ["", "ann/mic", "aside"][1:]
        assert levels(bench.close(ann)) == [("ann/mic", 7)]
        assert sorted(bench.published) == ["aside"]  # what answered ann has ended with her
        bench.open("bob", "desk")
    assert diary.calls == [
        "start at -1",
        "track_started",
        "open ann/mic",
        "sound of mic",
        "message of bob",
        "track_muted",
        "connection_lost",
        "track_ended",
        "close ann/mic",
        "track_started",
        "open bob/desk",
        "close bob/desk",
        "stop at 0",
    ]
    assert [message.topic for message in bench.messages] == ["mic", "desk"]
    assert levels(bench.sent[-1:]) == [("bob/desk", 7)]


class Told(ringroom.Processor):
    """Tells of all that is called in messages, and answers."""

    kinds = ("audio",)

    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def tell(self, what: str) -> None:
        self.context.send_data(what, topic="told")

    def open(self, track: TrackInfo) -> None:
        self.tell(f"open {track.participant} {track.name} {track.source}")

    def process(self, frame: Any) -> Any:
        self.tell(f"{frame.track.name} {frame.sequence} {int(frame.samples[0, 0])}")
        if frame.sequence == 1:
            raise ValueError("the second frame")
        return [frame, "no frame"] if frame.sequence == 2 else frame

    def event(self, event: Event) -> Any:
        if event.track is not None and event.kind.startswith("track_"):
            self.tell(event.kind)

    def close(self, track: TrackInfo) -> Any:
        self.tell(f"close {track.participant}")


SPOKEN = [600, 1_200, 1_800, 2_400]


def in_a_pool() -> tuple[list[bytes], list[str], list[int]]:
    problems: list[Problem] = []
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        options: dict[str, Any] = {"workers": 1, "io": clock.io, "on_error": problems.append}
        with ringroom.Pool(Told, "fake", room=room, **options):
            ann = room.join("ann")
            microphone = ann.publish_audio("mic", 16_000)
            for level in SPOKEN:
                microphone.speak(sound(level), wait=True)
            microphone.mute()
            clock.sleep(1)
            ann.leave()
            clock.sleep(1)
        told = [message.payload for message in room.application.messages]
        told = [one for one in told if b"published" not in one]
        heard = room.heard("ann/mic").samples[::320, 0].tolist()
    return told, [f"{one.where} {one.summary}" for one in problems], heard


def on_a_workbench() -> tuple[list[bytes], list[str], list[int]]:
    problems: list[Problem] = []
    with Workbench(Told, on_error=problems.append) as bench:
        ann = bench.open("ann")
        for level in SPOKEN:
            bench.process(sound(level))
        bench.event(Event(kind=EventKind.TRACK_MUTED, track=ann))
        bench.close(ann)
        heard = [level for _, level in levels([f for f in bench.sent if f not in bench.messages])]
        told = [message.payload for message in bench.messages]
    return told, [f"{one.where} {one.summary}" for one in problems], heard


def test_a_pool_and_a_workbench_are_of_one_mind() -> None:
    """Law: of the same call a processor is told the same, in the same order, its errors are told in
    the same words, and the same is sent."""
    told, problems, heard = on_a_workbench()
    assert (told, problems, heard) == in_a_pool()
    assert heard == [600, 1_800, 2_400]
    assert len(problems) == 2


def test_what_it_raises_is_raised_where_the_frame_was_given() -> None:
    def fails(frame: AudioFrame) -> AudioFrame:
        if frame.samples[0, 0] == 1:
            raise KeyError("one")
        return frame

    with Workbench(fails) as bench:
        bench.open("ann")
        with pytest.raises(KeyError, match="one"):
            bench.process(sound(1))
        assert levels(bench.process(sound(2))) == [("ann/mic", 2)]  # it goes on, as a worker does


def test_a_reply_that_cannot_be_sent_is_raised_behind_those_that_can() -> None:
    def answers(frame: AudioFrame) -> Any:
        picture = VideoFrame.from_gray(np.zeros((8, 8), np.uint8), track=frame.track)
        return [frame, picture, frame.gain(2)]

    with Workbench(answers) as bench:
        bench.open("ann")
        with pytest.raises(FrameError, match="carries audio, this is a frame of video"):
            bench.process(sound(2))
        assert levels(bench.sent) == [("ann/mic", 2), ("ann/mic", 4)]


def test_several_errors_of_one_call_are_told_together() -> None:
    class Bad(ringroom.Processor):
        def event(self, event: Event) -> Any:
            raise ValueError("event")

        def open(self, track: TrackInfo) -> None:
            raise KeyError("open")

    with Workbench(Bad) as bench, pytest.raises(ValueError, match="event") as raised:
        bench.open("ann")
    assert raised.value.__notes__ == ["afterwards: KeyError: 'open'"]


def test_errors_of_the_start_and_of_the_end_are_raised() -> None:
    class Bad(ringroom.Processor):
        def __init__(self, where: str) -> None:
            self.where = where

        def start(self, context: ringroom.Context) -> None:
            self.fail("start")

        def close(self, track: TrackInfo) -> None:
            self.fail("close")

        def stop(self) -> None:
            self.fail("stop")

        def fail(self, where: str) -> None:
            if where == self.where:
                raise ValueError(where)

    def run(bad: Bad) -> None:
        with Workbench(bad) as bench:
            bench.open("ann")

    for where in ("start", "close", "stop"):
        with pytest.raises(ValueError, match=where):
            run(Bad(where))


def test_the_errors_of_the_block_come_before_those_of_its_end() -> None:
    class Bad(Diary):
        def stop(self) -> None:
            raise ValueError("stop")

    with pytest.raises(KeyError, match="block"), Workbench(Bad):
        raise KeyError("block")


def test_nothing_is_sent_before_there_is_a_room() -> None:
    class Hasty(ringroom.Processor):
        def start(self, context: ringroom.Context) -> None:
            context.send(sound(track="x"))

    with pytest.raises(ClosedError, match="not connected yet"), Workbench(Hasty):
        pass


def test_how_a_track_is_published() -> None:
    class Sender(ringroom.Processor):
        def start(self, context: ringroom.Context) -> None:
            self.context = context

        def process(self, frame: Any) -> Any:
            self.context.send(frame.replace(track="a"), publish=PublishOptions(dtx=True))
            self.context.send(frame.replace(track="b"), mode="live")
            return frame

    with Workbench(Sender) as bench:
        bench.open("ann", "screen", source="screen_share_audio")
        bench.process(sound())
        published = bench.published
        assert (published["a"].dtx, published["a"].mode) == (True, "speech")
        assert published["b"].mode == "live"
        assert published["ann/screen"].source == "screen_share_audio"
        with pytest.raises(ConfigurationError, match="dtx is True, not False"):
            bench.processor.context.send(  # type: ignore[attr-defined]
                sound(track="a"), publish=PublishOptions()
            )
    with Workbench(lambda frame: frame) as bench:
        bench.open("ann")
        bench.process(sound())
        assert bench.published["ann/mic"].mode == "live"


def test_a_flush_throws_away_what_is_not_played() -> None:
    class Interrupted(ringroom.Processor):
        def start(self, context: ringroom.Context) -> None:
            self.context = context

        def process(self, frame: Any) -> Any:
            if frame.samples[0, 0]:
                self.thrown = self.context.flush(frame.track)
                return None
            return (sound(5, 16_000) for _ in range(3))

    with Workbench(Interrupted()) as bench:
        ann = bench.open("ann")
        bench.process(sound(0))
        played = bench.processor.context.played  # type: ignore[attr-defined]
        assert played(ann) == 0.0
        with pytest.raises(ConfigurationError, match=r"on a track 'another', .* \['ann/mic'\]"):
            bench.play(1.25, "another")
        bench.play(1.25, ann)
        assert played(ann) == 1.25
        bench.process(sound(1))
        assert bench.flushed == [("ann/mic", 1.75)]
        assert bench.processor.thrown == 1.75  # type: ignore[attr-defined]
        bench.process(sound(0))
        bench.play()
        assert played(ann) == 4.25


def test_of_a_track_that_has_ended_nothing_is_left_to_play() -> None:
    with Workbench(lambda frame: frame) as bench:
        ann = bench.open("ann")
        bench.process(sound())
        bench.close(ann)
        assert not bench.published, "the reply has ended with its track"
        bench.play(1.0, ann)


def test_messages_are_sent_on_no_track() -> None:
    class Writes(Diary):
        def process(self, frame: Any) -> Any:
            self.context.send_data("heard")

    with Workbench(Writes()) as bench:
        bench.open("ann")
        bench.process(sound())
        for track in ("", "ann/mic"):
            with pytest.raises(
                ConfigurationError, match=rf"track '{track}', expected one of: \[\]"
            ):
                bench.play(1.0, track)


def test_a_thread_of_the_processor_may_send_and_flush() -> None:
    class Threaded(ringroom.Processor):
        def start(self, context: ringroom.Context) -> None:
            self.context = context

        def process(self, frame: Any) -> Any:
            self.thread = threading.Thread(target=self.work, args=(frame,))
            self.thread.start()

        def work(self, frame: AudioFrame) -> None:
            for _ in range(50):
                self.context.send(frame)
                self.context.flush(frame.track)

        def stop(self) -> None:
            self.thread.join()

    with Workbench(Threaded()) as bench:
        bench.open("ann")
        bench.process(sound())
        assert bench.wait_until(lambda: len(bench.sent) == 50, timeout=30)
    assert bench.flushed == [("ann/mic", 0.02)] * 50


def test_what_is_waited_for_may_ask_the_processor() -> None:
    """While a thread of it sends: no lock of one is waited for with that of the other in hand."""

    class Threaded(ringroom.Processor):
        def start(self, context: ringroom.Context) -> None:
            self.context = context

        def open(self, track: TrackInfo) -> None:
            self.track = track
            self.thread = threading.Thread(target=self.work)
            self.thread.start()

        def work(self) -> None:
            for _ in range(300):
                self.context.send(sound(track=self.track))

        def stop(self) -> None:
            self.thread.join()

    with Workbench(Threaded()) as bench:
        track = bench.open("ann")

        def all_played() -> bool:
            bench.play()
            played = bench.processor.context.played(track)  # type: ignore[attr-defined]
            return bool(played >= 300 * 0.02 - 1e-6)

        assert bench.wait_until(all_played, timeout=60)


def test_what_does_not_come_is_told() -> None:
    with Workbench(lambda frame: frame) as bench:
        bench.open("ann")
        bench.process(sound())
        with pytest.raises(TimeoutError, match=r"AudioFrame\(320 samples.*'ann/mic'"):
            bench.wait_until(lambda: False, timeout=0.01)
        with pytest.raises(AssertionError):
            bench.wait_until(lambda: False, timeout=0.01)


def test_no_reply_waits_for_room() -> None:
    with Workbench(ringroom.chain(lambda f: f, Diary)) as bench:
        bench.open("ann")
        long = sound(3, 16_000 * 60)
        answers = bench.process(long)
        assert [frame.duration for frame in answers] == [60.0, 60.0]
        assert len(bench.process(sound(4))) == 2


def test_frames_are_as_from_a_room() -> None:
    class Keeper(ringroom.Processor):
        kinds = ("audio", "video")

        def __init__(self) -> None:
            self.kept: list[Any] = []

        def process(self, frame: Any) -> None:
            self.kept.append(frame)

    with Workbench(Keeper()) as bench:
        camera, mic = bench.open("ann", kind="video"), bench.open("ann")
        for n in range(40):  # ever larger ones, all kept
            picture = np.full((32 + 32 * n, 64), n, np.uint8)
            bench.process(VideoFrame.from_gray(picture, rotation=90), camera, at=n / 10)
        bench.process(sound(9), mic, at=0)
        with pytest.raises(FrameError, match="'ann/mic' carries audio, this is a frame of video"):
            bench.process(VideoFrame.from_gray(picture), mic)
        *pictures, heard = bench.processor.kept  # type: ignore[attr-defined]
    assert [frame.sequence for frame in pictures] == list(range(40))
    first = pictures[0].received_ns
    assert [frame.received_ns - first for frame in pictures] == [n * 10**8 for n in range(40)]
    assert heard.received_ns == first
    for n, frame in enumerate(pictures):
        assert (frame.rotation, frame.height, frame.track) == (90, 32 + 32 * n, camera)
        assert abs(frame.to_gray().astype(int) - n).max() <= 1
        assert not frame.data.flags.writeable
    assert heard.track == mic


def test_what_is_sent_is_kept_as_it_was() -> None:
    buffer = np.zeros((320, 1), np.int16)

    class Reusing(ringroom.Processor):
        def process(self, frame: Any) -> Any:
            buffer[:] += 1
            return AudioFrame(buffer, 16_000)

    with Workbench(Reusing) as bench:
        bench.open("ann")
        for _ in range(3):
            bench.process(sound())
    assert levels(bench.sent) == [("ann/mic", 1), ("ann/mic", 2), ("ann/mic", 3)]


@pytest.mark.parametrize("mode", ["speech", "live"])
def test_a_picture_that_is_filled_is_sent(mode: Any) -> None:
    class Painter(ringroom.Processor):
        def start(self, context: ringroom.Context) -> None:
            self.context = context

        def process(self, frame: Any) -> None:
            for level in range(20):  # more than the ring has room for
                with self.context.fill_video(64, 48, track=frame.track, mode=mode) as picture:
                    picture.data[:] = level
                    picture.rotation = 90

    with Workbench(Painter) as bench:
        bench.open("ann")
        sent = bench.process(sound())
    assert [(f.track, f.rotation, int(f.data[0])) for f in sent if isinstance(f, VideoFrame)] == [
        ("ann/mic", 90, level) for level in range(20)
    ]


class Herald(ringroom.Processor):
    """Tells the room what it does."""

    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def open(self, track: TrackInfo) -> None:
        self.context.set_profile(name="Herald", attributes={"state": "listening", "old": "1"})

    def process(self, frame: Any) -> None:
        self.context.set_profile(attributes={"state": "speaking", "old": ""})
        self.context.send_text("so it is", topic="lk.transcription", attributes={"final": "true"})


def test_what_is_told_of_us_and_what_is_written() -> None:
    with Workbench(Herald) as bench:
        assert bench.profile == Profile()
        bench.open("ann")
        assert bench.profile.name == "Herald"
        (text,) = bench.process(sound())
        assert bench.profile.attributes == {"state": "speaking", "old": ""}
        assert bench.profile.metadata is None
        assert isinstance(text, TextFrame)
        assert (text.text, text.topic) == ("so it is", "lk.transcription")
        assert text.attributes == {"final": "true"}
        assert bench.messages == [text]


class Speaker(Processor):
    kinds = ("data",)

    def start(self, context: Any) -> None:
        self.context = context

    def process(self, frame: Any) -> None:
        with self.context.open_text(topic="lk.transcription", attributes={"a": "b"}) as text:
            for token in frame.payload.decode().split("|"):
                if token == "raise":
                    raise ValueError("in the middle")
                text.write(token)
            text.finish({"final": "true"})


def test_texts_that_are_written() -> None:
    with Workbench(Speaker) as bench:
        assert bench.texts == []
        (whole,) = bench.process(DataFrame(b"so| it| is"))
        assert isinstance(whole, TextFrame)
        assert (whole.text, whole.topic, whole.attributes) == (
            "so it is",
            "lk.transcription",
            {"a": "b", "final": "true"},
        )
        with pytest.raises(ValueError, match="in the middle"):
            bench.process(DataFrame(b"half|raise"))
        first, second = bench.texts
        assert (first.pieces, first.whole) == (("so", " it", " is"), True)
        assert [one.attributes for one in bench.texts] == [{"a": "b", "final": "true"}, {"a": "b"}]
        assert (second.text, second.ended, second.whole) == ("half", True, False)
        assert bench.messages == [whole], "half of a text is none"


class Menu(Processor):
    """A telephone's: says back what was pressed."""

    kinds = ("data",)

    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def process(self, frame: Any) -> Any:
        if not isinstance(frame, DtmfFrame):
            return None
        self.context.send_dtmf(f"1{frame.digit}")
        return DtmfFrame("#")


def test_digits_of_a_telephone_come_and_go() -> None:
    with Workbench(Menu) as bench:
        answers = bench.process(DtmfFrame("9", participant="ann"))
        assert [type(one) for one in answers] == [DtmfFrame] * 3
        assert b"".join(one.payload for one in bench.messages) == b"19#"
        assert bench.process(DataFrame(b"9")) == []


class Notices(Processor):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def event(self, event: ringroom.Event) -> None:
        if event.room is not None:
            self.seen.append(event.room.metadata)
        if event.participant is not None:
            self.seen.append(f"{event.participant.identity} {event.quality}")


def test_what_is_told_of_the_room_and_of_connections() -> None:
    with Workbench(Notices()) as bench:
        for metadata in ("so", "otherwise"):
            room = ringroom.RoomInfo(name="room", metadata=metadata)
            bench.event(ringroom.Event(kind=EventKind.ROOM_CHANGED, room=room))
        ann, kind = ringroom.Participant(identity="ann"), EventKind.CONNECTION_QUALITY
        bench.event(ringroom.Event(kind=kind, participant=ann, quality="poor"))
        assert bench.processor.seen == ["so", "otherwise", "ann poor"]  # type: ignore[attr-defined]


class Copier(Processor):
    kinds = ("data",)

    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def process(self, frame: Any) -> Any:
        self.context.send_data(b"before")
        self.context.send_file(frame.payload, topic="by", name=frame.name)
        return frame


class Follower(Processor):
    """Says what it has read, on the track that answers and on one of its own."""

    kinds = ("data_track",)

    def start(self, context: Any) -> None:
        self.context = context

    def process(self, frame: Any) -> Any:
        self.context.send(DataTrackFrame(b"%d" % len(frame.payload), track="sizes"))
        return frame.replace(payload=frame.payload[::-1])


def test_frames_of_data_tracks_come_in_and_go_out() -> None:
    with Workbench(Follower()) as bench:
        lidar = bench.open("ann", "lidar", kind="data_track")
        assert (lidar.name, lidar.kind, lidar.source) == ("lidar", "data_track", "unknown")
        for payload in (b"abc", bytes(50_000) + b"x"):
            size, reply = bench.process(DataTrackFrame(payload, timestamp=7), lidar)
            assert isinstance(size, DataTrackFrame)
            assert isinstance(reply, DataTrackFrame)
            assert (size.payload, size.track) == (b"%d" % len(payload), "sizes")
            assert (reply.payload, reply.timestamp) == (payload[::-1], 7)
            assert reply.track == "ann/lidar"
        assert bench.published.keys() == {"sizes", "ann/lidar"}
        bench.close(lidar)
        assert bench.published.keys() == {"sizes"}


def test_files_of_any_size_come_in_and_go_out() -> None:
    with Workbench(Copier) as bench:
        for number, size in enumerate((10, 1 << 20, 100, 5 << 20, 10)):
            file = FileFrame(bytes([number]) * size, "photos", "ann", name=f"{number}.jpg")
            before, by, returned = bench.process(file)
            assert before.payload == b"before"
            assert isinstance(by, FileFrame)
            assert (by.payload, by.topic, by.mime_type) == (file.payload, "by", "image/jpeg")
            assert isinstance(returned, FileFrame)
            assert (returned.payload, returned.name) == (file.payload, file.name)
        assert len(bench.messages) == 15


class Desk(Processor):
    kinds = ("data",)

    def process(self, frame: Any) -> Any:
        if not isinstance(frame, RpcCall):
            return None
        return frame.answer(frame.text.upper()) if frame.text else frame.refuse("what?", code=4)


def test_a_call_is_answered() -> None:
    call = RpcCall(b"hello", "greet", "ann", number=1)
    with Workbench(Desk) as bench:
        (answer,) = bench.process(call)
        assert isinstance(answer, RpcAnswer)
        assert answer.result() == "HELLO"
        assert (answer.to, answer.number) == (("ann",), 1)
        (refusal,) = bench.process(replace(call, payload=b""))
        assert isinstance(refusal, RpcAnswer)
        with pytest.raises(RpcError, match="what") as raised:
            refusal.result()
        assert raised.value.code == 4
        assert bench.messages == [answer, refusal]


class Asks(Processor):
    kinds = ("data",)

    def start(self, context: Any) -> None:
        self.context = context

    def process(self, frame: Any) -> Any:
        return DataFrame(self.context.call("ann", "where", frame.payload.decode()).encode())


def test_what_a_processor_asks_somebody() -> None:
    with Workbench(Asks) as bench:
        with pytest.raises(RpcError, match="Method not supported") as raised:
            bench.process(DataFrame(b"?"))
        assert raised.value.code == RpcError.UNSUPPORTED_METHOD
        bench.answer("ann", "where", lambda call: f"here: {call.text} {call.method}")
        (told,) = bench.process(DataFrame(b"?"))
        assert isinstance(told, DataFrame)
        assert told.payload == b"here: ? where"
        bench.answer("ann", "where", lambda call: None)
        with pytest.raises(TimeoutError, match="no answer from 'ann'"):
            bench.process(DataFrame(b"?"))


def test_who_calls_a_processor_that_raises_is_told() -> None:
    def fails(frame: Any) -> None:
        raise ValueError("it is no call of mine")

    problems: list[Problem] = []
    made = Desk()
    made.process = fails  # type: ignore[method-assign]
    with Workbench(made, on_error=problems.append) as bench:
        (refusal,) = bench.process(RpcCall(b"hello", "greet", "ann", number=1))
        assert isinstance(refusal, RpcAnswer)
        assert refusal.code == RpcError.APPLICATION_ERROR
    assert [problem.where for problem in problems] == ["process"]


def test_many_tracks_come_and_go() -> None:
    with Workbench(lambda frame: frame) as bench:
        for _ in range(260):  # more than there are rows of statistics
            track = bench.open("ann")
            bench.process(sound())
            bench.close(track)
        assert bench.published == {}


def test_what_a_processor_would_never_get_is_refused() -> None:
    with Workbench(lambda frame: None) as bench:
        with pytest.raises(ConfigurationError, match="nothing of video reaches"):
            bench.open("ann", kind="video")
        with pytest.raises(ConfigurationError, match="nothing of data reaches"):
            bench.process(DataFrame(b"x"))
        with pytest.raises(ConfigurationError, match=r"does not override event\(\)"):
            bench.event(Event(kind=EventKind.CONNECTED))
        with pytest.raises(ConfigurationError, match=r"told by open\(\) and close\(\)"):
            bench.event(Event(kind=EventKind.TRACK_STARTED))
        with pytest.raises(ConfigurationError, match="kind is 'event'"):
            bench.open("ann", kind="event")


def test_a_recorded_track_is_opened_as_it_is() -> None:
    recorded = TrackInfo(sid="TR_7", name="desk", kind=Kind.AUDIO, participant="ann")
    with Workbench(lambda frame: frame) as bench:
        assert bench.open(recorded) == recorded
        assert levels(bench.process(sound(3, track=recorded))) == [("ann/desk", 3)]
        with pytest.raises(ConfigurationError, match=r"'ann/desk' \(TR_7\) is open already"):
            bench.open(recorded)
        with pytest.raises(FrameError, match="identity"):
            bench.open(7)  # type: ignore[arg-type]


def test_a_flush_of_a_track_that_has_just_ended_throws_nothing_away() -> None:
    diary = Diary()
    with Workbench(diary) as bench:
        ann = bench.open("ann")
        bench.process(sound())
        bench.close(ann)
        assert diary.context.flush("ann/mic") == 0.0
        assert bench.flushed == []


class Counts(ringroom.Processor):
    """Sends who is there, whatever happens."""

    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def process(self, frame: Any) -> None:
        people = self.context.participants()
        self.context.send_data(", ".join(f"{who.identity} {who.kind}" for who in people))

    def event(self, event: Event) -> None:
        if event.track is None:
            self.context.send_data(f"{len(self.context.participants())} are there")


def test_a_processor_asks_who_is_there() -> None:
    ann = Participant(identity="ann", kind="agent")
    with Workbench(Counts()) as bench:
        bench.open("cy")
        track = bench.open(ann)
        bench.open(replace(track, sid="TR_9", name="second"))
        bench.process(sound(), track)
        ben = Participant(identity="ben", kind="sip")
        bench.event(Event(kind=EventKind.PARTICIPANT_JOINED, participant=ben))
        bench.process(sound(), track)
        bench.event(Event(kind=EventKind.PARTICIPANT_LEFT, participant=ben))
    assert [one.payload.decode() for one in bench.messages] == [
        "ann agent, cy standard",
        "3 are there",
        "ann agent, ben sip, cy standard",
        "2 are there",
    ]


def test_what_cannot_be_opened_is_not_open() -> None:
    """And what no record takes is told where it was handed in."""
    bench = Workbench(Diary())
    with pytest.raises(ClosedError, match="not open"):
        bench.open("early")
    with bench:
        with pytest.raises(ConfigurationError, match=r"open are \[\]"):
            bench.process(sound())
        for wrong in ({"name": 5}, {"name": "\ud800"}, {"name": "x" * 1_025}):
            with pytest.raises(FrameError, match="the track name"):
                bench.open("ann", **wrong)  # type: ignore[arg-type]
        with pytest.raises(
            ConfigurationError, match="kind is 'x', expected 'audio', 'video' or 'data_track'"
        ):
            bench.open("ann", kind="x")
        for call in (bench.close, lambda track: bench.process(sound(track=track))):
            with pytest.raises(ConfigurationError, match="'ann/mic'"):
                call("ann/mic")
        with pytest.raises(ConfigurationError, match="the event is 'muted'"):
            bench.event("muted")  # type: ignore[arg-type]
        bench.open("ann")
        assert len(bench.process(sound())) == 2
        with pytest.raises(WireError, match="metadata is a int, not text"):
            bench.open(Participant(identity="bob", metadata=5))  # type: ignore[arg-type]


def test_a_frame_is_of_an_open_track() -> None:
    with Workbench(lambda frame: None) as bench:
        with pytest.raises(ConfigurationError, match=r"It says None, open are \[\]"):
            bench.process(sound())
        ann, bob = bench.open("ann"), bench.open("bob")
        with pytest.raises(ConfigurationError, match=r"open are \['ann/mic', 'bob/mic'\]"):
            bench.process(sound())
        with pytest.raises(ConfigurationError, match="It says 'mic'"):
            bench.process(sound(track="mic"))
        bench.process(sound(track=bob))
        bench.close(ann)
        for late in (lambda: bench.process(sound(), ann), lambda: bench.close(ann)):
            with pytest.raises(ConfigurationError, match=r"'ann/mic' \(TR_1\) is not open"):
                late()
        with pytest.raises(FrameError, match="cannot send a bytes"):
            bench.process(b"sound")  # type: ignore[arg-type]


def test_what_is_misspelt_is_told() -> None:
    with Workbench(lambda frame: frame) as bench:
        with pytest.raises(ConfigurationError, match=r"open one: bench\.open"):
            bench.process(sound())
        with pytest.raises(ConfigurationError, match="source is 'mic', expected 'microphone'"):
            bench.open("ann", source="mic")
        with pytest.raises(ConfigurationError, match="condition is True, expected a function"):
            bench.wait_until(True)  # type: ignore[arg-type]


def test_it_is_used_once_and_open() -> None:
    bench = Workbench(lambda frame: frame)
    assert (bench.published, bench.flushed, bench.sent) == ({}, [], [])
    for call in (lambda: bench.open("ann"), bench.play, lambda: bench.process(sound())):
        with pytest.raises(ClosedError, match="use `with Workbench"):
            call()
    with bench:
        pass
    with pytest.raises(ClosedError, match="not open"):
        bench.open("ann")
    with pytest.raises(ClosedError, match="make another"):
        bench.__enter__()
    with pytest.raises(ConfigurationError, match="on_error"):
        Workbench(lambda frame: frame, on_error=3)  # type: ignore[arg-type]


class Discreet(ringroom.Processor):
    """Mutes its answer to whom it has heard, and unmutes another track."""

    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def process(self, frame: Any) -> Any:
        self.context.mute(frame.track)
        self.context.mute()
        self.context.unmute("never begun")
        return frame

    def close(self, track: TrackInfo) -> None:
        self.context.unmute(track)


class Confidant(Processor):
    """Answers each alone."""

    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def open(self, track: TrackInfo) -> None:
        self.context.allow_subscribers([track.participant], track=track)

    def process(self, frame: Any) -> Any:
        return frame


def test_who_may_subscribe() -> None:
    with Workbench(Confidant()) as bench:
        assert bench.subscribers.allows("bob", "ann/mic")
        bench.open("ann")
        assert bench.subscribers.allows("ann", "ann/mic")
        assert not bench.subscribers.allows("bob", "ann/mic")
        assert bench.subscribers.allows("bob", "audio")


def test_what_is_muted() -> None:
    with Workbench(Discreet) as bench:
        track = bench.open("ann")
        assert bench.muted == frozenset()
        assert levels(bench.process(sound(1))) == [("ann/mic", 1)]
        assert bench.muted == {"ann/mic", "audio"}
        bench.close(track)
        assert bench.muted == {"audio"}
