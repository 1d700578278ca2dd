"""Tracks that play out, and what goes on behind them."""

from __future__ import annotations

from io_kit import Outside, Source, run, sound, turns, until
from rooms_kit import ROWS, End, Played, There, there

from ringroom import messages as m
from ringroom.lanes.statistics import RowPool
from ringroom.sessions.accounts import Accounts


def test_a_track_that_only_plays_out_ends_with_the_room() -> None:
    """There is nothing of it to publish in the next one."""

    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            source = t.outside.source
            t.open(1).send_nowait(sound(1), 5)
            await until(lambda: source.values == [1])
            t.link.send(m.PlayoutClose(lane=1))
            t.link.send(m.Drain(request=1, lane=1, sequence=1))
            looks = source.looks
            await until(lambda: source.looks > looks)
            following = Outside()
            Played.ready.append(following)
            t.sink.ended("connection lost", error="the network is gone")
            await until(lambda: t.of(m.Reply))
            assert source.closes == 1
            await until(lambda: following.sink)
            await turns()
            assert following.sources == []

    run(main())


def test_a_track_of_the_same_name_begins_when_the_one_before_has_played_out() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            source = t.outside.source
            t.open(1).send_nowait(sound(1), 5)
            await until(lambda: source.values == [1])
            t.link.send(m.PlayoutClose(lane=1))
            t.open(2).send_nowait(sound(2), 5)
            following = t.outside.source = Source()
            looks = source.looks
            await until(lambda: source.looks > looks + 2)
            assert t.of(m.PlayoutReady) == [m.PlayoutReady(lane=1)]
            assert following.values == []
            source.waiting = 0.0
            await until(lambda: following.values == [2])
            assert (source.closes, following.closes) == (1, 0)
            assert t.of(m.PlayoutReady)[1:] == [m.PlayoutReady(lane=2)]
            # It owns the name as the first one did.
            worker = t.attach(0)
            worker.open(1, row=160)
            await until(lambda: worker.of(m.PlayoutFailed))

    run(main())


def test_of_several_tracks_of_one_name_each_waits_for_the_last_before_it() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            sources = [t.outside.source, Source(), Source()]
            for number in (1, 2, 3):
                t.open(number).send_nowait(sound(number), 5)
                t.link.send(m.PlayoutClose(lane=number))
            await until(lambda: sources[0].values == [1])
            t.outside.source = sources[1]
            sources[0].waiting = 0.0
            await until(lambda: sources[1].values == [2])
            t.outside.source = sources[2]
            await turns()
            assert t.of(m.PlayoutReady) == [m.PlayoutReady(lane=1), m.PlayoutReady(lane=2)]
            sources[1].waiting = 0.0
            await until(lambda: sources[2].values == [3])
            sources[2].waiting = 0.0
            await until(lambda: sources[2].closes)

    run(main())


def test_a_larger_lane_goes_on_with_its_track_and_both_rows_come_back() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            t.open(1).send_nowait(sound(1), 5)
            await until(lambda: t.of(m.PlayoutReady))
            t.open(2).send_nowait(sound(2), 5)
            await until(lambda: t.of(m.PlayoutReady)[1:] == [m.PlayoutReady(lane=2)])
            await until(lambda: t.outside.source.values == [1, 2])
            await until(lambda: t.of(m.LaneRetired) == [m.LaneRetired(row=ROWS + 1)])
            t.outside.source.waiting = 0.0
            t.link.send(m.Drain(request=7, lane=2, sequence=1))
            await until(lambda: t.of(m.Reply) == [m.Reply(request=7, value=0.0)])
            assert len(t.outside.sources) == 1
            t.link.send(m.PlayoutClose(lane=2))
            rows = [m.LaneRetired(row=ROWS + lane) for lane in (1, 2)]
            await until(lambda: sorted(t.of(m.LaneRetired), key=lambda one: one.row) == rows)

    run(main())


def test_a_track_that_outlives_its_writers_holds_one_row_and_its_counts_go_on() -> None:
    """Each death once cost a row, until the worker could open no track."""

    async def life(t: There, accounts: Accounts, number: int, worker: End) -> End:
        """Of a worker that says one thing and dies; the next one."""
        (attached,) = await until(lambda: worker.of(m.Attached))
        assert len(attached.rows) == min(number, 1)
        row = RowPool(t.table, 150, 2, taken=frozenset(attached.rows)).acquire()
        worker.open(1, "ann/mic", row=row.index).send_nowait(sound(number), 5)
        await until(lambda: t.outside.source.values == [*range(number + 1)])
        keep(t, accounts)
        await until(lambda: worker.of(m.RowFree) == [m.RowFree(row=one) for one in attached.rows])
        totals = [(one.counts.sent, one.counts.done) for one in accounts.statistics()]
        assert totals == [(number + 1, number + 1)]
        worker.link.close()
        return t.attach(0)

    async def main() -> None:
        async with there() as t:
            worker = t.attach(0)
            t.connect(1)
            await t.joined()
            accounts = Accounts(t.table)
            for number in range(5):
                worker = await life(t, accounts, number, worker)
            assert len(t.outside.sources) == 1, "the track has gone on"

    run(main())


def keep(t: There, accounts: Accounts) -> None:
    """What the application does with all that it has been told of rows."""
    for message in t.of(m.LaneListed, m.LaneRetired):
        if isinstance(message, m.LaneListed):
            accounts.listed(message)
        elif accounts.retire(message.row):
            t.link.send(m.RowFree(row=message.row))
    t.messages.clear()
