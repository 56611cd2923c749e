"""The drivers by class name; a driver's module, and its vendor's library, is imported when one is opened."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from storage_backends.base import StorageBackend
from storage_backends.configuration.options import build
from storage_backends.configuration.subsystems import Subsystem
from storage_backends.login_guard import LoginGuard

DRIVERS: dict[str, str] = {
    "DummyStorage": "storage_backends.dummy:DummyStorage",
    "NetappStorage": "storage_backends.netapp.backend:NetappStorage",
}


def open_backend(subsystem: Subsystem, login_guard: LoginGuard | None = None) -> StorageBackend:
    """Open the back-end of a subsystem; cheap, since connections are opened by the first call.

    Args:
        subsystem: the subsystem with its options.
        login_guard: shared by all storage systems of this process; None: a separate one.

    Raises:
        ImportError: the driver's library is not installed.
        KeyError, ValueError: the subsystem did not come from ``Subsystems``, which checks driver and options.
    """
    module, _, name = DRIVERS[subsystem.driver].partition(":")
    driver = getattr(import_module(module), name)
    if not issubclass(driver, StorageBackend):
        raise TypeError(f"{subsystem.driver} is not a storage back-end")
    more: dict[str, Any] = {"login_guard": login_guard or LoginGuard()} if driver.signs_in else {}
    backend: StorageBackend = driver(build(subsystem.driver, subsystem.options), name=subsystem.name, **more)
    return backend
