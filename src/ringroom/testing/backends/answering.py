"""Whether a LiveKit server answers."""

from __future__ import annotations

import http.client
import socket
import ssl
from http.client import HTTPException
from urllib.parse import urlsplit

__all__ = ["ask", "is_lasting", "is_ready"]

ANSWER_SECONDS = 2.0  # for one `GET /`


def ask(url: str) -> None:
    """Returns once the server at ``url`` (ws, wss, http or https) has answered ``GET /`` with 200.
    Raises `OSError` or `HTTPException`, which say why it has not."""
    parts = urlsplit(url)
    secure = parts.scheme in ("wss", "https")
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/")
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise HTTPException(f"GET / is answered with status {status}")


def is_ready(url: str) -> bool:
    """Whether `ask` returns."""
    try:
        ask(url)
    except (OSError, HTTPException):
        return False
    return True


def is_lasting(error: OSError | HTTPException) -> bool:
    """Whether `ask` would raise the same error however often it is called."""
    unknown_host = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
    return unknown_host or isinstance(error, ssl.SSLCertVerificationError)
