"""A transport's files, both ways."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

import ringroom
from app_kit import PATIENCE, opened, until
from ringroom.checks import MAX_FILE_BYTES
from ringroom.errors import ConfigurationError, FrameError
from ringroom.events import EventKind
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.providers.fake import Fake
from ringroom.providers.provider import Provider
from ringroom.testing import FakeRoom
from ringroom.testing.simulation.laws import check_counts

PHOTOS = {"kinds": ("data", "event"), "file_topics": ("photos",)}
PHOTO = b"\xff\xd8" + bytes(range(256)) * 20_000
"""Five MiB: no lane for messages takes it."""


def test_files_to_all_and_to_some(fake_room: FakeRoom, tmp_path: Path) -> None:
    alice, bob = fake_room.join("alice"), fake_room.join("bob")
    path = tmp_path / "größe.jpg"
    path.write_bytes(PHOTO)
    with opened(fake_room) as transport:
        transport.send_data(b"before")
        transport.send_file(path, topic="photos", to=["alice"], attributes={"a": "é"})
        transport.send_text("between")
        transport.send_file(b"", name="empty", mime_type="x/y")
        before, photo, text, empty = fake_room.wait_for_data(count=4)
        assert isinstance(photo, FileFrame)
        assert photo.payload == PHOTO
        assert (photo.topic, photo.to, photo.participant) == ("photos", ("alice",), "app")
        assert (photo.name, photo.mime_type) == ("größe.jpg", "image/jpeg")
        assert photo.attributes == {"a": "é"}
        assert isinstance(empty, FileFrame)
        assert (empty.payload, empty.name, empty.mime_type) == (b"", "empty", "x/y")
        assert [type(one) for one in alice.received] == [DataFrame, FileFrame, TextFrame, FileFrame]
        assert [type(one) for one in bob.received] == [DataFrame, TextFrame, FileFrame]
        assert (type(before), type(text)) == (DataFrame, TextFrame)
        transport.wait_playout(timeout=PATIENCE)
        check_counts(transport.stats().lanes)
    check_counts(transport.stats().lanes, over=True)
    assert sum(lane.counts.done for lane in transport.stats().lanes if lane.kind == "data") == 4


def test_a_file_may_be_large_and_no_larger(fake_room: FakeRoom, tmp_path: Path) -> None:
    with opened(fake_room) as transport:
        transport.send_file(bytearray(MAX_FILE_BYTES), topic="largest")
        [frame] = fake_room.wait_for_data("largest")
        assert frame.payload == bytes(MAX_FILE_BYTES)
        for larger in (bytes(MAX_FILE_BYTES + 1), memoryview(bytes(MAX_FILE_BYTES + 1))):
            with pytest.raises(FrameError, match="a file has 8388609 bytes, at most 8388608"):
                transport.send_file(larger)
        path = tmp_path / "large"
        with path.open("wb") as file:
            os.truncate(file.fileno(), 1 << 30)
        with pytest.raises(FrameError, match="a file has 1073741824 bytes, at most 8388608"):
            transport.send_file(path)
        with pytest.raises(FrameError, match=r"type str, expected bytes, or a pathlib\.Path"):
            transport.send_file("photo.jpg")  # type: ignore[arg-type]
        with pytest.raises(FileNotFoundError):
            transport.send_file(tmp_path / "none")
        with pytest.raises(FrameError, match="the file's name is of type int"):
            transport.send_file(b"x", name=5)  # type: ignore[arg-type]
        with pytest.raises(FrameError, match="the attribute is of type int"):
            transport.send_file(b"x", attributes={"a": 1})  # type: ignore[dict-item]
        with pytest.raises(FrameError, match="expected a tuple of identities"):
            transport.send_file(b"x", to="alice")


def test_a_file_is_a_frame_that_any_sender_takes(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(FileFrame(PHOTO, "t", name="n"))
        transport.send_nowait(FileFrame(b"y", "t"))
        files = fake_room.wait_for_data("t", count=2)
    assert [type(file) for file in files] == [FileFrame, FileFrame]
    assert [file.payload for file in files] == [PHOTO, b"y"]


def test_files_of_the_topics_that_are_asked_for_arrive_whole(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with opened(fake_room, kinds=("data",), file_topics=("photos",)) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        fake_room.wait_for_app()
        alice.send_file(b"of no interest", topic="other")
        alice.send_data(b"a message", topic="photos")
        alice.send_text("a text", topic="photos")
        name = "../../etc/passwd"
        alice.send_file(PHOTO, topic="photos", name=name, attributes={"id": "1"})
        alice.send_file(b"not for us", topic="photos", to=["bob"])
        alice.send_file(b"", topic="photos", name="a.txt")
        alice.send_data(b"last")
        message, photo, empty, last = (next(receiver) for _ in range(4))
        assert type(message) is ringroom.DataFrame, "it comes as what it was sent as"
        assert isinstance(photo, FileFrame)
        assert photo.payload == PHOTO
        assert (photo.participant, photo.topic, photo.attributes) == (
            "alice",
            "photos",
            {"id": "1"},
        )
        assert photo.name == name, "as it was sent: nothing here takes it for a path"
        assert photo.received_ns > 0
        assert isinstance(empty, FileFrame)
        assert (empty.payload, empty.mime_type) == (b"", "text/plain")
        numbers = [one.sequence for one in (message, photo, empty, last)]
        assert numbers == [*range(4)], "also in the lane that follows"
        check_counts(transport.stats().lanes)
    assert transport.stats().received.dropped == 0
    check_counts(transport.stats().lanes, over=True)


def test_many_files_that_nobody_reads_for_a_while_arrive_in_order(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with opened(fake_room, **PHOTOS) as transport:
        fake_room.wait_for_app()
        for number in range(6):
            alice.send_file(bytes([number]) * (number << 18), topic="photos", name=str(number))
            alice.send_data(b"%d" % number)
        receiver = transport.recv(kinds=("data",), timeout=PATIENCE)
        for number in range(6):
            file, message = next(receiver), next(receiver)
            assert isinstance(file, FileFrame)
            assert (file.name, len(file.payload)) == (str(number), number << 18)
            assert message.payload == b"%d" % number


def test_a_file_that_breaks_off_is_counted_and_told(
    fake_room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    alice, bob = fake_room.join("alice", attributes={"seat": "4"}), fake_room.join("bob")
    with opened(fake_room, **PHOTOS, participants=["alice"]) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        fake_room.wait_for_app()
        with fake_room.faults.files_broken_off():
            bob.send_file(b"half", topic="photos")
            alice.send_file(b"of no interest", topic="other")
            alice.send_file(b"half", topic="photos")
        alice.send_file(b"whole", topic="photos")
        failed = next(item for item in receiver if getattr(item, "kind", "") == "file_failed")
        assert failed.participant.identity == "alice"
        assert failed.participant.attributes == {"seat": "4"}
        assert "the file broke off" in failed.reason
        until(lambda: transport.stats().received.sent == 2)
        received = transport.stats().received
        assert (received.sent, received.dropped) == (2, 1)
    assert caplog.text.count("of 'alice' something is not received") == 1


@dataclass(frozen=True, kw_only=True)
class WithoutFiles(Fake):
    """A provider of before there were files."""

    files = False

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        provider = super().open(descriptors)
        provider.send_file = partial(Provider.send_file, provider)  # type: ignore[method-assign]
        return provider


def test_a_provider_without_files_says_so(fake_room: FakeRoom) -> None:
    spec = WithoutFiles(room=fake_room)
    with pytest.raises(ConfigurationError, match="fake: not supported: file_topics"):
        ringroom.transport(spec, kinds=("data",), file_topics=("photos",), io="thread")
    with ringroom.transport(spec, kinds=("event",), io="thread") as transport:
        with pytest.raises(ConfigurationError, match="fake: not supported: send_file"):
            transport.send_file(b"x")
        transport.send(FileFrame(b"x"))
        events = transport.recv(timeout=PATIENCE)
        failed = next(event for event in events if event.kind is EventKind.DATA_FAILED)
        assert "not supported: send_file" in failed.reason


@pytest.mark.parametrize("io", ["thread", "process"])
def test_a_text_that_is_being_written_goes_on_in_the_larger_lane(
    fake_room: FakeRoom, io: str
) -> None:
    fake_room.join("ann")
    with ringroom.transport("fake", room=fake_room, io=io) as transport:
        with transport.open_text(topic="t") as text:
            text.write("before ")
            transport.send_file(PHOTO, topic="photo")
            text.write("and after")
        transport.wait_playout(timeout=PATIENCE)
        [whole] = fake_room.wait_for_data("t", timeout=PATIENCE)
        assert isinstance(whole, TextFrame)
        assert whole.text == "before and after"
        assert fake_room.wait_for_data("photo")[0].payload == PHOTO
        stats = transport.stats()
        assert (stats.sent.sent, stats.sent.lost) == (5, 0)
        assert stats.sent.in_flight == 0, "all of it was waited for, in both lanes"
        check_counts(stats.lanes)
    check_counts(transport.stats().lanes, over=True)
