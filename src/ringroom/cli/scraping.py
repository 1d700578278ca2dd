"""`--metrics-port` of `ringroom run`: what the run counts, served to Prometheus."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

from ringroom.cli.view import says
from ringroom.errors import ConfigurationError, StartupError
from ringroom.metrics import Collector, Counted
from ringroom.option_checks import check_whole

__all__ = ["served"]

# Whoever can connect can read: other machines are let in on purpose only.
_ADDRESS = "127.0.0.1"


def served(asked: argparse.Namespace, counted: Counted) -> AbstractContextManager[None]:
    """Metrics are served while it is entered, if that is asked for. Raises `ConfigurationError`,
    and when it is entered `StartupError` where the port cannot be had."""
    if asked.metrics_port is not None:
        port = check_whole("--metrics-port", asked.metrics_port, 0, 65_535)
        return _serving(Collector({asked.processor: counted}), port, asked.metrics_address)
    if asked.metrics_address is not None:
        raise ConfigurationError("--metrics-address goes with --metrics-port")
    return contextlib.nullcontext()


@contextlib.contextmanager
def _serving(collector: Collector, port: int, address: str | None) -> Iterator[None]:
    from prometheus_client import CollectorRegistry, start_http_server

    address = address or _ADDRESS
    shown = f"[{address}]" if ":" in address else address
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(port, address, registry)
    except (OSError, UnicodeError) as error:
        why = (error.strerror or error) if isinstance(error, OSError) else "not a host's name"
        raise StartupError(
            f"metrics cannot be served at {shown}:{port}: {why}; choose another --metrics-port or "
            "--metrics-address"
        ) from None
    try:
        says(f"metrics at http://{shown}:{server.server_port}/metrics")
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
