"""Who sends what: each track has one writer, whoever dies or is refused."""

from __future__ import annotations

import os
from typing import Any

import pytest
from io_kit import ANN, Source, no_more_watched, run, sound, turns, until
from rooms_kit import ROWS, texts, there, track

from ringroom import messages as m
from ringroom.errors import RoomError
from ringroom.events import EventKind, Kind, TrackInfo
from ringroom.frames import DataFrame
from ringroom.lanes.statistics import SLOTS


@pytest.mark.parametrize(
    ("others", "done", "ends"),
    [
        ([], 1, True),
        ([track("T2", "bob")], 2, True),
        ([track("T2")], 1, False),
        ([track("T2")], 0, False),
    ],
    ids=["alone", "another ends after it", "one more is answered", "nothing has ended"],
)
def test_a_reply_that_a_dead_worker_was_about_to_end(
    others: list[TrackInfo], done: int, ends: bool
) -> None:
    """Nobody else knows of the tracks that it answered."""

    async def main() -> None:
        async with there() as t:
            worker = t.attach(0)
            t.connect(1)
            await t.joined()
            sinks = [t.sink.open_track(one, ANN) for one in (track("T1"), *others)]
            worker.open(1, "ann/mic")
            await until(lambda: worker.of(m.PlayoutReady))
            lanes = [one.lane for one in worker.of(m.LaneOpened) if one.kind == "audio"]
            for sink, lane in list(zip(sinks, lanes, strict=True))[:done]:
                sink.close()
                worker.link.send(m.LaneDone(lane=lane))
            worker.link.close()
            heir = t.attach(0)
            await until(lambda: heir.of(m.Attached))
            if ends:
                await until(lambda: t.outside.source.closes)
                return
            assert heir.of(m.Attached)[0].tracks == ["ann/mic"]
            heir.link.send(m.PlayoutClose(lane=1))  # a number of its own, for no track yet
            heir.link.send(m.Flush(request=1, lane=1, sequence=0))
            await until(lambda: heir.of(m.Reply))
            await turns()
            assert not t.outside.source.closes
            heir.link.send(m.TrackClose(name="ann/mic"))
            await until(lambda: t.outside.source.closes)

    run(main())


def test_a_dead_workers_reply_ends_though_its_first_word_came_last() -> None:
    """After the worker was through with what it answers, in the `close` of its processor."""

    async def main() -> None:
        async with there() as t:
            worker = t.attach(0)
            t.connect(1)
            await t.joined()
            sink = t.sink.open_track(track("T1"), ANN)
            (lane,) = await until(lambda: worker.of(m.LaneOpened))
            sink.close()
            worker.link.send(m.LaneDone(lane=lane.lane))
            worker.open(1, "ann/mic")
            await until(lambda: worker.of(m.PlayoutReady))
            worker.link.close()
            await until(lambda: t.outside.source.closes)

    run(main())


def test_a_track_has_one_writer_until_it_has_ended() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(readers=1)
            worker = t.attach(0)
            await t.joined()
            t.open(1)
            await until(lambda: t.of(m.PlayoutReady))
            worker.open(1, row=150)
            (failed,) = await until(lambda: worker.of(m.PlayoutFailed))
            assert failed.error["type"] == "BusyError"
            # The row of the lane that was refused is given back through the application.
            await until(lambda: m.LaneRetired(row=150) in t.of(m.LaneRetired))
            t.link.send(m.RowFree(row=150))
            await until(lambda: worker.of(m.RowFree) == [m.RowFree(row=150)])
            t.link.send(m.PlayoutClose(lane=1))
            await until(lambda: t.outside.source.closes)
            await until(lambda: m.LaneRetired(row=ROWS + 1) in t.of(m.LaneRetired))
            worker.open(2, row=150)
            await until(lambda: worker.of(m.PlayoutReady) == [m.PlayoutReady(lane=2)])
            t.open(3)
            await until(lambda: t.of(m.PlayoutFailed))

    run(main())


def test_a_track_that_cannot_be_opened_is_refused_and_its_row_comes_back() -> None:
    """Who sends on it is told; it once waited for ever."""

    async def main() -> None:
        async with there() as t:
            t.connect(readers=1)
            worker = t.attach(0)
            await t.joined()
            with open(os.devnull, "rb") as no_lane:
                descriptors = (no_lane.fileno(),) * len(t.open(9, "other").descriptors().flat())
                worker.open(1, row=150, publish={"mode": "loud"})
                worker.open(2, row=151, publish={"volume": 11})
                worker.open(3, row=152, descriptors=descriptors)
                await until(lambda: worker.of(m.PlayoutFailed)[2:])
            failed = worker.of(m.PlayoutFailed)
            assert [one.lane for one in failed] == [1, 2, 3]
            assert [one.error["type"] for one in failed[:2]] == ["FrameError"] * 2
            assert "mode is 'loud'" in failed[0].error["text"]
            rows = [m.LaneRetired(row=row) for row in (150, 151, 152)]
            await until(lambda: [one for one in t.of(m.LaneRetired) if one in rows] == rows)
            t.link.send(m.RowFree(row=151))
            await until(lambda: worker.of(m.RowFree) == [m.RowFree(row=151)])
            worker.open(4, row=153)
            await until(lambda: worker.of(m.PlayoutReady) == [m.PlayoutReady(lane=4)])

    run(main())


@pytest.mark.parametrize(
    ("wrong", "count"),
    [
        ({}, 2),
        ({"publish": {"mode": "loud"}}, 3),
        ({"kind": "smell"}, 3),
        ({"row": SLOTS}, 3),
    ],
    ids=["too few descriptors", "options", "kind", "row"],
)
def test_a_lane_that_is_refused_leaves_no_descriptors(wrong: dict[str, Any], count: int) -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(readers=1)
            worker = t.attach(0)
            await t.joined()
            reading, writing = os.pipe()
            os.set_blocking(reading, False)
            opened = m.PlayoutOpen(
                lane=1, row=150, name="voice", kind="audio", live=False, publish={}
            )
            worker.link.send(opened.replace(**wrong), (writing,) * count)
            os.close(writing)
            (failed,) = await until(lambda: worker.of(m.PlayoutFailed))
            assert failed.lane == 1
            assert all(Kind(one.kind) for one in t.of(m.LaneListed)), "the application counts it"
            assert os.read(reading, 1) == b"", "nobody holds the other end"
            os.close(reading)
            worker.open(2)
            await until(lambda: worker.of(m.PlayoutReady) == [m.PlayoutReady(lane=2)])

    run(main())


@pytest.mark.parametrize(("name", "kind"), [("voice", "audio"), ("", "data")])
def test_a_lane_that_cannot_be_watched_is_refused(name: str, kind: str) -> None:
    """Who sends on it once waited for ever."""

    async def main() -> None:
        async with there() as t:
            t.connect(readers=1)
            worker = t.attach(0)
            await t.joined()
            with no_more_watched():
                t.open(1, name, kind=kind)
                (failed,) = await until(lambda: t.of(m.PlayoutFailed))
            assert (failed.lane, failed.error["type"]) == (1, "StartupError")
            assert "max_user_watches" in failed.error["text"]
            await until(lambda: t.of(m.LaneRetired) == [m.LaneRetired(row=ROWS + 1)])
            worker.open(2, name, row=150, kind=kind)  # nobody has the name
            await until(lambda: worker.of(m.PlayoutReady) == [m.PlayoutReady(lane=2)])
            with no_more_watched():
                worker.open(3, name, row=151, kind=kind)
                (failed,) = await until(lambda: worker.of(m.PlayoutFailed))
            assert failed.lane == 3
            await until(lambda: m.LaneRetired(row=151) in t.of(m.LaneRetired))
            if kind == "audio":  # the track goes on in its lane
                worker.writers[2].send_nowait(sound(1), 0)
                await until(lambda: t.outside.source.values == [1])

    run(main())


def test_messages_are_reliable_whatever_their_lane_says() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            t.open(1, "", kind="data", live=True).send_nowait(DataFrame(b"x"), 0)
            await until(lambda: t.outside.sent == [b"x"])

    run(main())


@pytest.mark.parametrize(("name", "kind"), [("voice", "audio"), ("", "data")])
def test_who_sends_garbage_is_told_and_the_next_lane_goes_on(name: str, kind: str) -> None:
    """Of messages nobody was told: they went into a lane that nobody read, until it was full."""

    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            writer = t.open(1, name, kind=kind)
            assert writer._push(b"\xff" * 40, b"")
            writer._publish(40)
            (failed,) = await until(lambda: t.of(m.PlayoutFailed))
            assert (failed.lane, failed.error["type"]) == (1, "WireError")
            await until(lambda: t.of(m.LaneRetired) == [m.LaneRetired(row=ROWS + 1)])
            what = EventKind.PUBLISH_FAILED if kind == "audio" else EventKind.DATA_FAILED
            await until(lambda: what in texts(t.items()))
            t.open(2, name, kind=kind)
            await until(lambda: m.PlayoutReady(lane=2) in t.of(m.PlayoutReady))

    run(main())


def test_messages_go_on_in_another_lane_once_their_first_is_closed() -> None:
    """As after Ctrl-C within the first send."""

    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            t.open(1, "", kind="data").send_nowait(DataFrame(b"x"), 0)
            t.link.send(m.PlayoutClose(lane=1))
            t.open(2, "", kind="data").send_nowait(DataFrame(b"y"), 0)
            await until(lambda: t.outside.sent == [b"x", b"y"])
            await until(lambda: t.of(m.LaneRetired) == [m.LaneRetired(row=ROWS + 1)])

    run(main())


def test_who_was_refused_cannot_give_the_track_free() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(readers=2)
            workers = [t.attach(place) for place in range(2)]
            await t.joined()
            t.open(1)
            await until(lambda: t.of(m.PlayoutReady))
            for worker in workers:
                worker.open(1, row=150 + workers.index(worker))
                await until(lambda worker=worker: worker.of(m.PlayoutFailed))
                worker.link.close()
            await turns(100)
            t.open(2, "voice")
            await until(lambda: t.of(m.PlayoutReady)[1:] == [m.PlayoutReady(lane=2)])

    run(main())


def test_who_comes_next_ends_the_track_that_nobody_has_ended() -> None:
    """Not the one before it of the same name, which ends already."""

    async def main() -> None:
        async with there() as t:
            worker = t.attach(0)
            t.connect(1)
            await t.joined()
            first = t.outside.source
            worker.open(1, "ann/mic").send_nowait(sound(1), 0)
            await until(lambda: first.values)
            worker.link.send(m.PlayoutClose(lane=1))
            following = t.outside.source = Source()
            worker.open(2, "ann/mic").send_nowait(sound(2), 0)
            await turns()
            worker.link.close()
            heir = t.attach(0)
            await until(lambda: heir.of(m.Attached))
            assert heir.of(m.Attached)[0].tracks == ["ann/mic"]
            heir.link.send(m.TrackClose(name="ann/mic"))
            await turns()
            first.waiting = 0.0
            await until(lambda: following.values == [2])
            following.waiting = 0.0
            await until(lambda: following.closes)
            assert first.closes == 1

    run(main())


def test_requests_for_a_track_that_is_not_there_are_answered() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            t.link.send(m.Drain(request=1, lane=9, sequence=0))
            t.link.send(m.Flush(request=2, lane=9, sequence=0))
            await until(lambda: len(t.of(m.Reply)) == 2)

    run(main())


def test_a_track_that_is_refused_is_told_and_gives_its_name_back() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            t.outside.refuses = RoomError("not here", reason="publish_refused")
            t.open(1)
            (failed,) = await until(lambda: t.of(m.PlayoutFailed))
            assert failed.error == {
                "type": "RoomError",
                "text": "not here",
                "reason": "publish_refused",
            }
            await until(lambda: EventKind.PUBLISH_FAILED in texts(t.items()))
            t.outside.refuses = None
            worker = t.attach(0)
            worker.open(1, row=150)
            await until(lambda: worker.of(m.PlayoutReady))

    run(main())
