"""The provider ``fake``: reaches a `ringroom.testing.FakeRoom` from any process."""

from ringroom.providers.fake.spec import Fake

__all__ = ["Fake"]
