"""The contract of a provider: small promises, each checked by a function of its own.

    subject = contract.Subject(name="mine", rooms=my_rooms, capabilities=contract.Capabilities(...))
    print(contract.check(subject))               # a list to read: kept, broken by what, not claimed

    @contract.parametrize(subject)               # or one test of pytest for each promise
    def test_contract(case):
        case()

``my_rooms`` is a context manager that yields a `Room`: which provider, with which options, and a
`Driver` that plays the people on the other side. What a provider does not claim is reported, and
never passes. See docs/providers.md.
"""

from ringroom.testing.contract.fake import FAKE, FakeDriver, fake_rooms, fake_subject
from ringroom.testing.contract.filing import FILE_TOPICS
from ringroom.testing.contract.promise import Broken, Promise
from ringroom.testing.contract.run import (
    PROMISES,
    Case,
    Outcome,
    Report,
    check,
    keep,
    parametrize,
)
from ringroom.testing.contract.subject import LAYERED, Capabilities, Driver, Room, Stage, Subject
from ringroom.testing.contract.texting import TEXT_TOPICS

__all__ = [
    "FAKE",
    "FILE_TOPICS",
    "LAYERED",
    "PROMISES",
    "TEXT_TOPICS",
    "Broken",
    "Capabilities",
    "Case",
    "Driver",
    "FakeDriver",
    "Outcome",
    "Promise",
    "Report",
    "Room",
    "Stage",
    "Subject",
    "check",
    "fake_rooms",
    "fake_subject",
    "keep",
    "parametrize",
]
