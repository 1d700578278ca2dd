"""Publishing and sending, over a room that behaves as the SDK's does."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from livekit import rtc
from livekit.rtc.data_stream import StreamError
from livekit.rtc.participant import PublishDataError, PublishDTMFError, PublishTrackError

import native_kit  # noqa: F401  (the native library's threads are no test's)
from loop_kit import VirtualLoop, run_virtual
from ringroom.dtmf import DtmfFrame
from ringroom.errors import RoomError
from ringroom.events import EventKind, Kind
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.options import PublishOptions, SessionOptions
from ringroom.providers.livekit import mapping
from ringroom.providers.livekit.outbox import PIECE_BYTES
from ringroom.providers.provider import OutgoingTrack
from sdk_kit import TOKEN, VOICE, Room, Sink, provider, raising, run, turns


def test_publishing(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        with pytest.raises(RoomError, match="not connected"):
            await app.publish(VOICE)
        await app.connect(Sink(), SessionOptions(connect_timeout=0.1))  # type: ignore[arg-type]
        local = room.local_participant
        playout = await app.publish(VOICE)
        await playout.close()
        await playout.close()
        assert local.log == ["published", "unpublished TR_own"]
        local.permissions.can_publish_sources = [rtc.TrackSource.SOURCE_CAMERA]
        with pytest.raises(RoomError, match="source microphone") as caught:
            await app.publish(VOICE)
        assert caught.value.reason == "publish_refused"
        local.permissions.can_publish_sources = []
        dot = replace(VOICE, kind=Kind.VIDEO, width=640, height=3)
        with pytest.raises(RoomError, match="640x3, and WebRTC takes sides of 4") as caught:
            await app.publish(dot)
        assert caught.value.reason == "publish_refused"
        local.permissions.can_publish = False
        with pytest.raises(RoomError, match="canPublish"):
            await app.publish(VOICE)
        local.permissions.can_publish = True
        local.answer = raising(PublishTrackError(f"no {TOKEN}"))
        with pytest.raises(RoomError, match=r"answer.*no .token.") as caught:
            await app.publish(VOICE)
        assert caught.value.reason == "publish_refused"
        await app.close()

    run(scenario())


def test_a_track_published_too_late_is_taken_back(room: Room) -> None:
    async def scenario(_: VirtualLoop) -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions(connect_timeout=0.1))  # type: ignore[arg-type]
        local = room.local_participant
        local.wait = asyncio.get_running_loop().create_future()
        with pytest.raises(RoomError, match="did not answer"):
            await app.publish(VOICE)
        local.wait.set_result(None)
        await turns()
        assert local.log == ["published", "unpublished TR_own"]
        local.wait = asyncio.get_running_loop().create_future()
        publishing = asyncio.create_task(app.publish(VOICE))
        await turns()
        room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
        with pytest.raises(RoomError, match="ended") as caught:
            await publishing
        # Nobody has refused it: it waits for the next room.
        assert caught.value.reason == "disconnected"
        local.wait.set_result(None)
        await app.close()

    run_virtual(scenario)


def test_a_track_that_is_begun_while_the_connection_is_lost_waits_for_it(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions(connect_timeout=0.1))  # type: ignore[arg-type]
        room.emit("reconnecting")
        publishing = asyncio.create_task(app.publish(VOICE))
        await asyncio.wait({publishing}, timeout=0.2)
        assert not publishing.done()
        assert not room.local_participant.log
        room.emit("reconnected")
        await publishing
        assert room.local_participant.log == ["published"]
        await app.close()

    run(scenario())


@pytest.mark.parametrize("failure", ["", "engine: closed"])
def test_a_track_that_a_loss_overtakes_is_asked_for_again(room: Room, failure: str) -> None:
    """The SDK answers such a request with an error, or never."""

    async def scenario(_: VirtualLoop) -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions(connect_timeout=0.1))  # type: ignore[arg-type]
        local = room.local_participant
        first = local.wait = asyncio.get_running_loop().create_future()
        publishing = asyncio.create_task(app.publish(VOICE))
        await turns()
        room.emit("reconnecting")
        local.wait = None
        if failure:
            first.set_exception(PublishTrackError(failure))
        await asyncio.sleep(13.0)
        room.emit("reconnected")
        playout = await publishing
        assert local.log == ["published"]
        if not failure:
            first.set_result(None)
            await turns()
            assert local.log == ["published", "published", "unpublished TR_own"], "it came twice"
        await playout.close()
        await app.close()

    run_virtual(scenario)


def test_sending_data(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant
        await app.send_data(DataFrame(b"x", topic="t", reliable=False, to=("ann",)))
        fields = {"reliable": False, "destination_identities": ["ann"], "topic": "t"}
        assert local.log == [(b"x", fields)]
        local.answer = raising(PublishDataError("too large"))
        with pytest.raises(RoomError, match="too large") as caught:
            await app.send_data(DataFrame(b"x"))
        assert caught.value.reason == "data_refused"
        local.permissions.can_publish_data = False
        with pytest.raises(RoomError, match="canPublishData"):
            await app.send_data(DataFrame(b"x"))
        await app.close()

    run(scenario())


def test_sending_texts(room: Room) -> None:
    """They are handed over as messages are, and the SDK refuses them in its own way."""

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant
        text = TextFrame("grüße".encode(), "t", to=("ann",), attributes={"a": "b"})
        await app.send_text(text)
        fields = {"destination_identities": ["ann"], "topic": "t", "attributes": {"a": "b"}}
        assert local.log == [("grüße".encode(), fields)]
        local.answer = raising(StreamError(f"stream header exceeds maximum size {TOKEN}"))
        with pytest.raises(RoomError, match=r"header exceeds .*\(token\)") as caught:
            await app.send_text(text)
        assert caught.value.reason == "data_refused"
        local.permissions.can_publish_data = False
        with pytest.raises(RoomError, match="canPublishData"):
            await app.send_text(text)
        await app.close()

    run(scenario())


def test_sending_digits(room: Room) -> None:
    """Letters in small, for LiveKit SIP plays no others."""

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant
        for digit in "5#D":
            await app.send_dtmf(DtmfFrame(digit))
        assert local.log == [(b"5", {"code": 5}), (b"#", {"code": 11}), (b"d", {"code": 15})]
        local.answer = raising(PublishDTMFError(f"no channel {TOKEN}"))
        with pytest.raises(RoomError, match=r"no channel \(token\)") as caught:
            await app.send_dtmf(DtmfFrame("5"))
        assert caught.value.reason == "data_refused"
        local.permissions.can_publish_data = False
        with pytest.raises(RoomError, match="canPublishData"):
            await app.send_dtmf(DtmfFrame("5"))
        await app.close()

    run(scenario())


PHOTO = FileFrame(
    bytes(2 * PIECE_BYTES + 1),
    "photos",
    to=("ann",),
    name="a.jpg",
    mime_type="image/jpeg",
    attributes={"a": "b"},
)


def test_a_file_goes_out_in_pieces(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant
        await app.send_file(PHOTO)
        (name, fields), *pieces, end = local.log
        assert name == b"a.jpg"
        assert fields == {
            "total_size": len(PHOTO.payload),
            "mime_type": "image/jpeg",
            "attributes": {"a": "b"},
            "destination_identities": ["ann"],
            "topic": "photos",
        }
        assert [len(piece) for piece, _ in pieces] == [PIECE_BYTES, PIECE_BYTES, 1]
        assert end == "closed: "
        local.log.clear()
        await app.send_file(FileFrame(b""))
        assert local.log[-1] == "closed: "
        local.permissions.can_publish_data = False
        with pytest.raises(RoomError, match="canPublishData"):
            await app.send_file(PHOTO)
        await app.close()

    run(scenario())


def test_the_loop_has_its_turns_while_a_file_goes_out(room: Room) -> None:
    """Sound is waiting there."""

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        seen: list[int] = []

        async def look() -> None:
            while True:
                seen.append(len(room.local_participant.log))
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        await app.send_file(FileFrame(bytes(20 * PIECE_BYTES)))
        looking.cancel()
        assert {*range(1, 22)} <= {*seen}, "a turn for each piece"
        await app.close()

    run(scenario())


def test_a_slow_file_is_no_dead_connection(room: Room) -> None:
    """Each piece has as long as a message has."""

    async def scenario(loop: VirtualLoop) -> None:
        app = provider()
        sink = Sink()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant

        def take_long() -> None:
            local.unanswered = loop.create_future()
            loop.call_later(15, local.unanswered.set_result, None)

        local.answer = take_long
        take_long()
        begun = loop.time()
        await app.send_file(FileFrame(bytes(5 * PIECE_BYTES)))
        assert loop.time() - begun >= 90
        assert local.log[-1] == "closed: "
        assert EventKind.DATA_FAILED not in [event.kind for event in sink.events]
        await app.close()

    run_virtual(scenario)


def test_a_file_that_the_sdk_refuses_in_the_middle_is_ended(room: Room) -> None:
    """Those who have begun to receive it need not wait."""

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant
        answers = iter([lambda: None, lambda: None, raising(StreamError(f"no {TOKEN}"))])
        local.answer = lambda: next(answers)()
        with pytest.raises(RoomError, match=r"no \(token\)") as caught:
            await app.send_file(PHOTO)
        assert caught.value.reason == "data_refused"
        await turns()
        assert local.log[-1] == "closed: its sender has given it up"
        await app.close()

    run(scenario())


def test_a_file_that_is_cut_by_a_new_connection_is_refused(room: Room) -> None:
    """For the others we have left and come back, and what we had begun is broken off."""

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant

        def joined_anew() -> None:
            """Our sid is the old one still."""
            room.certificate = f"CF_{len(local.log)}"
            room.emit("reconnecting")
            room.emit("reconnected")

        local.answer = joined_anew
        with pytest.raises(RoomError, match="the connection was made anew before") as caught:
            await app.send_file(PHOTO)
        assert caught.value.reason == "data_refused"
        local.answer = lambda: None
        await app.send_file(PHOTO)
        await app.close()

    run(scenario())


@pytest.mark.parametrize("begun", [0, 2], ids=["as it begins", "in the middle"])
def test_a_file_that_is_cancelled_is_ended(room: Room, begun: int) -> None:
    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant
        under_way = asyncio.get_running_loop().create_future()

        def held() -> None:
            local.unanswered = under_way if len(local.log) >= begun else None

        local.answer = held
        held()
        sending = asyncio.create_task(app.send_file(PHOTO))
        await turns(20)
        sending.cancel()
        await asyncio.wait([sending])
        under_way.set_result(None)
        await turns(20)
        assert local.log[-1] == "closed: its sender has given it up"
        await app.close()

    run(scenario())


def test_a_message_under_way_as_the_room_ends_is_refused_by_nobody(room: Room) -> None:
    """Else the next ones, which wait for the next room, would be offered to this one."""

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        room.local_participant.unanswered = asyncio.get_running_loop().create_future()
        sending = asyncio.create_task(app.send_data(DataFrame(b"x")))
        await turns()
        room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
        with pytest.raises(RoomError) as caught:
            await sending
        assert caught.value.reason == "disconnected"
        room.local_participant.unanswered.set_result(None)
        await app.close()

    run(scenario())


def test_a_message_that_is_handed_over_as_we_leave_is_not_watched(room: Room) -> None:
    """Twenty seconds long, with all that the watch refers to."""

    async def scenario(_: VirtualLoop) -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        assert app._opened is not None
        outbox = app._opened.outbox
        room.emit("reconnecting")
        sending = asyncio.create_task(app.send_data(DataFrame(b"y")))
        await turns()
        room.emit("reconnected")
        await app.close()  # begins once the message is on its way, and before it is handed over
        assert [payload for payload, _ in room.local_participant.log] == [b"y"]
        assert outbox._watch is None
        await sending

    run_virtual(scenario)


def test_publish_options() -> None:
    ours = PublishOptions(dtx=True, red=False, audio_bitrate=32_000, source="screen_share_audio")
    theirs = mapping.publish_options(
        OutgoingTrack(name="a", kind=Kind.AUDIO, options=ours, sample_rate=16_000, channels=1)
    )
    assert (theirs.dtx, theirs.red, theirs.audio_encoding.max_bitrate) == (True, False, 32_000)
    assert theirs.source == rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO
    assert not mapping.publish_options(VOICE).HasField("audio_encoding")
    assert mapping.publish_options(VOICE).source == rtc.TrackSource.SOURCE_MICROPHONE
    ours = PublishOptions(video_codec="av1", simulcast=True, video_fps=15)
    theirs = mapping.publish_options(
        OutgoingTrack(name="v", kind=Kind.VIDEO, options=ours, width=1280, height=720)
    )
    assert (theirs.video_codec, theirs.simulcast) == (rtc.VideoCodec.AV1, True)
    assert theirs.source == rtc.TrackSource.SOURCE_CAMERA
    assert theirs.video_encoding.max_framerate == 15
    assert 1_100_000 < theirs.video_encoding.max_bitrate < 1_300_000
