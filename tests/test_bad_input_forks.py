"""What is made before a fork is of no use after it, and the parent's goes on."""

from __future__ import annotations

import contextlib
import os
import warnings

import ringroom
from app_kit import sound
from ringroom.errors import ClosedError
from ringroom.testing import FakeRoom


def test_a_fork_does_not_take_a_transport_along(fake_room: FakeRoom) -> None:
    with ringroom.transport("fake", room=fake_room) as t:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads about
            child = os.fork()
        if not child:
            code = 1
            try:
                t.send(sound(0.01))
            except ClosedError as error:
                t.close()  # this once ended the parent's connection
                t._connection.close_host()
                code = 0 if "open one here" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        t.send(sound(0.01))
        t.wait_playout(timeout=10)


def test_what_was_made_before_a_fork_does_not_start_after_it() -> None:
    """It could not be closed there: what it holds belongs to the parent."""
    pool = ringroom.Pool(lambda frame: None, ringroom.Fake(room="r"), workers=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads about
        child = os.fork()
    if not child:
        code = 1
        try:
            with pool:
                pass
        except ClosedError as error:
            code = 0 if "this Pool was made in another process" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_does_not_end_the_standby(fake_room: FakeRoom) -> None:
    with contextlib.closing(ringroom.IOProcess()) as host:  # it does not run yet
        host.keep_standby("ringroom")
        standby = host.standby_pid
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            code = 1
            try:
                host.close()
                code = 0 if host.standby_pid == standby else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with ringroom.transport("fake", room=fake_room, io=host) as t:
            assert t.io_pid == standby, "it lives, and its turn has come"
