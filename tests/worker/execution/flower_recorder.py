"""A recorder of what Flower is sent."""

from __future__ import annotations

from typing import Any

from tests.worker.harness import SUBSYSTEM
from worker.catalog.operations import OPERATIONS
from worker.execution.runner import JobRunner

_WRITE = f"{SUBSYSTEM}.write"


class FlowerEvents:
    """The events that Flower would receive."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.events.append((kind.removeprefix("task-"), fields))

    def of(self, job_id: str) -> list[str]:
        return [kind for kind, fields in self.events if fields["uuid"] == job_id]

    def last(self) -> tuple[str, dict[str, Any]]:
        kind, fields = self.events[-1]
        return kind, {name: value for name, value in fields.items() if name != "uuid"}


def message(runner: JobRunner, job_id: str, operation: str = "create_volume") -> None:
    """What Celery's task does with a message."""
    runner.run_message(job_id, _WRITE, OPERATIONS[operation])
