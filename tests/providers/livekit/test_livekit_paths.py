"""Which way is taken with which SDK."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

import native_kit  # noqa: F401
from ringroom.errors import ConfigurationError
from ringroom.providers.livekit import paths
from ringroom.providers.livekit.direct import DirectPath
from ringroom.providers.livekit.paths import check_path, open_path, unfit
from ringroom.providers.livekit.public import PublicPath


def opened(wanted: str) -> type:
    async def scenario() -> Any:
        path = open_path(wanted)
        path.close()
        return type(path)

    return asyncio.run(scenario())


def test_the_sdk_that_is_installed_is_known() -> None:
    assert unfit() == ""
    assert opened("auto") is opened("direct") is DirectPath
    assert opened("public") is PublicPath


@pytest.mark.parametrize(
    ("installed", "fits"),
    [
        ("1.1.20", False),
        ("1.1.21", True),
        ("1.2.0", True),
        ("1.2.9", True),
        ("1.3.0", False),
        ("2.0", False),
        ("1.2.1rc1", False),
    ],
)
def test_versions(monkeypatch: pytest.MonkeyPatch, installed: str, fits: bool) -> None:
    monkeypatch.setattr(paths, "version", lambda package: installed)
    assert (unfit() == "") is fits
    if fits:
        check_path("direct")
    else:
        with pytest.raises(ConfigurationError, match="sdk_path is 'direct', but the SDK"):
            check_path("direct")
    check_path("auto")
    check_path("public")


def test_an_sdk_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(paths, "version", version)
    assert "not known" in unfit()


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ({"ffi_pb2.FfiEvent": {"nothing"}}, "FfiEvent has no nothing"),
        ({"ffi_pb2.Nothing": {"x"}}, "built differently"),
        ({"nothing_pb2.Nothing": {"x"}}, "built differently"),
    ],
)
def test_an_sdk_that_has_changed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, field: Any, why: str
) -> None:
    monkeypatch.setattr(paths, "FIELDS", field)
    caplog.set_level(logging.INFO, "ringroom.livekit")
    assert why in unfit()
    assert opened("auto") is PublicPath
    assert why in caplog.text
    with pytest.raises(ConfigurationError, match=why):
        opened("direct")


def test_events_that_cannot_be_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    client = paths.import_module("livekit.rtc._ffi_client")
    monkeypatch.setattr(client.FfiQueue, "subscribe", lambda self, loop: None)
    assert "cannot be filtered" in unfit()
