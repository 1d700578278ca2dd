"""The tables of supervision: every pair is named, and the drawings in the docs are theirs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from docs_kit import ROOT
from ringroom.processes.supervision.tables import (
    CHILD,
    PLACE,
    Action,
    ChildHappening,
    ChildState,
    Ignored,
    PlaceHappening,
    PlaceState,
    draw,
)

TABLES: list[Any] = [(CHILD, ChildState, ChildHappening), (PLACE, PlaceState, PlaceHappening)]


@pytest.mark.parametrize(("table", "states", "happenings"), TABLES)
def test_every_happening_in_every_state_is_named(table: Any, states: Any, happenings: Any) -> None:
    assert set(table) == set(states)
    for state in states:
        assert set(table[state]) == set(happenings), state
        for cell in table[state].values():
            if isinstance(cell, Ignored):
                assert cell.why
            else:
                assert cell[0] in states
                assert set(cell[1]) <= set(Action)


@pytest.mark.parametrize(("table", "states", "happenings"), TABLES)
def test_every_state_is_reached_and_left(table: Any, states: Any, happenings: Any) -> None:
    reached = {next(iter(table))}
    for _ in states:
        cells = [cell for state in reached for cell in table[state].values()]
        reached |= {cell[0] for cell in cells if not isinstance(cell, Ignored)}
    assert reached == set(states)
    final = [
        state for state in states if all(isinstance(c, Ignored) for c in table[state].values())
    ]
    assert len(final) == 1


def test_whoever_exits_is_buried_and_nothing_else_is() -> None:
    for state, row in CHILD.items():
        if state is not ChildState.GONE:
            assert row[ChildHappening.EXITED] == (ChildState.GONE, (Action.BURY,))
        others = [cell for what, cell in row.items() if what is not ChildHappening.EXITED]
        assert not any(Action.BURY in c[1] for c in others if not isinstance(c, Ignored))


@pytest.mark.parametrize(("name", "table"), [("child", CHILD), ("place", PLACE)])
def test_the_drawing_in_the_docs_is_the_tables(name: str, table: Any) -> None:
    text = (ROOT / "docs/design.md").read_text()
    drawn = re.search(rf"<!-- drawn: {name} -->\n```mermaid\n(.*?)\n```", text, re.DOTALL)
    assert drawn is not None
    assert drawn[1] == draw(table), "run scripts/draw-supervision"
