"""Providers by name: built in, registered by a call, or by an entry point of a third party.

An entry point of the group ``ringroom.providers`` names a `ProviderSpec` class; it is loaded when
its name is asked for, not before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ringroom.checks import shown
from ringroom.errors import ConfigurationError, UnknownProviderError
from ringroom.options import SessionOptions
from ringroom.providers.provider import ProviderSpec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

GROUP = "ringroom.providers"
_BUILT_IN = {
    "fake": "ringroom.providers.fake:Fake",
    "livekit": "ringroom.providers.livekit:LiveKit",
    "replay": "ringroom.providers.replay:Replay",
}
_registered: dict[str, type[ProviderSpec]] = {}
_stand_ins: dict[str, Callable[[Mapping[str, Any]], ProviderSpec]] = {}


def register(name: str, spec: type[ProviderSpec]) -> None:
    """Register a provider under a name. Names are unique: a second registration is an error."""
    if not isinstance(name, str) or not name:
        raise ConfigurationError("a provider's name is a text that is not empty")
    checked = _checked(repr(name), spec)
    if name in names():
        raise ConfigurationError(f"provider {name!r} is registered already; names are unique")
    _registered[name] = checked


def _checked(name: str, spec: object) -> type[ProviderSpec]:
    if not (isinstance(spec, type) and issubclass(spec, ProviderSpec)):
        raise ConfigurationError(
            f"provider {name} is {shown(spec)}, expected a subclass of ProviderSpec"
        )
    if not hasattr(spec, "__dataclass_fields__"):
        raise ConfigurationError(
            f"provider {name}: {spec.__name__} is no dataclass; decorate it with "
            "@dataclass(frozen=True, kw_only=True)"
        )
    return spec


def unregister(name: str) -> None:
    """Take back a `register` call. Built-in names stay."""
    if _registered.pop(name, None) is None:
        raise UnknownProviderError(f"provider {name!r} was not registered by a call")


def stand_in(name: str, make: Callable[[Mapping[str, Any]], ProviderSpec]) -> Callable[[], None]:
    """Have specs of that name made by ``make``, from the options that were given for the real one.
    Returns what ends it. Raises `UnknownProviderError`, and `ConfigurationError` for a second."""
    find(name)
    if name in _stand_ins:
        raise ConfigurationError(f"something stands in for provider {name!r} already")
    _stand_ins[name] = make

    def end() -> None:
        _stand_ins.pop(name, None)

    return end


def names() -> tuple[str, ...]:
    """All names, sorted."""
    found = {point.name for point in _entry_points()}
    return tuple(sorted({*_BUILT_IN, *_registered, *found}))


def find(name: str) -> type[ProviderSpec]:
    """The spec class of that name.

    Raises `UnknownProviderError`, which lists the names that are known.
    """
    if name in _registered:
        return _registered[name]
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        built_in: type[ProviderSpec] = getattr(import_module(module), attribute)
        return built_in
    points = [point for point in _entry_points() if point.name == name]
    if not points:
        raise UnknownProviderError(
            f"unknown provider {shown(name)}; known are: {', '.join(names())}. A provider of "
            "a third party must be installed in this environment: its package names the entry "
            f"point group {GROUP!r}"
        )
    if len(points) > 1:
        owners = ", ".join(sorted(str(point.value) for point in points))
        raise ConfigurationError(f"provider {name!r} is registered more than once: {owners}")
    try:
        spec = points[0].load()
    except (ImportError, AttributeError) as error:
        raise UnknownProviderError(
            f"provider {name!r} does not load: {error}; install what it needs"
        ) from error
    return _checked(f"{name!r} ({points[0].value})", spec)


def _entry_points() -> EntryPoints:
    # Here, for built-in names need none: the import takes a sixth of what a pool imports in all.
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def build(
    provider: str | ProviderSpec, options: Mapping[str, Any], beside: Collection[str] = ()
) -> tuple[ProviderSpec, SessionOptions]:
    """The spec and the session's options, from a name and keywords, or from a spec and keywords.
    ``beside`` are the names of options that the caller has taken out already."""
    own = {field.name for field in dataclasses.fields(SessionOptions)}
    common = {key: value for key, value in options.items() if key in own}
    rest = {key: value for key, value in options.items() if key not in own}
    if isinstance(provider, str):
        spec_class = find(provider)
        fields = dataclasses.fields(spec_class)  # type: ignore[arg-type]
        _refuse_unknown(f"{provider}: ", rest, {*(f.name for f in fields), *own, *beside})
        make = _stand_ins.get(provider)
        if make is not None:
            return make(rest), SessionOptions(**common)
        for f in fields:
            required = f.init and f.default is f.default_factory is dataclasses.MISSING
            if required and f.name not in rest:
                raise ConfigurationError(f"{provider}: {f.name} is required")
        return spec_class(**rest), SessionOptions(**common)
    if isinstance(provider, type) and issubclass(provider, ProviderSpec):
        wanted = ", ".join(f"{option}=..." for option in rest)
        raise ConfigurationError(
            f"the provider is the class {provider.__name__}, expected a name or a spec; make one: "
            f"{provider.__name__}({wanted})"
        )
    if not isinstance(provider, ProviderSpec):
        raise ConfigurationError(
            f"the provider is a {type(provider).__name__}, expected a name "
            f"({', '.join(names())}) or a spec such as ringroom.LiveKit(url=..., token=...)"
        )
    _refuse_unknown("", rest, {*own, *beside})
    if (make := _stand_ins.get(provider.name)) is not None:
        known = {f.name for f in dataclasses.fields(provider)}  # type: ignore[arg-type]
        given = {name: getattr(provider, name) for name in known}
        return make(given), SessionOptions(**common)
    return provider, SessionOptions(**common)


def _refuse_unknown(prefix: str, given: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(str(name) for name in set(given) - known)
    if unknown:
        raise ConfigurationError(
            f"{prefix}unknown option {', '.join(unknown)}; known are: {', '.join(sorted(known))}"
        )
