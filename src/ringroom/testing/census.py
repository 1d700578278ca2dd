"""Everything that a process holds, counted, so that two counts can be compared.

Python objects are found through the garbage collector: instances by their class, and containers
with their length. What fake rooms remember (they keep all that was said and sent, for the test to
look at) is left out, and so are pytest's records and the statistics that a transport keeps of every
track.

Invariant: nothing here is kept alive by having been counted; of an object only its id is noted.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import CellType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from ringroom.providers.fake import rooms
from ringroom.testing.belongings import kinds

__all__ = [
    "Census",
    "found_by_id",
    "held_by",
    "is_of_the_library",
    "left_out",
    "one_of",
    "whereabouts",
]

# The base class's own length: a subclass's may be anything.
_LENGTHS: dict[type[Any], Callable[[Any], int]] = {
    list: list.__len__,
    dict: dict.__len__,
    set: set.__len__,
    deque: lambda held: 0 if held.maxlen is not None else deque.__len__(held),  # else it is bounded
    bytearray: bytearray.__len__,
}
# Not followed on the way from a room to what it remembers: from these everything can be reached.
_EVERYBODYS = (ModuleType, type, FunctionType, CodeType, FrameType)
_LEFT_OUT = (
    "_pytest.",
    "pluggy.",
    "ringroom.sessions.accounts.",
    "ringroom.lanes.statistics.",
    "ringroom.testing.census.",
    "ringroom.testing.leaks.",
)
_CHUNK = 10_000
_DEPTH, _WIDTH = 5, 20
# The frames of what is suspended: a coroutine, a generator, an asynchronous generator.
_FRAMES = ("cr_frame", "gi_frame", "ag_frame")


@dataclass(frozen=True, kw_only=True)
class Census:
    """One count. ``sizes`` has the length of each container by its id.

    Its fields are plain dicts, a class that is not counted: the next count does not find them.
    """

    kinds: dict[str, int]
    """Children, descriptors, threads."""
    classes: dict[str, int]
    sizes: dict[int, int]

    @classmethod
    def taken(cls) -> Census:
        """The count of this process, now."""
        gc.unfreeze()  # a worker keeps what it had at its start out of the collector's sight
        gc.collect()
        remembered = _remembered()
        classes: dict[type[Any], int] = {}
        sizes: dict[int, int] = {}
        measures: dict[type[Any], Callable[[Any], int] | None] = {}
        for thing in _everything():
            if id(thing) in remembered:
                continue
            kind = type(thing)
            classes[kind] = classes.get(kind, 0) + 1
            if kind not in measures:
                measures[kind] = _measure(kind)
            if (measure := measures[kind]) is not None:
                sizes[id(thing)] = measure(thing)
        named: dict[str, int] = {}
        for kind, count in classes.items():
            if kind.__module__ != "builtins":
                name = _class_name(kind)
                named[name] = named.get(name, 0) + count
        return cls(kinds=dict(kinds()), classes=named, sizes=sizes)

    def growth_since(self, before: Census, least: int) -> Iterator[tuple[str, int, int]]:
        """What grew by ``least`` or more, in words, with its number before and now."""
        for mine, others in ((self.kinds, before.kinds), (self.classes, before.classes)):
            for name, now in mine.items():
                was = others.get(name, 0)
                if now - was >= least and not name.startswith(_LEFT_OUT):
                    yield name, was, now

    def containers_grown_since(self, before: Census, least: int) -> set[int]:
        """The ids of the containers that grew by ``least`` or more."""
        return {
            key
            for key, now in self.sizes.items()
            if key in before.sizes and now - before.sizes[key] >= least
        }


def found_by_id(wanted: set[int]) -> list[Any]:
    """The things that are there under those ids."""
    return [thing for thing in _everything() if id(thing) in wanted] if wanted else []


def one_of(class_name: str) -> Any:
    """The youngest instance of the class, None if there is none."""
    found = None
    for thing in gc.get_objects():
        if type(thing).__module__ != "builtins" and _class_name(type(thing)) == class_name:
            found = thing
    return found


def whereabouts(thing: Any) -> str:
    """What is known of one of them: what holds it, or, for a task, what it runs."""
    if isinstance(thing, asyncio.Task):
        return f"one runs {getattr(thing.get_coro(), '__qualname__', '?')}"
    holder = held_by(thing)
    return f"one is held by {holder}" if holder else "nothing that has a name holds them"


def left_out(name: str) -> bool:
    """Whether what is held there is no leak."""
    return name.startswith(_LEFT_OUT)


def is_of_the_library(name: str) -> bool:
    """Whether it is a class or place of the standard library; a task is its maker's business."""
    return name.split(".")[0] in sys.stdlib_module_names and not name.startswith("_asyncio.Task")


def held_by(thing: Any) -> str:
    """Where it is held: ``my_app.Assistant.sessions``, or, in a variable of a function that runs,
    ``my_app.main.sessions``; empty if nothing with a name holds it."""
    seen = {id(thing)}
    level: list[tuple[Any, str]] = [(thing, "")]
    for _ in range(_DEPTH):
        above: list[tuple[Any, str]] = []
        for held, tail in level:
            if name := _variable(held):
                return name + tail
            for holder in gc.get_referrers(held):
                if id(holder) in seen or isinstance(holder, FrameType) or holder is level:
                    continue
                if name := _place(holder, held):
                    return name + tail
                seen.add(id(holder))
                above.append((holder, tail if isinstance(holder, CellType) else f"[...]{tail}"))
        level = above[:_WIDTH]
    return ""


def _variable(held: Any) -> str:
    """The name of the variable, in a function that runs or waits on any thread, that has it."""
    for frame in [*sys._current_frames().values()]:
        here: FrameType | None = frame
        while here is not None:
            if here.f_globals is not globals() and (name := _local(here, held)):
                return name
            here = here.f_back
    for holder in gc.get_referrers(held):
        frames = (getattr(holder, name, None) for name in _FRAMES)
        waiting = next(filter(None, frames), None)
        if isinstance(waiting, FrameType) and (name := _local(waiting, held)):
            return name
    return ""


def _local(frame: FrameType, held: Any) -> str:
    module = frame.f_globals.get("__name__", "")
    # The search for leaks holds everything itself.
    if frame.f_locals is frame.f_globals or module == "ringroom.testing.leaks":
        return ""
    key = _key(frame.f_locals, held.cell_contents if isinstance(held, CellType) else held)
    return f"{module}.{frame.f_code.co_qualname}.{key}" if key else ""


def _place(holder: Any, held: Any) -> str:
    """The name under which that holder has it, if it is one that people have a name for."""
    if isinstance(holder, dict):
        if (module := sys.modules.get(holder.get("__name__", ""))) and vars(module) is holder:
            return f"{module.__name__}.{_key(holder, held)}"
        for owner in gc.get_referrers(holder):
            if getattr(type(owner), "__dictoffset__", 0) and _attributes(owner) is holder:
                return f"{_owner_name(owner)}.{_key(holder, held)}"
        return ""
    attributes = _attributes(holder)
    key = _key(attributes, held) if attributes is not None else ""
    if not key:
        key = next((slot for slot in _slots(type(holder)) if _slot(holder, slot) is held), "")
    return f"{_owner_name(holder)}.{key}" if key else ""


def _attributes(owner: Any) -> dict[str, Any] | None:
    try:
        found = object.__getattribute__(owner, "__dict__")
    except AttributeError:
        return None
    return found if isinstance(found, dict) else None


def _key(attributes: dict[str, Any], held: Any) -> str:
    return next((str(key) for key, value in [*attributes.items()] if value is held), "")


def _slots(kind: type[Any]) -> Iterator[str]:
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots


def _slot(owner: Any, name: str) -> Any:
    try:
        return object.__getattribute__(owner, name)
    except AttributeError:
        return None


def _owner_name(owner: Any) -> str:
    return _class_name(owner if isinstance(owner, type) else type(owner))


def _class_name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _measure(kind: type[Any]) -> Callable[[Any], int] | None:
    """What gives the length of such a container; None for what is none."""
    return next((length for base, length in _LENGTHS.items() if issubclass(kind, base)), None)


def _everything() -> Iterator[Any]:
    """All that the collector tracks, and the containers that it does not: those of plain values."""
    tracked = gc.get_objects()
    yield from tracked
    # What a module has is in its dict. To ask itself may free what is free already, in `_asyncio`
    # of Python 3.12 before 3.12.6 (python/cpython#122695): the next collection goes on for ever.
    tracked = [thing for thing in tracked if not issubclass(type(thing), ModuleType)]
    seen: set[int] = set()
    for start in range(0, len(tracked), _CHUNK):
        for thing in gc.get_referents(*tracked[start : start + _CHUNK]):
            plain = type(thing) is dict or type(thing) is bytearray
            if plain and id(thing) not in seen and not gc.is_tracked(thing):
                seen.add(id(thing))
                yield thing


def _remembered() -> set[int]:
    """The ids of all that the open fake rooms of this process hold."""
    seen: set[int] = set()
    waiting: list[Any] = rooms.opened()
    while waiting:
        fresh = [thing for thing in _unseen(waiting, seen) if not isinstance(thing, _EVERYBODYS)]
        waiting = gc.get_referents(*fresh)
    return seen


def _unseen(things: Iterable[Any], seen: set[int]) -> Iterator[Any]:
    for thing in things:
        if id(thing) not in seen:
            seen.add(id(thing))
            yield thing
