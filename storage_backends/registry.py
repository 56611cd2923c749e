"""The drivers by class name; a driver's module, and its vendor's library, is imported when one is opened."""

from __future__ import annotations

from importlib import import_module

from storage_backends.base import StorageBackend
from storage_backends.configuration.options import build
from storage_backends.configuration.subsystems import Subsystem

DRIVERS: dict[str, str] = {
    "DummyStorage": "storage_backends.dummy:DummyStorage",
    "NetappStorage": "storage_backends.netapp.backend:NetappStorage",
}


def open_backend(subsystem: Subsystem) -> StorageBackend:
    """Return the storage system of a subsystem; opening is cheap, connections are made by its first call.

    Raises:
        ImportError: the driver's library is not installed.
        KeyError, ValueError: the subsystem did not come from ``Subsystems``, which checks driver and options.
    """
    module, _, name = DRIVERS[subsystem.driver].partition(":")
    driver = getattr(import_module(module), name)
    backend = driver(build(subsystem.driver, subsystem.options), name=subsystem.name)
    if not isinstance(backend, StorageBackend):
        raise TypeError(f"{subsystem.driver} is not a storage back-end")
    return backend
