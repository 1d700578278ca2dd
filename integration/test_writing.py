"""Texts of ours while they are being written, as plain SDK clients and a browser see them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from livekit import rtc
from livekit.rtc.data_stream import StreamError

import ringroom
from integration.conftest import Joins
from integration.provider_kit import Recorder, Server, connected, peer, run, until
from ringroom.errors import RoomError
from ringroom.events import EventKind
from ringroom.frames import TextFrame
from ringroom.testing import faults
from ringroom.testing.server import LiveKitRoom
from ringroom.testing.simulation.laws import check_counts
from ringroom.text_out import UNFINISHED


class Reader:
    """What the handler of a plain client reads of one text."""

    def __init__(self, reader: Any) -> None:
        self.info = reader.info
        self.pieces: list[str] = []
        self.ended = False
        self.error = ""
        self._task = asyncio.ensure_future(self._read(reader))

    async def _read(self, reader: Any) -> None:
        try:
            async for piece in reader:
                self.pieces.append(piece)
        except StreamError as error:
            self.error = error.description
        self.ended = True


def listen(room: Any, topic: str) -> list[Reader]:
    texts: list[Reader] = []
    room.register_text_stream_handler(topic, lambda reader, _: texts.append(Reader(reader)))
    return texts


def raise_in_block(t: ringroom.Transport, topic: str) -> None:
    with t.open_text(topic=topic, timeout=20) as text:
        text.write("half")
        raise ZeroDivisionError


def test_a_plain_client_reads_tokens_as_they_come(server: Server) -> None:
    tokens = ["So", " wird", " es", " ge", "sagt", ".", " ", "é" * 40_000]
    options = {"url": server.url, "token": server.token("app"), "kinds": ("event",)}
    attributes = {"lk.segment_id": "SG_1", "größe": "", "lk.transcription_final": "false"}
    last = {"lk.transcription_final": "true", "long": "é" * 5_900}

    def write(t: ringroom.Transport, come: Callable[[int], None]) -> None:
        of: Any = {"topic": "lk.transcription", "attributes": attributes, "timeout": 20}
        with t.open_text(**of) as text:
            for number, token in enumerate(tokens[:-1]):
                text.write(token)
                come(number + 1)
            text.write(tokens[-1])
            text.finish(last)

    async def scenario(t: ringroom.Transport) -> None:
        async with peer(server, "ann") as ann:
            loop = asyncio.get_running_loop()
            texts = listen(ann.room, "lk.transcription")

            def come(count: int) -> None:
                """Each before the next is written."""
                there = until(lambda: texts and len(texts[0].pieces) == count, "a token")
                asyncio.run_coroutine_threadsafe(there, loop).result(20)
                assert not texts[0].ended
                assert (texts[0].info.attributes or {}).items() >= attributes.items()

            await asyncio.to_thread(write, t, come)
            await until(lambda: texts[0].ended, "the end")
            assert "".join(texts[0].pieces) == "".join(tokens)
            assert texts[0].error == ""
            assert (texts[0].info.attributes or {}).items() >= (attributes | last).items()

            with pytest.raises(ZeroDivisionError):
                await asyncio.to_thread(raise_in_block, t, "lk.transcription")
            await until(lambda: len(texts) == 2 and texts[1].ended, "another end")
            assert texts[1].pieces == ["half"]
            assert UNFINISHED in texts[1].error

            with t.open_text(topic="lk.transcription", timeout=20) as text:
                text.write("half")
                await until(lambda: len(texts) == 3 and texts[2].pieces, "a third")
                faults.killed(t.io_pid or 0)
                await until(lambda: texts[2].ended, "the end of its sender", 60)
                assert texts[2].error
                await asyncio.to_thread(text.write, "and half")

    with ringroom.transport("livekit", **options) as t:
        asyncio.run(scenario(t))
        failed = next(event for event in t.recv(timeout=60) if event.kind == "data_failed")
        assert "the connection in which it was begun was lost" in failed.reason
    check_counts(t.stats().lanes, over=True)


async def simulate(app: Any, scenario: str, sink: Recorder) -> None:
    """Lose the connection like that, and have it back, or the room's end where the SDK gives up."""
    simulated = rtc.SimulateScenarioKind.Value(f"SIMULATE_{scenario}")
    await app._opened.room.simulate_scenario(simulated)
    await until(
        lambda: EventKind.CONNECTION_BACK in sink.kinds() or sink.ends, "the connection", 60
    )


@pytest.mark.parametrize(
    "scenario_name",
    ["FULL_RECONNECT", "MIGRATION", "NODE_FAILURE", "DISCONNECT_SIGNAL_ON_RESUME"],
)
def test_a_text_does_not_outlive_a_connection_that_is_made_anew(
    server: Server, scenario_name: str
) -> None:
    """Also a resume that fails ends so; and our sid may be the old one for seconds."""

    async def scenario() -> None:
        sink = Recorder()
        async with (
            connected(server.spec(), sink, kinds=("data", "event")) as app,
            peer(server, "ann") as ann,
        ):
            texts = listen(ann.room, "t")
            text, ending = [await app.open_text(TextFrame(b"", "t")) for _ in range(2)]
            for one in (text, ending):
                await one.write("half")
            await until(lambda: len(texts) == 2 and all(t.pieces for t in texts), "the beginnings")
            await simulate(app, scenario_name, sink)
            given_up = scenario_name == "MIGRATION" and bool(sink.ends)  # there is no other node
            why = "livekit" if given_up else "the connection was made anew"
            for call in (text.write("and half"), ending.close()):
                with pytest.raises(RoomError, match=why) as told:
                    await call
                assert (told.value.reason == "disconnected") == given_up
            if given_up:
                return
            await until(lambda: all(one.ended for one in texts), "the ends")
            assert all(one.error for one in texts)
            text = await app.open_text(TextFrame(b"", "t"))
            await text.write("another")
            await text.close()
            await until(lambda: len(texts) == 3 and texts[2].ended, "another")
            assert (texts[2].pieces, texts[2].error) == (["another"], "")

    run(scenario())


def test_a_text_goes_on_in_a_connection_that_is_resumed(server: Server) -> None:
    """Who reads it gets all of it, in order: what is written meanwhile waits."""

    async def scenario() -> None:
        sink = Recorder()
        async with (
            connected(server.spec(), sink, kinds=("data", "event")) as app,
            peer(server, "ann") as ann,
        ):
            texts = listen(ann.room, "t")
            text = await app.open_text(TextFrame(b"", "t"))
            written = ""
            back = asyncio.ensure_future(simulate(app, "SIGNAL_RECONNECT", sink))
            while not back.done() or len(written) < 1_000:
                await text.write(piece := f"{len(written)} ")
                written += piece
                await asyncio.sleep(0.001)
            await back
            assert EventKind.CONNECTION_LOST in sink.kinds()
            await text.close()
            await until(lambda: texts and texts[0].ended, "the end")
            assert (texts[0].error, "".join(texts[0].pieces)) == ("", written)

    run(scenario())


def test_what_is_given_up_while_it_is_written_is_never_taken_for_whole(server: Server) -> None:
    """The SDK ends a writer that is dropped while a write of it is under way as if all were out."""

    async def scenario() -> None:
        async with peer(server, "ann") as ann:
            texts = listen(ann.room, "t")

            def ends(count: int) -> bool:
                return len(texts) == count and all(one.ended for one in texts)

            async with connected(server.spec(), Recorder()) as app:
                # Else her SDK does not break off what is open as we leave.
                await until(lambda: "app" in ann.room.remote_participants, "that she is told of us")
                text = await app.open_text(TextFrame(b"", "t"))
                writing = asyncio.ensure_future(text.write("x" * 200_000))
                await asyncio.sleep(0)
                writing.cancel()
                await asyncio.wait([writing])
                del text, writing
                gc.collect()
                await until(lambda: ends(1), "the end of what was cancelled")

                idle, busy = [await app.open_text(TextFrame(b"", "t")) for _ in range(2)]
                await idle.write("half")
                await until(lambda: len(texts) == 3 and texts[1].pieces, "their beginnings")
                writing = asyncio.ensure_future(busy.write("x" * 200_000))
                await asyncio.sleep(0)
            await asyncio.wait([writing])
            await until(lambda: ends(3), "the ends of what was open")
            assert all(one.error for one in texts)
            assert UNFINISHED in texts[0].error

    run(scenario())


def test_a_browser_shows_what_was_written(livekit_room: LiveKitRoom, browser: Joins) -> None:
    options = {"url": livekit_room.url, "token": livekit_room.token("app")}
    with ringroom.transport("livekit", kinds=(), **options) as t:
        ben = browser("ben")
        with t.open_text(topic="lk.transcription", attributes={"a": "é"}) as text:
            for token in ("so", " wird", " es", " gesagt"):
                text.write(token)
            text.finish({"lk.transcription_final": "true"})
        shown = ben.wait_for("text", topic="lk.transcription", text="so wird es gesagt")
        assert shown["attributes"].items() >= {("a", "é"), ("lk.transcription_final", "true")}
