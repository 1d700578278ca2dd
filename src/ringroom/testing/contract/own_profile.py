"""Promises about what the others are told of us, and that we may change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ringroom.client import Transport
from ringroom.errors import RoomError
from ringroom.testing.contract.losing import lose, lose_and_restore
from ringroom.testing.contract.people import GUEST, Profile, profile_of
from ringroom.testing.contract.promise import (
    Broken,
    Call,
    broken,
    expect,
    expect_error,
    promise,
)
from ringroom.testing.contract.subject import Driver, Stage, Subject


def become(transport: Transport, profile: Profile, stage: Stage) -> None:
    """Set all of the profile."""
    transport.set_profile(
        name=profile.name,
        metadata=profile.metadata,
        attributes=profile.attributes,
        timeout=4 * stage.patience,
    )


def expect_known(stage: Stage, profile: Profile) -> None:
    """The others are told that profile of us, within the stage's patience."""

    def known() -> bool:
        return profile_of(stage.driver.profile()) == profile

    try:
        stage.until(known, "a profile", 2 * stage.patience)
    except Broken:
        now = profile_of(stage.driver.profile())
        broken(f"we are {profile}; the others are told {now or 'nothing'}")


@promise("own_profile")
def what_we_set_of_ourselves_is_told(subject: Subject) -> None:
    """The others are told the name, metadata and attributes that we set."""
    with subject.opened() as (transport, stage):
        become(transport, GUEST, stage)
        expect_known(stage, GUEST)


@promise("own_profile")
def what_we_do_not_set_of_ourselves_stays(subject: Subject) -> None:
    """A change of our profile leaves all that it does not name; an empty value takes an attribute
    away."""
    with subject.opened() as (transport, stage):
        become(transport, GUEST, stage)
        patience = 4 * stage.patience
        transport.set_profile(metadata="standing", timeout=patience)
        expect_known(stage, now := replace(GUEST, metadata="standing"))
        transport.set_profile(name="Ann Smith", timeout=patience)
        expect_known(stage, now := replace(now, name="Ann Smith"))
        transport.set_profile(attributes={"role": "speaker"}, timeout=patience)
        expect_known(stage, now := replace(now, attributes={"role": "speaker", "hand": "up"}))
        transport.set_profile(attributes={"hand": ""}, timeout=patience)
        expect_known(stage, replace(now, attributes={"role": "speaker"}))


@promise("own_profile", "refusals")
def a_profile_that_is_refused_is_an_error(subject: Subject) -> None:
    """A profile that the room refuses is a `RoomError` (profile_refused), and changes nothing."""
    with subject.opened() as (transport, stage):
        become(transport, GUEST, stage)
        stage.driver.refuse("profile")

        def change() -> None:
            transport.set_profile(metadata="standing", timeout=4 * stage.patience)

        error = expect_error(RoomError, change, "a profile that is refused")
        reason = getattr(error, "reason", "")
        expect(reason == "profile_refused", f"its reason is {reason!r}, not 'profile_refused'")
        expect_known(stage, GUEST)


@promise("own_profile", "events", "connection_loss")
def what_we_set_of_ourselves_outlives_a_loss(subject: Subject) -> None:
    """When the connection is back, the others are told of us what we had set before the loss."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        become(transport, GUEST, stage)
        lose_and_restore(transport, stage)
        expect_known(stage, GUEST)


def expect_set_during_a_loss(subject: Subject, then: Callable[[Driver], None]) -> None:
    """Break the promise unless what is set during a loss is told after ``then``, with what was set
    before."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        become(transport, replace(GUEST, metadata="before"), stage)
        lose(transport, stage)
        setting = Call("set_profile", transport.set_profile, metadata=GUEST.metadata)
        setting.waits(stage.patience / 10)  # the provider has had time to be asked for it
        then(stage.driver)
        try:
            setting.result(4 * stage.patience)
        except RoomError as error:
            broken(f"what was set meanwhile raised {error.reason!r} ({error})")
        expect_known(stage, GUEST)


@promise("own_profile", "events", "connection_loss")
def what_we_set_during_a_loss_is_told(subject: Subject) -> None:
    """What we set of ourselves while the connection is lost is told when it is back."""
    expect_set_during_a_loss(subject, lambda driver: driver.restore_connection())


@promise("own_profile", "events", "connection_loss", "broken_connection")
def what_we_set_of_ourselves_is_told_in_the_next_room(subject: Subject) -> None:
    """What we have set of ourselves, and set while the connection is lost for good, is told in the
    next room."""
    expect_set_during_a_loss(subject, lambda driver: driver.break_connection())
