"""What a provider may be without, and how that is refused: one row for each such feature.

An option that asks for it is refused before anything is started, a call before anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringroom.errors import ConfigurationError
from ringroom.events import Kind
from ringroom.options import SessionOptions
from ringroom.providers.provider import ProviderSpec

__all__ = ["check_call", "check_options"]


@dataclass(frozen=True, slots=True)
class Feature:
    """A row of the table. ``option`` is how the error names the option, and ``asked`` tells whether
    given options ask for the feature; without ``asked`` no option does, without ``call`` no call.
    ``instead`` tells the caller what else can be done."""

    flag: str
    """The class flag of `ProviderSpec` by which a provider says that it has the feature."""
    noun: str
    option: str = ""
    asked: Callable[[SessionOptions], object] = lambda options: False
    call: str = ""
    instead: str = ""


_FEATURES = (
    Feature(
        "texts",
        "texts",
        "text_topics",
        lambda options: options.text_topics,
        "send_text",
        "send_data sends bytes",
    ),
    Feature(
        "text_streams",
        "texts that are being written",
        call="open_text",
        instead="send_text sends whole ones",
    ),
    Feature(
        "files",
        "files",
        "file_topics",
        lambda options: options.file_topics,
        "send_file",
        "send_data sends bytes",
    ),
    Feature("rpc", "calls", "rpc_methods", lambda options: options.rpc_methods, "call"),
    Feature("dtmf", "DTMF", "dtmf", lambda options: options.dtmf, "send_dtmf"),
    Feature(
        "data_tracks",
        "data tracks",
        "kinds has 'data_track'",
        lambda options: Kind.DATA_TRACK in options.kinds,
    ),
    Feature(
        "layers",
        "layers of pictures",
        "video_quality",
        lambda options: options.video_quality != SessionOptions.video_quality,
    ),
)
_BY_CALL = {feature.call: feature for feature in _FEATURES if feature.call}


def check_options(spec: ProviderSpec, options: SessionOptions) -> None:
    """Raises `ConfigurationError` for an option that asks for what the provider has not."""
    for feature in _FEATURES:
        if feature.asked(options) and not getattr(spec, feature.flag):
            raise _refusal(spec, feature.option, feature.noun)


def check_call(spec: ProviderSpec, call: str) -> None:
    """Raises `ConfigurationError` for a call, by its name, of what the provider has not."""
    feature = _BY_CALL[call]
    if not getattr(spec, feature.flag):
        instead = f"; {feature.instead}" if feature.instead else ""
        raise _refusal(spec, call, f"{feature.noun}{instead}")


def _refusal(spec: ProviderSpec, what: str, noun: str) -> ConfigurationError:
    return ConfigurationError(f"{spec.name}: not supported: {what} (this provider has no {noun})")
