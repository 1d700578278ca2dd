"""Providers by name."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from ringroom.errors import ConfigurationError, UnknownProviderError
from ringroom.options import PublishOptions, SessionOptions
from ringroom.providers import registry
from ringroom.providers.provider import Provider, ProviderSpec


@dataclass(frozen=True, kw_only=True)
class Radio(ProviderSpec):
    """A third party's."""

    station: str = "one"
    token: str = field(default="", repr=False)
    name = "radio"

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        raise NotImplementedError


@pytest.fixture
def radio() -> Iterator[None]:
    registry.register("radio", Radio)
    yield
    registry.unregister("radio")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points as third parties' packages would bring them."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: list(points))
    return points


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=registry.GROUP)


def test_names_are_listed_in_order(radio: None) -> None:
    assert list(registry.names()) == sorted(registry.names())
    assert {"fake", "livekit", "radio"} <= set(registry.names())


def test_a_registered_provider_is_found_until_it_is_taken_back() -> None:
    registry.register("radio", Radio)
    assert registry.find("radio") is Radio
    registry.unregister("radio")
    with pytest.raises(UnknownProviderError):
        registry.find("radio")
    with pytest.raises(UnknownProviderError, match="not registered by a call"):
        registry.unregister("radio")


def test_names_are_unique(radio: None, installed: list[EntryPoint]) -> None:
    installed.append(point("telephone", "somewhere:Telephone"))
    for name in ("radio", "fake", "livekit", "telephone"):
        with pytest.raises(ConfigurationError, match="registered already"):
            registry.register(name, Radio)


@pytest.mark.parametrize(
    ("name", "spec"), [("", Radio), (5, Radio), (None, Radio), ("x", object), ("x", Radio())]
)
def test_what_cannot_be_registered(name: Any, spec: Any) -> None:
    with pytest.raises(ConfigurationError):
        registry.register(name, spec)
    assert "x" not in registry.names()


def test_an_unknown_name_lists_the_known_ones(radio: None) -> None:
    with pytest.raises(UnknownProviderError, match="unknown provider 'zoom'") as caught:
        registry.find("zoom")
    for part in (*registry.names(), registry.GROUP):
        assert part in str(caught.value)


def test_built_in_names_stay() -> None:
    with pytest.raises(UnknownProviderError):
        registry.unregister("fake")


def test_an_entry_point_is_loaded_when_asked_for(installed: list[EntryPoint]) -> None:
    installed.append(point("broken", "no.such.module:Spec"))
    installed.append(point("radio", f"{__name__}:Radio"))
    assert {"broken", "radio"} <= set(registry.names())
    assert registry.find("radio").__name__ == "Radio"


@pytest.mark.parametrize("value", ["no.such.module:Spec", f"{__name__}:Missing"])
def test_an_entry_point_that_does_not_load(value: str, installed: list[EntryPoint]) -> None:
    installed.append(point("broken", value))
    with pytest.raises(UnknownProviderError, match="'broken' does not load"):
        registry.find("broken")


def test_an_entry_point_that_is_no_spec(installed: list[EntryPoint]) -> None:
    installed.append(point("odd", "json:JSONDecoder"))
    with pytest.raises(ConfigurationError, match=r"'odd' \(json:JSONDecoder\) is .* a subclass of"):
        registry.find("odd")


class Bare(ProviderSpec):
    name = "bare"

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        raise NotImplementedError


def test_a_spec_that_is_no_dataclass(installed: list[EntryPoint]) -> None:
    with pytest.raises(ConfigurationError, match=r"Bare is no dataclass; decorate it with @data"):
        registry.register("bare", Bare)
    installed.append(point("bare", f"{__name__}:Bare"))
    with pytest.raises(ConfigurationError, match=r"Bare is no dataclass; decorate it with @data"):
        registry.build("bare", {})


def test_two_packages_with_one_name(installed: list[EntryPoint]) -> None:
    installed.append(point("radio", "one:Radio"))
    installed.append(point("radio", "two:Radio"))
    with pytest.raises(ConfigurationError, match="more than once: one:Radio, two:Radio"):
        registry.find("radio")


def test_built_from_a_name_or_from_a_spec(radio: None) -> None:
    by_name = registry.build("radio", {"station": "two", "sample_rate": 24_000})
    by_spec = registry.build(Radio(station="two"), {"sample_rate": 24_000})
    assert by_name == by_spec == (Radio(station="two"), SessionOptions(sample_rate=24_000))
    publish = PublishOptions(mode="live")
    assert registry.build("radio", {"publish": publish})[1].publish is publish


@pytest.mark.parametrize("provider", ["radio", Radio()])
def test_unknown_options_list_the_known_ones(provider: Any, radio: None) -> None:
    with pytest.raises(ConfigurationError, match="unknown option colour, speed;") as caught:
        registry.build(provider, {"speed": 1, "colour": 2, "channels": 1})
    assert "sample_rate" in str(caught.value)


def test_a_specs_options_do_not_go_beside_it(radio: None) -> None:
    with pytest.raises(ConfigurationError, match="unknown option station"):
        registry.build(Radio(), {"station": "two"})


@pytest.mark.parametrize("provider", [None, 5, object()])
def test_what_is_no_provider(provider: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a name"):
        registry.build(provider, {})


def test_a_provider_that_is_not_made_is_told_how_to_make_it() -> None:
    with pytest.raises(ConfigurationError, match=r"class Radio, .*: Radio\(station=\.\.\.\)"):
        registry.build(Radio, {"station": "two", "channels": 1})  # type: ignore[arg-type]


def test_a_secret_given_to_the_wrong_place_is_not_told(radio: None) -> None:
    with pytest.raises(ConfigurationError) as caught:
        registry.build("radio", {"tokn": "secret"})
    assert "secret" not in str(caught.value)


def test_built_in_specs_are_found_without_the_sdk_and_without_entry_points() -> None:
    code = (
        "import sys\n"
        "from ringroom.providers import registry\n"
        "specs = [registry.find(name) for name in ('fake', 'livekit')]\n"
        "print([spec.name for spec in specs])\n"
        "print(sorted({'livekit', 'asyncio', 'importlib.metadata'} & {*sys.modules}))\n"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, loaded = got.stdout.splitlines()
    assert names == "['fake', 'livekit']"
    assert loaded == "[]"
