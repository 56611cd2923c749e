"""A running provider for one test."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.identity_provider.directory import Client, User
from tests.identity_provider.provider import IdentityProvider

CLIENT_ID, CLIENT_SECRET = "storage-api", "the client's own secret"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityProvider]:
    """With users anna (no group), adam (admins), uma (uber admins) and a machine that is an admin."""
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setattr(logging.getLogger("werkzeug"), "disabled", True)
    running = IdentityProvider()
    running.users = {
        "anna": User("anna"),
        "adam": User("adam", ["it db, admins"]),
        "uma": User("uma", ["uber"]),
    }
    callback = "http://localhost/oauth-done"
    running.clients = {
        CLIENT_ID: Client(CLIENT_ID, CLIENT_SECRET, [callback]),
        "machine": Client("machine", "machine secret", groups=["it db, admins"]),
    }
    running.start()
    yield running
    running.stop()
