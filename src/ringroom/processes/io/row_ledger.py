"""The rows of statistics of one session, as the I/O role keeps them. Free of I/O.

A row is acquired here, for a lane that we write, or lent by the writer of a lane to us. It is
listed with the application when its lane begins to count, and retired when the counts are final.
Once the application has read them, the row is back with its owner, and may serve another lane.

Law: nothing here touches a row after `retire`. Lent rows are known by the writer's place and not by
its process, so that the writer which follows a dead one gets them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ringroom import messages as m
from ringroom.errors import ClosedError
from ringroom.events import Kind
from ringroom.lanes.statistics import Row, RowPool, StatisticsTable


class Lender(Protocol):
    """A writer with rows of its own: an `Attachment`."""

    place: int

    def send(self, message: m.Message) -> None: ...


class RowLedger:
    """See the module's docstring. ``tell`` reaches the application."""

    def __init__(self, tell: Callable[[m.Message], None]) -> None:
        self._tell = tell
        self._table: StatisticsTable | None = None
        self._pool: RowPool | None = None
        self._lenders: dict[int, Lender] = {}

    def open(self, table: StatisticsTable, first: int, count: int) -> None:
        """Takes the table over, in which those rows are ours to hand out."""
        self._table = table
        self._pool = RowPool(table, first, count)

    def acquire(self) -> Row:
        """A row of ours. Raises `StartupError` when each is taken."""
        assert self._pool is not None
        return self._pool.acquire()

    def release(self, row: Row) -> None:
        """Give back a row of ours that was not listed."""
        assert self._pool is not None
        self._pool.release(row.index)

    def begin(
        self, row: Row, kind: Kind, place: int, *, track: str = "", participant: str = ""
    ) -> None:
        """A lane of ours begins to count in that row; ``place`` is its reader's."""
        self._tell(
            m.LaneListed(
                row=row.index,
                direction="in",
                track=track,
                kind=kind.value,
                participant=participant,
                place=place,
            )
        )

    def lend(self, opened: m.PlayoutOpen, lender: Lender) -> Row:
        """The row of the lender's lane, which begins to count. Raises `StartupError` for a number
        that is none, `ClosedError` where there is no table."""
        if self._table is None:
            raise ClosedError("there is no statistics table")
        row = self._table.row(opened.row)
        self._lenders[opened.row] = lender
        self._tell(opened.listed(lender.place))
        return row

    def lent_by(self, lender: Lender) -> list[int]:
        """The rows of the lender that still count."""
        return [index for index, one in self._lenders.items() if one is lender]

    def retire(self, index: int) -> None:
        """The row's counts are final."""
        self._tell(m.LaneRetired(row=index))

    def read(self, index: int) -> None:
        """The application has read the counts of a retired row."""
        lender = self._lenders.pop(index, None)
        if lender is not None:
            lender.send(m.RowFree(row=index))
        else:
            assert self._pool is not None
            self._pool.release(index)

    def close(self) -> None:
        """Idempotent."""
        if self._table is not None:
            self._table.close()
