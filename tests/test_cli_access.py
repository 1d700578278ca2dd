"""The command line's tokens and secrets: where they come from, and what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import cli_kit
from cli_kit import SECRET, claims, refused
from ringroom.cli import _parser, access, main
from ringroom.errors import ConfigurationError
from ringroom.option_checks import PARTICIPANT_KINDS

no_environment = cli_kit.no_environment


def test_a_token_from_the_environment_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    assert main(["token", "--room", "r", "--identity", "ann", "--ttl", "60", "--name", "A"]) == 0
    out, err = capsys.readouterr()
    assert not err
    found = claims(out)
    assert found["sub"] == "ann"
    assert found["iss"] == "key"
    assert found["name"] == "A"
    assert found["video"]["room"] == "r"  # type: ignore[index]
    assert 0 < found["exp"] - found["nbf"] <= 61  # type: ignore[operator]


@pytest.mark.parametrize("words", [[], ["--set-profile"]])
def test_whether_a_token_lets_its_holder_change_their_own_profile(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    assert main(["token", "--room", "r", "--identity", "ann", *words]) == 0
    video = claims(capsys.readouterr().out)["video"]
    assert video.get("canUpdateOwnMetadata", False) is bool(words)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", PARTICIPANT_KINDS)
def test_the_kind_of_participant_that_a_token_makes(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    assert main(["token", "--room", "r", "--identity", "ann", "--kind", kind]) == 0
    assert claims(capsys.readouterr().out)["kind"] == kind


def test_a_secret_as_an_option_works_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["token", "--room", "r", "--identity", "ann", "--key", "key", "--secret", SECRET]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert claims(out)["sub"] == "ann"
    assert "--secret shows in the process list" in err
    assert SECRET not in err


def test_key_and_secret_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, secret = tmp_path / "key", tmp_path / "secret"
    key.write_text("key\n")
    secret.write_text(SECRET + "\n")
    files = ["--key-file", str(key), "--secret-file", str(secret)]
    assert main(["token", "--room", "r", "--identity", "ann", *files]) == 0
    out, err = capsys.readouterr()
    assert claims(out)["iss"] == "key"
    assert not err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--identity", "\udcff", "--room", "r"), "token's identity is not valid Unicode"),
        (("--identity", "i", "--room", "r" * 257), "token's room has 257 bytes"),
        (("--identity", "i", "--room", ""), "token's room is empty"),
        (("--identity", "i", "--room", "r", "--name", "\udcff"), "token's name is not valid"),
    ],
)
def test_tokens_that_no_server_takes_are_not_minted(
    words: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    assert message in refused(capsys, "token", *words)


def test_keys_that_are_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ["token", "--room", "r", "--identity", "ann"]
    assert "no API key" in refused(capsys, *words)
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    assert "no API secret" in refused(capsys, *words)
    missing = str(tmp_path / "missing")
    assert "No such file" in refused(capsys, *words, "--secret-file", missing)
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert "empty" in refused(capsys, *words, "--secret-file", str(empty))
    noise = tmp_path / "noise"
    noise.write_bytes(b"\xff\xfe")
    assert refused(capsys, *words, "--secret-file", str(noise)) == f"{noise}: not a text"


def run_arguments(*words: str) -> access.argparse.Namespace:
    return _parser().parse_args(["run", "app:echo", *words])


def test_where_the_token_comes_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIVEKIT_TOKEN", "from-environment")
    assert access.token(run_arguments()) == "from-environment"
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert access.token(run_arguments("--token-file", str(file))) == "from-file"
    assert not capsys.readouterr().err
    assert access.token(run_arguments("--token", "given")) == "given"
    assert "--token shows in the process list" in capsys.readouterr().err
    assert "LIVEKIT_TOKEN" not in os.environ, "the processes that are started inherit it"
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    minter = access.token(run_arguments("--room", "r", "--identity", "me"))
    assert callable(minter)
    minted = claims(minter())
    assert minted["sub"] == "me"
    # It stays with us: what runs there may set its own profile.
    assert minted["video"]["canUpdateOwnMetadata"] is True  # type: ignore[index]


def test_a_secret_that_is_short_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "sesame")
    mint = access.token(run_arguments("--room", "r"))
    assert callable(mint)
    mint()
    assert capsys.readouterr().err == (
        "ringroom: warning: the API secret is shorter than 32 bytes, so it can be guessed\n"
    )


def test_access_that_contradicts_itself(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t")
    for words, message in (
        (("--token", "t", "--token-file", str(file)), "give one of them"),
        (("--token-file", str(file), "--key", "k"), "one or the other"),
        (("--token-file", str(file), "--identity", "me"), "--identity: the token .*LIVEKIT_TOKEN"),
        (("--key", "k", "--secret", "s"), "--room is required"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            access.token(run_arguments(*words))


def test_access_that_is_missing_says_how_to_give_it() -> None:
    with pytest.raises(ConfigurationError, match=r"^livekit: URL is required; .*--url.* LIVEKIT"):
        access.url(run_arguments())
    with pytest.raises(ConfigurationError, match=r"^livekit: Token is required; ") as refused:
        access.token(run_arguments())
    words = re.split(r"[\s,;()]+", str(refused.value))
    assert {"--token-file", "--key-file", "--secret-file", "--room"} < {*words}
    assert {*cli_kit.NAMES} - {"LIVEKIT_URL"} < {*words}


def test_the_url_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_URL", "ws://here")
    assert access.url(run_arguments()) == "ws://here"
    assert access.url(run_arguments("--url", "ws://there")) == "ws://there"


def test_commands_in_one_room_leave_each_other_there() -> None:
    """A server removes the first of two that have the same identity."""

    def identity(*words: str) -> object:
        keys = ("--url", "ws://127.0.0.1:1", "--key", "key", "--secret", SECRET)
        minter = access.token(_parser().parse_args([*words, *keys, "--room", "r"]))
        assert callable(minter)
        return claims(minter())["sub"]

    commands = (["run", "app:echo"], ["record", "call.mcap"], ["speak", "said.wav"])
    assert [identity(*words) for words in commands] == ["ringroom", "recorder", "speaker"]
