"""The way in, by both ways through the SDK, driven by native events made here."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from native_kit import Freed, Out, end_event, frame, put, seen, stream_of, turns
from ringroom.events import Kind, Participant, TrackInfo
from ringroom.options import SessionOptions
from ringroom.providers.livekit import ingest as module
from ringroom.providers.livekit.ingest import Ingest

TRACK = TrackInfo(sid="TR_1", name="voice", kind=Kind.AUDIO, participant="ann")
ANN = Participant(identity="ann")
WAYS = ("public", "direct")
KINDS = (Kind.AUDIO, Kind.VIDEO)


class Sink:
    def __init__(self, out: Out) -> None:
        self.out = out

    def open_track(self, track: TrackInfo, participant: Participant) -> Out:
        self.out.log.append("opened")
        return self.out


class Way:
    """One of the two ways, and the number of its first, second... stream."""

    def __init__(self, name: str, freed: Freed) -> None:
        self.name, self.freed = name, freed

    def stream(self, kind: Kind) -> Any:
        return stream_of(self.name, kind)

    def number(self, stream: int = 1) -> int:
        return 0 if self.name == "public" else 100 + stream


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way:
    return Way(request.param, Freed(monkeypatch))


def ingest_of(stream: Any, out: Out) -> Ingest:
    path = SimpleNamespace(stream=lambda *arguments: stream)
    return Ingest(Sink(out), TRACK, ANN, path)  # type: ignore[arg-type]


def started(stream: Any, out: Out, **fields: Any) -> Ingest:
    ingest = ingest_of(stream, out)
    ingest.muted = fields.pop("muted", False)
    ingest.start(None, SessionOptions(), **fields)  # type: ignore[arg-type]
    return ingest


def run(scenario: Any) -> Any:
    return asyncio.run(asyncio.wait_for(scenario, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_passes_on_what_is_queued(way: Way, kind: Kind) -> None:
    async def scenario() -> list[Any]:
        out = Out()
        ingest = started(way.stream(kind), out)
        await turns()
        for value in (1, 2, 3):
            put(frame(kind, value, way.number(), rotation=3))
        await asyncio.gather(ingest.end("unpublished"), ingest.end("unpublished"))
        if way.name == "public":  # natively nothing comes after the end
            put(frame(kind, 9))
        await ingest.end("again")
        return out.log

    frames = [seen(kind, value, rotation=270) for value in (1, 2, 3)]
    assert run(scenario()) == ["opened", *frames, "closed: unpublished"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_end_by_itself(way: Way, kind: Kind) -> None:
    async def scenario() -> list[Any]:
        out = Out()
        ingest = started(way.stream(kind), out, muted=True)
        await turns()
        ingest.mute(False)
        put(frame(kind, 1, way.number()))
        put(end_event(kind, way.number()))
        await turns()
        ingest.mute(True)
        return out.log

    log = run(scenario())
    assert log == ["opened", "muted True", "muted False", seen(kind, 1), "closed: "]


class Endless:
    """A stream that neither ends nor closes."""

    def __init__(self) -> None:
        self.closed = 0

    async def run(self, out: Any) -> None:
        await asyncio.get_running_loop().create_future()

    async def aclose(self) -> None:
        self.closed += 1
        await asyncio.get_running_loop().create_future()


def test_a_stream_that_neither_ends_nor_closes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.01)

    async def scenario() -> tuple[list[Any], int]:
        out, stream = Out(), Endless()
        ingest = started(stream, out)
        await turns()
        await ingest.end("unpublished")
        return out.log, stream.closed

    assert asyncio.run(scenario()) == (["opened", "closed: unpublished"], 1)
    assert "did not close" in caplog.text


def test_a_track_that_comes_back_waits_for_its_former_end(way: Way) -> None:
    async def scenario() -> list[Any]:
        log: list[Any] = []
        first = started(way.stream(Kind.VIDEO), Out(log))
        await turns()
        put(frame(Kind.VIDEO, 1, way.number()))
        second = started(way.stream(Kind.AUDIO), Out(log), after=first)
        put(frame(Kind.AUDIO, 2, way.number(2)))  # comes before its turn: it is kept
        await turns(40)
        put(frame(Kind.AUDIO, 3, way.number(2)))
        await second.end("left")
        return log

    log = run(scenario())
    assert log[:3] == ["opened", seen(Kind.VIDEO, 1), "closed: subscribed again"]
    assert log[3:] == ["opened", seen(Kind.AUDIO, 2), seen(Kind.AUDIO, 3), "closed: left"]


class Finite:
    """A stream that ends when it is closed."""

    def __init__(self) -> None:
        self.closed = 0
        self._over = asyncio.Event()

    async def run(self, out: Any) -> None:
        await self._over.wait()

    async def aclose(self) -> None:
        self.closed += 1
        self._over.set()


def test_a_stream_whose_sink_is_not_to_be_had_is_closed() -> None:
    def refuse(track: TrackInfo, participant: Participant) -> Out:
        raise MemoryError("no ring")

    async def scenario() -> None:
        stream = Finite()
        path = SimpleNamespace(stream=lambda *arguments: stream)
        sink = SimpleNamespace(open_track=refuse)
        ingest = Ingest(sink, TRACK, ANN, path)  # type: ignore[arg-type]
        reading = ingest.start(None, SessionOptions())  # type: ignore[arg-type]
        with pytest.raises(MemoryError):
            await reading
        assert stream.closed == 1, "the roster has forgotten it: nobody else closes it"
        await ingest.end("late")
        assert stream.closed == 1

    run(scenario())


def test_a_stream_whose_former_one_fails_to_close_is_closed() -> None:
    class Broken(Finite):
        async def aclose(self) -> None:
            await super().aclose()
            raise RuntimeError("the library does not know the handle")

    async def scenario() -> list[Any]:
        log: list[Any] = []
        first = started(Broken(), Out(log))
        await turns()
        stream = Finite()
        second = ingest_of(stream, Out(log))
        reading = second.start(None, SessionOptions(), first)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError):
            await reading
        assert stream.closed == 1
        await turns()
        return log

    assert run(scenario()) == ["opened", "closed: subscribed again"]


def test_a_sink_that_raises_ends_the_track(way: Way) -> None:
    class Broken(Out):
        def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
            raise ValueError("full")

    async def scenario() -> list[Any]:
        out = Broken()
        ingest = ingest_of(way.stream(Kind.AUDIO), out)
        reading = ingest.start(None, SessionOptions())  # type: ignore[arg-type]
        await turns()
        put(frame(Kind.AUDIO, 1, way.number()))
        with pytest.raises(ValueError, match="full"):
            await reading
        await ingest.end("late")
        return out.log

    assert run(scenario()) == ["opened", "closed: "]
