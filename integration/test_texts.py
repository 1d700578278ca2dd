"""Texts with what LiveKit's frontends and plain clients make of them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from livekit import rtc

import ringroom
from integration.conftest import Joins
from integration.provider_kit import Peer, Recorder, Server, connected, peer, run, until
from ringroom.events import EventKind
from ringroom.frames import TextFrame
from ringroom.testing.server import LiveKitRoom
from ringroom.testing.simulation.laws import check_counts

LONG = "".join(f"{number} é\n" for number in range(20_000))


def test_a_browser_shows_our_transcriptions_and_we_read_its_chat(
    livekit_room: LiveKitRoom, browser: Joins
) -> None:
    options = {"url": livekit_room.url, "token": livekit_room.token("app")}
    texts = {"kinds": ("data",), "text_topics": ("lk.chat",)}
    with ringroom.transport("livekit", **options, **texts) as t:
        receiver = t.recv(timeout=30)
        ben, eve = browser("ben"), browser("eve")
        ben.wait_for("participant", participant="eve")
        segment = {"lk.segment_id": "SG_1", "lk.transcribed_track_id": "TR_1"}
        for text, final in (("so", "false"), ("so wird es gesagt", "true")):
            attributes = {**segment, "lk.transcription_final": final}
            t.send_text(text, topic="lk.transcription", attributes=attributes)
            for who in (ben, eve):
                heard = {"participant": "app", "topic": "lk.transcription", "text": text}
                assert who.wait_for("text", **heard)["attributes"].items() >= attributes.items()
        t.send_text("for eve", topic="lk.chat", to=["eve"])
        t.send_text(LONG, topic="lk.chat")
        assert ben.wait_for("text", topic="lk.chat")["text"] == LONG
        assert eve.wait_for("text", topic="lk.chat")["text"] == "for eve"
        t.send_data("no text", topic="lk.chat")
        assert ben.wait_for_data(topic="lk.chat") == b"no text"

        ben.call("text", text="of no interest", topic="lk.transcription")
        ben.call("text", text="grüße", topic="lk.chat", attributes={"a": "é"})
        ben.call("text", text=LONG, topic="lk.chat", to=["app"])
        short, long = next(receiver), next(receiver)
        assert isinstance(short, TextFrame)
        assert isinstance(long, TextFrame)
        assert (short.text, short.participant, short.topic) == ("grüße", "ben", "lk.chat")
        assert short.attributes.items() >= {("a", "é")}
        assert long.text == LONG


@pytest.mark.alone  # by the public path each event costs something for each of 2,000 readers
@pytest.mark.parametrize("sdk_path", ["direct", "public"])
def test_texts_that_come_while_our_loop_stands_still_are_all_read(
    server: Server, sdk_path: str
) -> None:
    """They are begun in one turn, before any of them is read."""
    texts = [f"text {number}" for number in range(2_000)]

    sent, received = threading.Event(), threading.Event()

    async def speak() -> None:
        async with peer(server, "ann") as ann:
            for text in texts:
                await ann.room.local_participant.send_text(text, topic="t")
            sent.set()
            received.wait(90)  # by leaving, the SDK would overtake what it has still to send

    async def scenario() -> None:
        sink = Recorder()
        options = {"kinds": ("data", "event"), "text_topics": ("t",)}
        async with connected(server.spec(sdk_path=sdk_path), sink, **options):
            speaking = threading.Thread(target=asyncio.run, args=(speak(),))
            speaking.start()
            try:
                assert sent.wait(60)  # our loop stands still
                await until(lambda: len(sink.messages) >= len(texts), "all of them", 60)
            finally:
                received.set()
                await asyncio.to_thread(speaking.join)
        assert [frame.text for frame in sink.messages if isinstance(frame, TextFrame)] == texts
        assert EventKind.TEXT_FAILED not in sink.kinds()

    run(scenario())


def test_many_texts_arrive_in_order(server: Server) -> None:
    """Half of what is sent after a long text would overtake it."""
    count, step = 1_000, 100

    def text(number: int) -> str:
        return f"{number} " + "x" * (40_000 if number % 7 == 0 else 10)

    async def words(ann: Peer, wanted: int) -> None:
        """That we are there is one, and another tells of each step that is read."""
        await until(lambda: len(ann.packets) >= wanted, f"{wanted} words", 30)

    async def speak() -> None:
        async with peer(server, "ann") as ann:
            us = ann.room.local_participant
            for number in range(count):
                if number % step == 0:
                    await words(ann, max(1, number // step))  # of each step but the last one
                await us.send_text(text(number), topic="t", attributes={"n": str(number)})
            await words(ann, 1 + count // step)

    options = {"url": server.url, "token": server.token("app"), "text_topics": ("t",)}
    with ringroom.transport("livekit", kinds=("data", "event"), **options) as t:

        def answer() -> list[str]:
            for event in t.recv(kinds=("event",), timeout=30):
                if event.kind is EventKind.PARTICIPANT_JOINED:
                    break
            t.send_data("we are here")
            receiver = t.recv(kinds=("data",), timeout=20)
            got: list[Any] = []
            while len(got) < count:
                got += [next(receiver) for _ in range(step)]
                t.send_data("read")
            assert all(isinstance(one, TextFrame) for one in got)
            assert [one.text for one in got] == [text(number) for number in range(count)]
            return [one.attributes["n"] for one in got]

        async def both() -> list[str]:
            speaking = asyncio.create_task(speak())
            numbers = await asyncio.to_thread(answer)
            await speaking
            return numbers

        assert asyncio.run(both()) == [str(number) for number in range(count)]
        assert t.stats().received.dropped == 0
    check_counts(t.stats().lanes, over=True)


def test_what_is_too_long_or_breaks_off_is_told(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()
        options = {"kinds": ("data", "event"), "text_topics": ("t",)}

        def failed(who: str, count: int) -> bool:
            events = [event for event in sink.events if event.kind is EventKind.TEXT_FAILED]
            return [one.participant.identity for one in events if one.participant].count(
                who
            ) == count

        async with connected(server.spec(), sink, **options) as app, peer(server, "ben") as ben:
            under_way = app._opened.texts._open  # type: ignore[attr-defined]
            async with peer(server, "ann") as ann:
                us = ann.room.local_participant
                await us.send_text("x" * 200_001, topic="t")
                writer = await us.stream_text(topic="t")
                await writer.write("aborted")
                await writer.aclose(reason="I have lost the thread")
                writer = await us.stream_text(topic="t")
                await writer.write("half")
                await us.send_text("overtakes", topic="t")
                await until(lambda: sink.messages, "a whole text")
                await until(lambda: EventKind.PARTICIPANT_JOINED in sink.kinds(of="ann"), "ann")
            await ben.room.local_participant.send_text("goes on", topic="t")
            await until(lambda: len(sink.messages) == 2, "another's text")
            await until(lambda: failed("ann", 3), "three failures")
            # Who goes before we are told of her: the SDK never ends what she has begun.
            async with peer(server, "eve") as eve:
                writer = await eve.room.local_participant.stream_text(topic="t")
                await writer.write("half")
                await until(lambda: "eve" in under_way, "its beginning")
            await until(lambda: failed("eve", 1), "a text of somebody who was hardly there")
        assert [frame.payload for frame in sink.messages] == [b"overtakes", b"goes on"]
        told = [event.reason for event in sink.events if event.kind is EventKind.TEXT_FAILED]
        for why in ("exceeds maximum size", "I have lost the thread", "unexpectedly disconnected"):
            assert any(why in reason for reason in told), told

    run(scenario())


def test_a_text_that_is_under_way_in_a_loss_is_told_if_it_does_not_come(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()
        options = {"kinds": ("data", "event"), "text_topics": ("t",)}
        async with (
            connected(server.spec(), sink, **options) as app,
            peer(server, "ann") as ann,
        ):
            opened = app._opened  # type: ignore[attr-defined]
            us = ann.room.local_participant
            await until(lambda: EventKind.PARTICIPANT_JOINED in sink.kinds(of="ann"), "ann")
            writer = await us.stream_text(topic="t")
            await writer.write("half ")
            await until(lambda: opened.texts._open, "its beginning")
            full = rtc.SimulateScenarioKind.Value("SIMULATE_FULL_RECONNECT")
            await opened.room.simulate_scenario(full)
            await until(lambda: EventKind.CONNECTION_BACK in sink.kinds(), "the connection", 30)
            await writer.write("and half")
            await writer.aclose()
            await until(lambda: sink.messages or EventKind.TEXT_FAILED in sink.kinds(), "a word")
            if sink.messages:
                assert sink.messages[0].payload == b"half and half"
            await us.send_text("after", topic="t")
            await until(
                lambda: sink.messages[-1:] and sink.messages[-1].payload == b"after", "more"
            )
            assert not opened.texts._open

    run(scenario())
