"""What the contract says: a list to read, a test of pytest's for each promise, nothing passed
that is not claimed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from wrong_inbound import DropsAFrame
from wrong_kit import found

from ringroom.testing import contract

BY_NAME = {promise.name: promise for promise in contract.PROMISES}
RECEIVING = [BY_NAME["sound_arrives_in_order"], BY_NAME["no_sound_is_lost_on_the_way_in"]]


def test_what_is_not_claimed_is_reported_and_does_not_pass() -> None:
    deaf = replace(contract.fake_subject(), capabilities=contract.Capabilities())
    report = contract.check(deaf, RECEIVING)
    assert [one.state for one in report.outcomes] == ["not claimed"] * 2
    assert not report.ok, "who claims nothing has kept nothing"
    assert "sound_arrives_in_order (needs audio_in)" in str(report)
    assert "0 promises kept, 0 broken, 2 not claimed" in str(report)


def test_a_report_reads_well() -> None:
    report = found(DropsAFrame.subject(), RECEIVING, "never arrived")
    assert not report.ok
    assert str(report).splitlines() == [
        "kept         receiving: sound_arrives_in_order",
        "broken       receiving: no_sound_is_lost_on_the_way_in",
        "             promised: All that Ann says arrives, to a reader that keeps up.",
        "             but: pieces [3] of 50 never arrived: sound was lost",
        "DropsAFrame: 1 promises kept, 1 broken, 0 not claimed",
    ]


def test_an_error_that_nobody_expected_is_a_cause() -> None:
    def fails(subject: contract.Subject) -> None:
        raise LookupError("no such thing")

    report = contract.check(contract.fake_subject(), [replace(RECEIVING[0], function=fails)])
    [broken] = report.broken
    assert broken.cause.startswith("LookupError: no such thing")


def test_a_driver_without_a_method_is_named() -> None:
    subject = replace(contract.fake_subject(), rooms=_room_without_speech)
    [broken] = contract.check(subject, RECEIVING[:1]).broken
    assert "speak" in broken.cause


def _room_without_speech():  # type: ignore[no-untyped-def]
    import contextlib

    class Silent:
        def __init__(self, driver: contract.FakeDriver) -> None:
            self.join, self.publish_audio = driver.join, driver.publish_audio

    @contextlib.contextmanager
    def rooms():  # type: ignore[no-untyped-def]
        with contract.fake_rooms() as room:
            yield replace(room, driver=Silent(room.driver))

    return rooms()


def test_pytest_gets_one_test_for_each_promise(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from dataclasses import replace
        from ringroom.testing import contract

        claims = contract.Capabilities(audio_in=True, lossless_audio=True)
        subject = replace(contract.fake_subject(), name="mine", capabilities=claims)
        chosen = [one for one in contract.PROMISES if one.name in
                  ("sound_arrives_in_order", "sound_is_heard_in_order")]

        @contract.parametrize(subject, promises=chosen)
        def test_contract(case):
            case()
        """
    )
    result = pytester.runpytest("-v", "-rs", "-p", "no:randomly")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["*mine-sound_arrives_in_order*PASSED*", "*not claimed: audio_out*"]
    )


def test_nothing_of_the_contract_needs_pytest() -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from ringroom.testing import contract\n"
        "names = ('who_opens_is_in_a_room', 'messages_arrive_in_order')\n"
        "chosen = [one for one in contract.PROMISES if one.name in names]\n"
        "report = contract.check(contract.fake_subject(), chosen)\n"
        "print(report)\n"
        "sys.exit(not report.ok)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
