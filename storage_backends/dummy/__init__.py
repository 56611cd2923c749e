"""The reference storage system: real semantics on one SQLite file, shared by every worker of one machine."""

from storage_backends.dummy.backend import DummyStorage

__all__ = ["DummyStorage"]
