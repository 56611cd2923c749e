"""What the subjects of the suite share: what a driver says of itself, its journal, and a volume that is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from storage_backends.base import StorageBackend
from storage_backends.journal import InMemoryJournal, LeaseLost
from storage_backends.models import ExportPolicy, Snapshot, Volume

MIB = 1024 * 1024
NewJournal = Callable[[], InMemoryJournal]

#: Patterns of a filer's query language; as names they are of objects that do not exist.
PATTERNS = ("*", "hom*", "home|work", "!home", '"home"', "{home}", "ho?e", "a..z", ">a", "null", "home,work", "HOME")


class KilledJournal(InMemoryJournal):
    """A worker that is killed between its intent and its call: nothing reaches the storage system."""

    def record_intent(self, step: str, *, steps_done: int | None = None, **facts: str) -> None:
        super().record_intent(step, steps_done=steps_done, **facts)
        raise LeaseLost


class LapsedJournal(InMemoryJournal):
    """A worker whose lease ends while it records its intent."""

    def checkpoint(self) -> None:
        if self.step is not None:
            raise LeaseLost

    def wait(self, seconds: float) -> None:
        self.checkpoint()


class Conformance:
    """What the subjects share."""

    #: Can locks be made from outside?
    can_lock: ClassVar[bool] = True
    #: How far a size that reads back may be from what was written, in bytes.
    size_tolerance_bytes: ClassVar[int] = MIB
    #: How many snapshots a volume of ``backend`` can have; None: too many to try.
    snapshot_limit: ClassVar[int | None] = None
    #: Operations whose outcome looking may not be able to tell.
    untellable: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def backend(self) -> StorageBackend:
        raise NotImplementedError("a driver's tests give its backend")

    @pytest.fixture
    def journal(self) -> NewJournal:
        return InMemoryJournal

    @pytest.fixture
    def home(self, backend: StorageBackend, journal: NewJournal) -> Volume:
        """A volume that is there."""
        return backend.create_volume("home", journal=journal(), junction_path="/users/home", size_total=100 * MIB)


def names(listed: list[Volume] | list[Snapshot] | list[ExportPolicy]) -> list[str]:
    return [item.name for item in listed]
