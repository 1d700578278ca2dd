"""Where the command line gets its URL, token, key and secret: options, files, the environment.

The one place that reads environment variables. What is given as an option wins; a secret given as
an option works, with a warning, because every user of the machine can read it in the process list.
Token, key and secret are taken out of the environment: the processes that are started inherit it.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ringroom.errors import ConfigurationError
from ringroom.providers.livekit.tokens import Grants, mint

__all__ = ["joining", "minter", "room", "token", "url"]

# A key for HS256 is at least as long as its hash (RFC 7518).
SHORTEST_SECRET = 32


def joining(asked: argparse.Namespace) -> dict[str, Any]:
    """Which room, as whom, and what is heard there, as options of a transport or a pool. Raises
    `ConfigurationError` as `url` and `token` do."""
    who = ("participants", "tracks", "text_topics", "file_topics")
    what = ("dtmf", "active_speakers", "video_quality")
    form = ("sample_rate", "channels", "frame_ms", "max_age")
    return room(asked) | {name: getattr(asked, name) for name in (*who, *what, *form)}


def room(asked: argparse.Namespace) -> dict[str, Any]:
    """Which room, and as whom. Raises `ConfigurationError` as `url` and `token` do."""
    return {"url": url(asked), "token": token(asked), "room": asked.room}


def url(asked: argparse.Namespace) -> str:
    """The server's URL. Raises `ConfigurationError` when none is given."""
    named = str(asked.url or os.environ.get("LIVEKIT_URL", ""))
    if not named:
        raise ConfigurationError("livekit: URL is required; give --url, or set LIVEKIT_URL")
    return named


def token(asked: argparse.Namespace) -> str | Callable[[], str]:
    """The token, or a function that mints one.

    Raises `ConfigurationError` when there is neither, or something is given twice, or half.
    """
    if asked.token and asked.token_file:
        raise ConfigurationError("--token and --token-file: give one of them")
    found = _take_secrets()
    given = _secret(asked.token, "--token", asked.token_file) or ""
    has_keys = any((asked.key, asked.secret, asked.key_file, asked.secret_file))
    if given and has_keys:
        raise ConfigurationError("a token and a key or secret: give one or the other")
    if not given and not has_keys:
        given = found["LIVEKIT_TOKEN"]
    if given:
        if asked.identity:
            raise ConfigurationError(
                "--identity: the token (--token-file, --token or LIVEKIT_TOKEN) says who we are; "
                "leave one of them out"
            )
        return given
    if not has_keys and not found["LIVEKIT_API_KEY"]:
        raise ConfigurationError(
            "livekit: Token is required; give --token-file, or set LIVEKIT_TOKEN, or have one "
            "minted for --room with a key and secret (--key-file and --secret-file, or "
            "LIVEKIT_API_KEY and LIVEKIT_API_SECRET)"
        )
    if not asked.room:
        raise ConfigurationError("--room is required where a token is minted")
    return _minter(asked, asked.room, asked.identity or asked.default_identity, found)


def minter(asked: argparse.Namespace, room: str, identity: str) -> Callable[[], str]:
    """Mints a fresh token at each call. Raises `ConfigurationError` without key or secret."""
    return _minter(asked, room, identity, _take_secrets())


def _take_secrets() -> dict[str, str]:
    names = ("LIVEKIT_TOKEN", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
    return {name: os.environ.pop(name, "") for name in names}


def _minter(
    asked: argparse.Namespace, room: str, identity: str, found: dict[str, str]
) -> Callable[[], str]:
    key = _secret(asked.key, "", asked.key_file) or found["LIVEKIT_API_KEY"]
    secret = _secret(asked.secret, "--secret", asked.secret_file) or found["LIVEKIT_API_SECRET"]
    if not key:
        raise ConfigurationError("no API key: set LIVEKIT_API_KEY, or give --key or --key-file")
    if not secret:
        raise ConfigurationError("no API secret: set LIVEKIT_API_SECRET, or give --secret-file")
    name = getattr(asked, "name", "")
    # What is minted for a processor of ours stays with us: it may.
    may = getattr(asked, "set_profile", True)
    grants = Grants(
        ttl=getattr(asked, "ttl", 6 * 3600.0),
        can_update_own_metadata=may,
        kind=getattr(asked, "kind", "standard"),
    )

    def minted() -> str:
        return mint(key, secret, room=room, identity=identity, name=name, grants=grants)

    if len(secret.encode(errors="replace")) < SHORTEST_SECRET:
        _warn(f"the API secret is shorter than {SHORTEST_SECRET} bytes, so it can be guessed")
    # Said above; PyJWT says it with lines of its own source, and again for every token.
    warnings.filterwarnings("ignore", "The HMAC key is", module="jwt")
    minted()  # what is wrong with it shows before anything is started
    return minted


def _warn(text: str) -> None:
    if sys.stderr is not None:  # it was closed
        sys.stderr.write(f"ringroom: warning: {text}\n")


def _secret(given: str | None, option: str, file: Path | None) -> str | None:
    if given:
        if option:
            _warn(f"{option} shows in the process list; use a file or the environment")
        return given
    if file is None:
        return None
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeError) as error:
        # The decoder's message may quote what is in the file.
        why = error.strerror if isinstance(error, OSError) else "not a text"
        raise ConfigurationError(f"{file}: {why}") from None
    if not text:
        raise ConfigurationError(f"{file}: empty")
    return text
