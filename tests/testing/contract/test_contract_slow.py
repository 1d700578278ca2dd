"""A slow machine breaks no promise: whatever it holds up, and for longer than the promise's own
times."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from wrong_kit import WrongCore, receiving

from ringroom import client
from ringroom.faces.connection import Connection
from ringroom.testing import contract
from ringroom.testing.contract.promise import pause

pytestmark = pytest.mark.once

BY_NAME = {promise.name: promise for promise in contract.PROMISES}
SLOW: dict[str, type[WrongCore]] = {}


def keeps(*names: str) -> Callable[[type[WrongCore]], type[WrongCore]]:
    """Says which promises are kept all the same."""

    def note(slow: type[WrongCore]) -> type[WrongCore]:
        SLOW.update(dict.fromkeys(names, slow))
        return slow

    return note


@keeps("played_never_runs_ahead")
class LooksLate(WrongCore):
    class Transport(client.Transport):
        def played(self, track: Any = None) -> float:
            pause(0.3)
            return super().played(track)


@keeps("a_wait_for_playout_keeps_its_time_limit")
class WaitsLate(WrongCore):
    class Transport(client.Transport):
        def wait_playout(self, *given: Any, **options: Any) -> None:
            pause(1.2)
            super().wait_playout(*given, **options)


@keeps("flush_tells_what_it_threw_away")
class FlushesLate(WrongCore):
    class Transport(client.Transport):
        def flush(self, *given: Any, **options: Any) -> float:
            pause(0.9)
            return super().flush(*given, **options)


@keeps("speech_waits_for_the_room")
class ComesBackLate(WrongCore):
    class Transport(client.Transport):
        def send(self, *given: Any, **options: Any) -> None:
            try:
                super().send(*given, **options)
            finally:
                pause(1.0)


@keeps("a_full_track_would_block")
class SendsSlowly(WrongCore):
    class Transport(client.Transport):
        def send_nowait(self, *given: Any, **options: Any) -> None:
            pause(0.1)
            super().send_nowait(*given, **options)


@keeps("a_transport_that_failed_to_open_can_be_tried_again")
class OpensLateAtFirst(WrongCore):
    """Something is imported."""

    @classmethod
    def subject(cls) -> contract.Subject:
        opened = itertools.count()

        def opening(provider: Any, *, io: Any = "thread", **options: Any) -> client.Transport:
            if not next(opened):
                pause(0.6)
            return client.Transport(Connection(provider, options, io)).open()

        return replace(super().subject(), transport=opening)


class Once(WrongCore):
    """Does something instead of the reader's n-th look for a frame, or before it."""

    looks: ClassVar[Any]

    @classmethod
    def subject(cls) -> contract.Subject:
        cls.looks = itertools.count(1)
        return super().subject()


@keeps("no_frame_is_older_than_max_age")
class ReadsTheThirdLate(Once):
    @staticmethod
    def change(receiver: Any) -> Any:
        if next(ReadsTheThirdLate.looks) == 3:
            pause(0.2)
        return next(receiver)

    Transport = receiving(change)


@keeps("after_a_stall_the_newest_picture_comes")
class ReadsTheFirstLate(Once):
    @staticmethod
    def change(receiver: Any) -> Any:
        if next(ReadsTheFirstLate.looks) == 1:
            pause(0.2)
        return next(receiver)

    Transport = receiving(change)


@keeps("a_timeout_does_not_end_the_loop")
class ReadsTooEarly(Once):
    """The frame counts already, and cannot be read yet."""

    @staticmethod
    def change(receiver: Any) -> Any:
        if next(ReadsTooEarly.looks) == 2:
            raise TimeoutError
        return next(receiver)

    Transport = receiving(change)


@pytest.mark.parametrize("name", SLOW)
def test_what_is_slow_breaks_no_promise(name: str) -> None:
    slow = replace(SLOW[name].subject(), capabilities=contract.FAKE)
    contract.Case(subject=slow, promise=BY_NAME[name])()
