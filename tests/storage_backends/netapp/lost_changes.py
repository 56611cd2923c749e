"""Changes that are lost at a step, and looked for by another worker."""

from __future__ import annotations

from typing import Any

from storage_backends.base import ReconciledOutcome, StorageBackend
from storage_backends.journal import InMemoryJournal, ShuttingDown
from tests.ontap_simulator import Simulator


class Stopping(InMemoryJournal):
    """The journal of a worker that shuts down as soon as it waits."""

    def wait(self, seconds: float) -> None:
        raise ShuttingDown


class StoppingAtJob(InMemoryJournal):
    """The journal of a worker that shuts down while the filer's job of a step runs."""

    def __init__(self, step: str) -> None:
        super().__init__("0199-job")
        self._last_step = step

    def wait(self, seconds: float) -> None:
        if self.step == self._last_step and self.uuid:
            raise ShuttingDown
        super().wait(seconds)


def reconciled(
    backend: StorageBackend, lost: InMemoryJournal, operation: str, arguments: dict[str, Any]
) -> ReconciledOutcome:
    """The reconciliation by another worker an hour later."""
    again = InMemoryJournal(lost.job_id)
    return backend.reconcile(operation, arguments, lost.state(age_s=3600.0), journal=again)


def record_of(ontap: Simulator, name: str) -> dict[str, Any]:
    return next(record for record in ontap.world.volumes.values() if record["name"] == name)
