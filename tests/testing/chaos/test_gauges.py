"""What a chaos run counts of a process's descriptors."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from ringroom.testing.chaos.gauges import Holdings

FAMILIES = [(socket.AF_INET, "127.0.0.1")]
if socket.has_dualstack_ipv6():  # not in every container
    FAMILIES.append((socket.AF_INET6, "::1"))


def held() -> int:
    return Holdings.of([os.getpid()]).descriptors


@pytest.mark.parametrize(("family", "host"), FAMILIES)
def test_a_listener_beside_each_socket_for_udp_is_not_counted(
    family: socket.AddressFamily, host: str
) -> None:
    before = held()
    with contextlib.ExitStack() as stack:

        def bound(kind: socket.SocketKind) -> socket.socket:
            made = stack.enter_context(socket.socket(family, kind))
            made.bind((host, 0))
            return made

        for _ in range(3):
            bound(socket.SOCK_DGRAM)
        assert held() == before + 3
        for _ in range(3):
            bound(socket.SOCK_STREAM).listen()
        assert held() == before + 3
        bound(socket.SOCK_STREAM).listen()
        assert held() == before + 4, "one more than there are for UDP"
        bound(socket.SOCK_STREAM)
        assert held() == before + 5, "one that does not listen"
    assert held() == before


def test_a_process_that_is_gone_holds_nothing() -> None:
    assert Holdings.of([2**22 + 1]) == Holdings()
