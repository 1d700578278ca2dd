"""What goes out in a worker's name, whichever thread sends it."""

from __future__ import annotations

import pytest
from worker_kit import LONG, Bench, sound

from app_kit import Call
from ringroom.errors import ClosedError
from ringroom.link import open_links
from ringroom.processes.worker.answering import Answering
from ringroom.profile import Profile


def test_before_there_is_a_room_nothing_can_be_sent() -> None:
    control, theirs = open_links()
    answering = Answering(theirs)
    with pytest.raises(ClosedError, match="set it in open"):
        answering.set_profile(Profile(name="early"))
    with pytest.raises(ClosedError, match="send from open"):
        answering.reply(sound(1), "speech")
    assert answering.place == -1
    answering.close()
    control.close()
    theirs.close()


def test_a_reply_from_another_thread_wakes_the_worker_to_send_the_rest(bench: Bench) -> None:
    assert bench.answering.seat is not None
    near = bench.answering.seat.session.link
    bench.work()
    bench.worker._wait(0)  # what the opening has left
    waiting = Call(bench.worker._wait, 60)
    with bench.answering.lock:
        near.send(LONG)
    bench.answering.reply(sound(1, 0.02, "x"), "speech")
    waiting.result()
