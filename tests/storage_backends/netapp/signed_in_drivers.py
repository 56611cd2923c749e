"""Drivers that are signed in to a simulated filer."""

from __future__ import annotations

from typing import Any

from storage_backends.configuration.options import NetappOptions
from storage_backends.login_guard import LoginGuard
from storage_backends.netapp import NetappStorage
from tests.ontap_simulator import Simulator

USER, CONFINED_USER = "storage-api", "vsadmin"


def open_backend(
    ontap: Simulator, user: str = USER, login_guard: LoginGuard | None = None, **options: Any
) -> NetappStorage:
    """A driver for the simulated filer, with the account ``user``."""
    password, _ = ontap.accounts.get(user, ("wrong", ""))
    settings: dict[str, Any] = {
        "username": user,
        "password": password,
        "vserver": ontap.world.vserver,
        "hostname": "127.0.0.1",
        "port": ontap.port,
        "scheme": "http",
        "timeout_s": 5.0,
    }
    return NetappStorage(NetappOptions(**settings | options), name="netapp", login_guard=login_guard)
