"""A provider to sign in with."""

from tests.identity_provider.fixtures import provider

__all__ = ["provider"]
