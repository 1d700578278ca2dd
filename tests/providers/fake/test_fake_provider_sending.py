"""What goes out, over both ways in: tracks and messages, taken or refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from fake_kit import Opener, audio_track, connected, run, video_track, wait

from ringroom.checks import MAX_DATA_BYTES, MAX_TEXT_BYTES
from ringroom.errors import RoomError
from ringroom.events import EventKind
from ringroom.frames import AudioFrame, DataFrame, TextFrame
from ringroom.options import SessionOptions
from ringroom.providers.provider import Profile
from ringroom.testing import FakeRoom, sources


def test_what_is_played_is_heard(room: FakeRoom, open_provider: Opener) -> None:
    sound = sources.noise(0.5, 16_000, seed=5)

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, _):
            playout = await provider.publish(audio_track())
            # In one frame: between two of them a busy machine leaves a gap, and it is told.
            await playout.play(AudioFrame(sound, 16_000))
            heard = await wait(room.wait_for_audio, "out", 0.5)
            assert np.array_equal(heard.samples, sound)  # type: ignore[attr-defined]
            assert heard.longest_gap == 0  # type: ignore[attr-defined]
            assert room.application.tracks["out"].source == "microphone"
            await playout.close()
            await wait(room.wait_until, lambda: not room.application.tracks)

    run(test())


def test_pictures_that_are_shown_are_seen(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, _):
            playout = await provider.publish(video_track())
            for number in range(5):
                await playout.play(sources.picture(number, 64, 48))
            seen = await wait(room.wait_for_video, "screen", 5)
            numbers = [sources.picture_number(frame) for frame in seen.frames]  # type: ignore[attr-defined]
            assert numbers == [0, 1, 2, 3, 4]

    run(test())


def test_data_goes_both_ways_and_to_whom_it_names(room: FakeRoom, open_provider: Opener) -> None:
    alice, bob = room.join("alice"), room.join("bob")

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, sink):
            alice.send_data(b"for bob", to=("bob",))
            alice.send_data(b"for all", topic="t", reliable=False)
            alice.send_data(b"for app", to=("app",))
            await sink.until(lambda: len(sink.messages) == 2)
            assert [(m.payload, m.topic, m.participant, m.reliable) for m in sink.messages] == [
                (b"for all", "t", "alice", False),
                (b"for app", "", "alice", True),
            ]
            await provider.send_data(DataFrame(b"secret", topic="x", to=("alice",)))
            await provider.send_data(DataFrame(b"x" * MAX_DATA_BYTES, topic="y"))
            found = await wait(room.wait_for_data, "x")
            assert [message.to for message in found] == [("alice",)]  # type: ignore[attr-defined]
            assert [message.payload[:6] for message in alice.received] == [b"secret", b"xxxxxx"]
            assert [m.payload[:7] for m in bob.received] == [b"for bob", b"for all", b"xxxxxxx"]

    run(test())


def test_texts_both_ways(room: FakeRoom, open_provider: Opener) -> None:
    alice = room.join("alice")

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, sink):
            alice.send_text("grüße", topic="t", attributes={"a": "é"})
            alice.send_text("for bob", to=("bob",))
            alice.send_data(b"last")
            await sink.until(lambda: len(sink.messages) == 2)
            text, message = sink.messages
            assert isinstance(text, TextFrame)
            assert (text.text, text.topic, text.participant) == ("grüße", "t", "alice")
            assert text.attributes == {"a": "é"}
            assert type(message) is DataFrame
            longest = TextFrame(b"x" * MAX_TEXT_BYTES, "y", to=("alice",), attributes={"b": ""})
            await provider.send_text(longest)
            [sent] = await wait(room.wait_for_data, "y")  # type: ignore[misc]
            assert sent == replace(longest, participant="app")
            assert alice.received == [sent]
            room.refuse_data()
            with pytest.raises(RoomError) as raised:
                await provider.send_text(TextFrame(b"x"))
            assert raised.value.reason == "data_refused"

    run(test())


TEXTS = SessionOptions(kinds=("data", "event"), text_topics=("t",))


def test_a_text_is_written_piece_by_piece(room: FakeRoom, open_provider: Opener) -> None:
    alice, bob = room.join("alice"), room.join("bob")

    async def test() -> None:
        async with (
            connected(open_provider(room, "app")) as (provider, _),
            connected(open_provider(room, "other"), options=TEXTS) as (_, other),
        ):
            beginning = TextFrame(b"", "t", attributes={"a": "é"})
            first = await provider.open_text(beginning)
            second = await provider.open_text(replace(beginning, to=("alice",)))
            await first.write("grü")
            await second.write("half")
            await first.write("ße")
            assert [one.pieces for one in alice.texts] == [("grü", "ße"), ("half",)]
            assert [one.pieces for one in bob.texts] == [("grü", "ße")]
            assert not any(one.ended for one in alice.texts)
            assert alice.received == []
            await first.close(attributes={"final": "true"})
            await second.close("why")
            assert [(one.whole, one.reason) for one in alice.texts] == [(True, ""), (False, "why")]
            [whole] = alice.received
            attributes = {"a": "é", "final": "true"}
            assert [one.attributes for one in alice.texts] == [attributes, {"a": "é"}]
            assert whole == replace(
                beginning, payload="grüße".encode(), participant="app", attributes=attributes
            )
            await other.until(lambda: other.messages)
            assert [message.payload for message in other.messages] == ["grüße".encode()]
            assert [message.attributes for message in other.messages] == [attributes]
            with pytest.raises(RoomError, match="is not being written any more"):
                await first.write("x")
            room.refuse_data()
            with pytest.raises(RoomError) as raised:
                await provider.open_text(beginning)
            assert raised.value.reason == "data_refused"

    run(test())


def test_others_are_told_of_a_text_that_does_not_come_to_its_end(
    room: FakeRoom, open_provider: Opener
) -> None:
    """Those who are there when it breaks off, and have been since it began."""
    alice = room.join("alice")

    async def test() -> None:
        async with connected(open_provider(room, "other"), options=TEXTS) as (_, other):
            async with connected(open_provider(room, "app")) as (provider, _):
                broken = await provider.open_text(TextFrame(b"", "t"))
                await broken.write("half")
                left = room.join("left")
                text = await provider.open_text(TextFrame(b"", "t"))
                left.leave()
                await text.write("half")
                with room.faults.texts_broken_off():
                    await text.close()
            kinds = [EventKind.TEXT_FAILED] * 2
            await other.until(
                lambda: [one.kind for one in other.events if one.kind in kinds] == kinds
            )
            reasons = [one.reason for one in other.events if one.kind in kinds]
            assert ["broke off" in reasons[0], "has left" in reasons[1]] == [True, True]
            assert [one.text for one in alice.texts] == ["half", "half"]
            assert [one.whole for one in alice.texts] == [False, False]
            assert [(one.text, one.ended) for one in left.texts] == [("", False)]
            assert other.messages == alice.received == []
            alice.forget()
            assert alice.texts == []

    run(test())


def test_tracks_and_messages_are_refused(room: FakeRoom, open_provider: Opener) -> None:
    room.refuse_publish()
    room.refuse_data()

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, _):
            with pytest.raises(RoomError) as raised:
                await provider.publish(audio_track())
            assert raised.value.reason == "publish_refused"
            with pytest.raises(RoomError) as raised:
                await provider.send_data(DataFrame(b"x"))
            assert raised.value.reason == "data_refused"
            room.refuse_publish(False)
            room.refuse_data(False)
            await provider.publish(audio_track())
            await provider.send_data(DataFrame(b"x"))

    run(test())


def test_a_profile_is_taken_or_refused(room: FakeRoom, open_provider: Opener) -> None:
    """As a server takes it: what is empty stays as it is, of an attribute it takes that away."""

    def known() -> tuple[str, str, dict[str, str]]:
        (one,) = (who for who in room.participants if who.identity == "app")
        return one.name, one.metadata, dict(one.attributes)

    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, _):
            await provider.set_profile(
                Profile(name="App", metadata="m", attributes={"a": "1", "b": "2"})
            )
            assert known() == ("App", "m", {"a": "1", "b": "2"})
            await provider.set_profile(Profile(attributes={"a": "", "c": "3"}))
            assert known() == ("App", "m", {"b": "2", "c": "3"})
            room.refuse_profile()
            with pytest.raises(RoomError) as raised:
                await provider.set_profile(Profile(name="other"))
            assert raised.value.reason == "profile_refused"
            assert known() == ("App", "m", {"b": "2", "c": "3"})
            room.refuse_profile(False)
            await provider.set_profile(Profile(name="other"))
            assert known() == ("other", "m", {"b": "2", "c": "3"})

    run(test())


def test_other_applications_are_told_of_a_changed_profile(
    room: FakeRoom, open_provider: Opener
) -> None:
    async def test() -> None:
        async with (
            connected(open_provider(room, "app")) as (provider, own),
            connected(open_provider(room, "other")) as (_, sink),
        ):
            await provider.set_profile(Profile(attributes={"lk.agent.state": "thinking"}))
            changed = await sink.event_of(EventKind.PARTICIPANT_CHANGED)
            assert changed.participant is not None
            assert changed.participant.identity == "app"
            assert changed.participant.attributes == {"lk.agent.state": "thinking"}
            assert not own.of(EventKind.PARTICIPANT_CHANGED), "we know what we have set"

    run(test())


def test_a_track_may_end_with_the_answer_that_grants_it(
    room: FakeRoom, open_provider: Opener
) -> None:
    async def test() -> None:
        async with connected(open_provider(room)) as (provider, _):
            publishing = asyncio.ensure_future(provider.publish(audio_track()))
            await asyncio.sleep(0)
            room.wait_for_track("out")  # nobody has read the answer
            with room.faults.publishing_forbidden():
                playout = await publishing
                await provider.send_data(DataFrame(b"x"))  # its answer comes after both
                with pytest.raises(RoomError, match="not allowed") as taken:
                    await playout.play(AudioFrame(bytes(640), 16_000))
                assert taken.value.reason == "publish_refused"

    run(test())


def test_a_cancelled_publication_is_taken_back(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        async with connected(open_provider(room, "app")) as (provider, sink):
            room.lose_connection()
            await sink.event_of(EventKind.CONNECTION_LOST)
            publishing = asyncio.create_task(provider.publish(audio_track()))
            await asyncio.sleep(0)
            publishing.cancel()
            await asyncio.wait([publishing])
            room.restore_connection()
            await provider.publish(audio_track("other"))
            assert [*room.application.tracks] == ["other"]

    run(test())
