"""The end of a session: the room's, a failure's, or our own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest
from io_kit import ANN, MIC, Outside, Source, run, sound, turns, until
from rooms_kit import ROWS, hear, texts, there, track

from reconnect_kit import SOON
from ringroom import messages as m
from ringroom.errors import ClosedError, RoomError
from ringroom.events import Event, EventKind, Kind
from ringroom.frames import DataFrame
from ringroom.options import Reconnect, SessionOptions
from ringroom.processes.io.inbound import NullTrack
from ringroom.providers.provider import Joined


def test_a_session_that_fails_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()

            async def fail() -> None:
                raise ValueError("nobody thought of that")

            t.session._spawn(fail())
            async with asyncio.timeout(20):
                await t.session.done.wait()

    run(main())
    assert "nobody thought of that" in caplog.text


def test_the_rooms_end_closes_the_tracks_first_and_is_told_once_to_all() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(readers=1)
            worker = t.attach(0)
            await t.joined()
            hear(t.sink.open_track(MIC, ANN), 1)
            t.sink.ended("closed")
            t.sink.ended("again")
            for end in (worker, t):
                await until(lambda end=end: end.of(m.Ended))
                assert end.of(m.Ended) == [m.Ended(reason="closed", error={})]
                assert texts(end.items()).count(EventKind.DISCONNECTED) == 1
            order = [type(message) for message in worker.of(m.LaneEnding, m.Ended)]
            assert order == [m.LaneEnding, m.Ended]
            # What tells of the end lies in its lane before the end is told.
            events = [one.kind == Kind.EVENT for one in worker.of(m.LaneOpened, m.Ended)[:-1]]
            assert True in events

    run(main())


def test_the_application_is_told_of_each_loss_and_return_once() -> None:
    """Whoever receives events: it counts them."""

    def happens(t: Any, kind: EventKind) -> None:
        t.sink.event(Event(kind=kind))

    async def main() -> None:
        async with there(kinds=("audio",), reconnect=SOON) as t:
            t.connect(readers=1)
            worker = t.attach(0)
            await t.joined()
            assert t.of(m.Away) == []
            for kind in (EventKind.CONNECTION_LOST, EventKind.CONNECTION_BACK):
                happens(t, kind)
                happens(t, kind)
            happens(t, EventKind.CONNECTION_LOST)
            t.sink.ended("wire", error="it broke")
            await until(lambda: len(t.of(m.Connected)) == 2)
            assert [one.away for one in t.of(m.Away)] == [True, False, True, False]
            assert worker.of(m.Away) == []

    run(main())


def test_a_loss_that_does_not_heal_is_told_with_its_error() -> None:
    async def main() -> None:
        async with there(reconnect=Reconnect(retries=0)) as t:
            t.connect()
            await t.joined()
            t.sink.ended("wire", error="it broke")
            (ended,) = await until(lambda: t.of(m.Ended))
            broke = {"type": "RoomError", "text": "it broke", "reason": "disconnected"}
            assert (ended.reason, ended.error) == ("wire", broke)

    run(main())


def test_a_provider_that_cannot_be_opened_leaves_no_descriptor() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours:
            async with there(RoomError("no SDK", reason="unreachable")) as t:
                with theirs:
                    t.connect(0, "participant", theirs.fileno())
                (failed,) = await until(lambda: t.of(m.Failed))
                assert failed.error["text"] == "no SDK"
                assert ours.recv(1) == b"", "nobody holds the other end"

    run(main())


def test_a_provider_is_closed_once_also_while_it_connects() -> None:
    async def main() -> None:
        outside = Outside()
        outside.connects.clear()
        async with there(outside, close_timeout=60.0) as t:
            t.connect()
            await until(lambda: outside.sink)
            t.link.send(m.Leave())
            t.link.send(m.Leave())
            await until(t.session.done.is_set)
            assert outside.closes == 1
            assert t.of(m.Connected, m.Failed) == []

    run(main())


def test_a_provider_that_goes_on_connecting_is_closed_all_the_same() -> None:
    class Stubborn(Outside):
        async def connect(self, sink: Any, options: SessionOptions) -> Any:
            self.sink = sink
            while not self.closes:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)
            raise RoomError("closed")

    async def main() -> None:
        outside = Stubborn()
        loop, ahead = asyncio.get_running_loop(), 0.0
        now = loop.time
        loop.time = lambda: now() + ahead  # type: ignore[method-assign]
        async with there(outside, close_timeout=40.0) as t:
            t.connect()
            await until(lambda: outside.sink)
            t.link.send(m.Leave())
            await until(lambda: t.session._closing)
            await turns()
            assert outside.closes == 0, "it has half of the time for letting go"
            ahead = 21.0
            await until(t.session.done.is_set)
            assert outside.closes == 1

    run(main())


class Stuck(Source):
    """It does not close while it is held."""

    def __init__(self) -> None:
        super().__init__()
        self.held = True

    async def close(self) -> None:
        while self.held:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        await super().close()


@pytest.mark.parametrize("whose", ["application", "worker", "worker that left"])
def test_a_source_that_does_not_close_keeps_nobody_in_the_room(whose: str) -> None:
    async def main() -> None:
        source = Stuck()
        outside = Outside(source)
        loop, ahead = asyncio.get_running_loop(), 0.0
        now = loop.time
        loop.time = lambda: now() + ahead  # type: ignore[method-assign]
        async with there(outside, close_timeout=40.0) as t:
            t.connect(readers=1)
            worker = t.attach(0)
            await t.joined()
            hear(t.sink.open_track(MIC, ANN), 1)
            sender = t if whose == "application" else worker
            sender.open(5, row=ROWS + 5).send_nowait(sound(1), 5)
            await until(lambda: source.values)
            try:
                if whose == "worker that left":
                    worker.link.send(m.Leave())
                    worker.link.close()
                    await until(lambda: t.session._detaching)
                t.link.send(m.Leave())
                await until(lambda: t.session._closing)
                await turns()
                assert (outside.closes, t.session.done.is_set()) == (0, False)
                ahead = 31.0
                await until(t.session.done.is_set)
                assert outside.closes == 1, "the provider is closed all the same"
                listed = {one.row for one in t.of(m.LaneListed)}
                assert {one.row for one in t.of(m.LaneRetired)} == listed
                assert all(t.table.row(row).snapshot().in_flight == 0 for row in listed)
            finally:
                source.held = False
            await until(lambda: source.closes)
            await turns()

    run(main())


def test_a_provider_that_leaves_slowly_has_all_the_time_that_is_left() -> None:
    async def main() -> None:
        outside = Outside()
        leaving, left = asyncio.Event(), asyncio.Event()

        async def slowly() -> None:
            leaving.set()
            await left.wait()
            outside.closes += 1

        outside.close = slowly  # type: ignore[method-assign]
        loop, ahead = asyncio.get_running_loop(), 0.0
        now = loop.time
        loop.time = lambda: now() + ahead  # type: ignore[method-assign]
        async with there(outside, close_timeout=40.0) as t:
            t.connect()
            await t.joined()
            t.link.send(m.Leave())
            await until(leaving.is_set)
            ahead = 35.0
            await turns()
            assert not t.session.done.is_set()
            left.set()
            await until(t.session.done.is_set)
            assert outside.closes == 1

    run(main())


def test_a_connection_that_is_lost_as_we_leave_is_not_waited_for() -> None:
    """The wait would keep all of the session, for as long as the deadline says."""

    class Losing(Outside):
        async def close(self) -> None:
            assert self.sink is not None
            self.sink.event(Event(kind=EventKind.CONNECTION_LOST))
            self.closes += 1

    async def main() -> None:
        async with there(Losing()) as t:
            t.connect()
            await t.joined()
            t.link.send(m.Leave())
            await until(t.session.done.is_set)
            assert t.outside.closes == 1
            assert t.session._membership._deadline is None

    run(main())


def test_a_provider_that_is_in_the_room_only_after_we_left_keeps_nothing_going(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Late(Outside):
        async def connect(self, sink: Any, options: SessionOptions) -> Any:
            self.sink = sink
            while not self.closes:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            return Joined(room="room", identity="us")

    async def main() -> None:
        outside = Late()
        async with there(outside, close_timeout=0.1) as t:
            t.connect()
            await until(lambda: outside.sink)
            t.link.send(m.Leave())
            await until(t.session.done.is_set)
            await until(lambda: not t.session._tasks)

    run(main())
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


def test_a_track_that_comes_while_we_leave_is_nobodys() -> None:
    """Whatever the provider still says as it is closed: its readers are closed before."""

    class Talking(Outside):
        async def close(self) -> None:
            assert self.sink is not None
            for opened in (self.sink.open_track, self.sink.open_patient_track):
                sink = opened(track(f"T{self.closes}"), ANN)
                hear(sink, 1)
                sink.muted(True)
                sink.close("closed")
            self.closes += 1

    async def main() -> None:
        async with there(Talking()) as t:
            t.connect()
            await t.joined()
            t.link.send(m.Leave())
            await until(t.session.done.is_set)
            assert t.outside.closes == 1
            assert t.of(m.LaneListed, m.LaneOpened) == []

    run(main())


def test_what_is_opened_while_we_leave_is_nobodys() -> None:
    """By the application, by a worker, and a worker that has just come."""

    async def main() -> None:
        outside = Outside()
        leaving, left = asyncio.Event(), asyncio.Event()

        async def slowly() -> None:
            leaving.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await left.wait()

        source = Stuck()
        outside.source = source
        outside.close = slowly  # type: ignore[method-assign]
        async with there(outside, close_timeout=40.0) as t:
            t.connect(readers=2)
            worker = t.attach(0)
            await t.joined()
            worker.open(5, row=ROWS + 5).send_nowait(sound(1), 5)
            await until(lambda: source.values)
            t.link.send(m.Leave())
            await until(lambda: t.session._closing)
            await turns()
            assert not t.sink.wants(MIC, ANN), "who publishes it need not send it"
            for opened in (t.sink.open_track, t.sink.open_patient_track):
                assert isinstance(opened(MIC, ANN), NullTrack)
            worker.open(6, "late", row=ROWS + 6).send_nowait(sound(1), 5)
            await turns()
            source.held = False
            await until(leaving.is_set)
            t.open(7, "later", row=ROWS + 7).send_nowait(sound(1), 5)
            newcomer = t.attach(1)
            await turns()
            assert {one.track for one in t.of(m.LaneListed)} == {"voice"}
            with pytest.raises(ClosedError):
                newcomer.link.receive_nowait()
            left.set()
            await until(t.session.done.is_set)
            assert len(outside.sources) == 1

    run(main())


def test_leaving_counts_what_was_not_taken_and_tells_it_before_the_link_ends() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            hear(t.sink.open_track(MIC, ANN), 1)
            hear(t.sink.open_patient_track(track("T7"), ANN), 1)
            t.sink.data(DataFrame(b"1", participant="ann"))
            t.open(5, row=ROWS + 5).send_nowait(sound(1), 5)
            t.outside.source.free = False
            await until(lambda: t.of(m.PlayoutReady))
            t.link.send(m.Leave())
            await until(t.session.done.is_set)
            assert t.outside.closes == 1
            listed = {one.row for one in t.of(m.LaneListed)}
            assert len(listed) == 4
            assert {one.row for one in t.of(m.LaneRetired)} == listed
            for index in listed:
                counts = t.table.row(index).snapshot()
                assert (counts.sent, counts.in_flight) == (1, 0)
            t.sink.ended("after we left")
            assert t.of(m.Ended) == []

    run(main())


def test_a_worker_that_goes_as_the_session_leaves_is_buried_first() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(readers=1)
            worker = t.attach(0)
            await t.joined()
            hear(t.sink.open_track(MIC, ANN), 1)
            (opened,) = await until(lambda: worker.of(m.LaneOpened))
            worker.link.close()
            t.link.send(m.Leave())
            await until(t.session.done.is_set)
            assert m.LaneRetired(row=opened.row) in t.of(m.LaneRetired)
            assert t.table.row(opened.row).snapshot().lost == 1

    run(main())
