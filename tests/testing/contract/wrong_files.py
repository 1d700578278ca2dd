"""Wrong with files, on the way in and out, at a provider and in the core."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any, ClassVar

from wrong_inbound import Counting
from wrong_kit import Twist, WrongCore, breaks

from ringroom import client
from ringroom.errors import FrameError, RoomError
from ringroom.events import Event, EventKind
from ringroom.frames import DataFrame, FileFrame
from ringroom.testing import contract


class TwistOfFiles(Twist):
    """Files that come in; messages and all else pass."""

    def data(self, sink: Any, frame: DataFrame) -> None:
        if isinstance(frame, FileFrame):
            self.file(sink, frame)
        else:
            super().data(sink, frame)

    def file(self, sink: Any, frame: FileFrame) -> None:
        sink.data(frame)


class CountingFiles(TwistOfFiles, Counting):
    """Counts them."""


# In


@breaks({"files_arrive_in_order": r"in the order \[0, 1, 2, 3, 5, 4"})
class LetsShortFilesOvertake(TwistOfFiles):
    held: FileFrame | None = None

    def file(self, sink: Any, frame: FileFrame) -> None:
        if frame.payload.startswith(b"4 "):
            self.held = frame
            return
        super().file(sink, frame)
        if self.held is not None:
            super().file(sink, self.held)
            self.held = None


@breaks({"every_file_arrives_once": r"1 of 20 messages never came.*\[2\]"})
class DropsAFile(CountingFiles):
    def file(self, sink: Any, frame: FileFrame) -> None:
        if self.tick() != 3:
            super().file(sink, frame)


@breaks({"every_file_arrives_once": r"messages \[2\] came more than once"})
class RepeatsAFile(CountingFiles):
    def file(self, sink: Any, frame: FileFrame) -> None:
        for _ in range(2 if self.tick() == 3 else 1):
            super().file(sink, frame)


@breaks({"a_large_file_arrives_whole": "a message of 8388608 bytes.* arrived as 15000 bytes"})
class GivesEachPieceOfAFile(TwistOfFiles):
    def file(self, sink: Any, frame: FileFrame) -> None:
        for start in range(0, len(frame.payload), 15_000):
            super().file(sink, replace(frame, payload=frame.payload[start : start + 15_000]))


@breaks({"a_file_keeps_what_is_said_of_it": r"the name '../größe 1/é.jpg' arrived as 'é.jpg'"})
class KeepsTheLastPartOfAName(TwistOfFiles):
    def file(self, sink: Any, frame: FileFrame) -> None:
        super().file(sink, replace(frame, name=frame.name.rpartition("/")[2]))


@breaks({"a_file_keeps_what_is_said_of_it": r"the mime_type 'image/jpeg' arrived as 'appl"})
class ForgetsTheMediaType(TwistOfFiles):
    def file(self, sink: Any, frame: FileFrame) -> None:
        super().file(sink, replace(frame, mime_type="application/octet-stream"))


@breaks({"a_file_keeps_what_is_said_of_it": "it is said to be of ''"})
class ForgetsWhoSentAFile(TwistOfFiles):
    def file(self, sink: Any, frame: FileFrame) -> None:
        super().file(sink, replace(frame, participant=""))


@breaks({"an_empty_file_arrives": "of an empty file and another"})
class LeavesOutEmptyFiles(TwistOfFiles):
    def file(self, sink: Any, frame: FileFrame) -> None:
        if frame.payload:
            super().file(sink, frame)


@breaks({"files_and_messages_do_not_mix": "a file arrived as a message"})
class TakesFilesForMessages(TwistOfFiles):
    def file(self, sink: Any, frame: FileFrame) -> None:
        super().data(sink, DataFrame(frame.payload, frame.topic, frame.participant))


@breaks({"files_and_messages_do_not_mix": "a message arrived as a file"})
class TakesMessagesForFiles(Twist):
    def data(self, sink: Any, frame: DataFrame) -> None:
        super().data(sink, FileFrame(frame.payload, frame.topic, frame.participant))


@breaks({"files_of_other_topics_do_not_arrive": "a file of the topic 'größe/bilder' arrived"})
class ReceivesFilesOfEveryTopic(WrongCore):
    @classmethod
    def options(cls, options: dict[str, Any]) -> dict[str, Any]:
        if "file_topics" not in options:
            return options
        return {**options, "file_topics": contract.FILE_TOPICS}


@breaks({"a_file_that_breaks_off_is_told_and_counted": "a file that broke off was not told"})
class HidesABrokenFile(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is not EventKind.FILE_FAILED:
            super().event(sink, event)


@breaks({"a_file_that_breaks_off_is_told_and_counted": "half of a file arrived"})
class GivesHalfAFile(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is EventKind.FILE_FAILED:
            self.data(sink, FileFrame(b"half", "photos", "ann"))
        super().event(sink, event)


# Out


@breaks({"files_of_ours_arrive_in_order": r"in the order \[0, 1, 3, 2"})
class SwapsOurFiles(Counting):
    async def send_file(self, provider: Any, frame: FileFrame) -> None:
        if self.tick() == 3:
            self.held = frame
            return
        await super().send_file(provider, frame)
        if self.held is not None:
            await super().send_file(provider, self.held)
            self.held = None


@breaks({"every_file_of_ours_arrives_once": r"1 of 20 messages never came.*\[2\]"})
class DropsOurFile(Counting):
    async def send_file(self, provider: Any, frame: FileFrame) -> None:
        if self.tick() != 3:
            await super().send_file(provider, frame)


@breaks({"every_file_of_ours_arrives_once": r"messages \[2\] came more than once"})
class RepeatsOurFile(Counting):
    async def send_file(self, provider: Any, frame: FileFrame) -> None:
        for _ in range(2 if self.tick() == 3 else 1):
            await super().send_file(provider, frame)


@breaks({"a_large_file_of_ours_arrives_whole": "8388608 bytes.* arrived as 15000 bytes"})
class CutsOurFiles(Twist):
    async def send_file(self, provider: Any, frame: FileFrame) -> None:
        await super().send_file(provider, replace(frame, payload=frame.payload[:15_000]))


@breaks({"a_file_of_ours_keeps_what_is_said_of_it": "the name '.*' arrived as ''"})
class ForgetsTheName(Twist):
    async def send_file(self, provider: Any, frame: FileFrame) -> None:
        await super().send_file(provider, replace(frame, name=""))


@breaks({"a_file_of_ours_keeps_what_is_said_of_it": r"the attributes .* arrived as \{\}"})
class ForgetsOurAttributes(Twist):
    async def send_file(self, provider: Any, frame: FileFrame) -> None:
        await super().send_file(provider, replace(frame, attributes={}))


@breaks({"files_and_messages_of_ours_do_not_mix": "a file arrived as a message"})
class SendsFilesAsMessages(Twist):
    async def send_file(self, provider: Any, frame: FileFrame) -> None:
        await provider.send_data(DataFrame(frame.payload, frame.topic, to=frame.to))


@breaks({"files_and_messages_of_ours_do_not_mix": "a message arrived as a file"})
class SendsMessagesAsFiles(Twist):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        await provider.send_file(FileFrame(frame.payload, frame.topic, to=frame.to))


@breaks({"a_file_reaches_whom_it_is_for": r"reached \['ann', 'ben', 'eve'\]"})
class SendsFilesToEverybody(Twist):
    async def send_file(self, provider: Any, frame: FileFrame) -> None:
        await super().send_file(provider, replace(frame, to=()))


@breaks({"a_refused_file_is_told": "a refused file was not told"})
class HidesARefusedFile(Twist):
    async def send_file(self, provider: Any, frame: FileFrame) -> None:
        with contextlib.suppress(RoomError):
            await super().send_file(provider, frame)


@breaks({"a_file_that_is_too_large_is_refused": "raised nothing, expected FrameError"})
class CutsWhatIsTooLarge(WrongCore):
    class Transport(client.Transport):
        limit: ClassVar[int] = 8 << 20

        def send_file(self, payload: Any, **options: Any) -> None:
            try:
                super().send_file(payload, **options)
            except FrameError:
                super().send_file(payload[: self.limit], **options)
