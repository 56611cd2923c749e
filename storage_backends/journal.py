"""The journal of a running job, for its driver: progress, durable intents, and when to stop.

The order is: ``checkpoint`` before each call to the storage system; ``record_intent`` before each call that changes
something; ``backend_job`` as soon as the storage system has named its own job. Drivers never catch ``Interrupted``.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4


class Interrupted(Exception):
    """This worker must not continue the job; drivers do not catch it."""


class Cancelled(Interrupted):
    """The job was cancelled, and nothing of a change was sent."""


class LeaseLost(Interrupted):
    """Another worker has the job, or may have it: no further calls to the storage system."""


class ShuttingDown(Interrupted):
    """This worker is shutting down; another one continues the job from its journal."""


class TimedOut(Interrupted):
    """The operation's time limit is over."""


@dataclass(frozen=True, slots=True)
class JournalState:
    """The journal's contents: how far the change got before its worker was lost."""

    job_id: str
    #: The last step whose intent was recorded; None: nothing that changes anything was sent.
    step: str | None = None
    #: The storage system's own job of that step, if known.
    backend_job: str | None = None
    #: What the driver has recorded (uuids, names), by key.
    facts: Mapping[str, str] = field(default_factory=dict)
    #: Seconds since the last intent was recorded, on Redis's clock.
    age_s: float = 0.0


class Journal(ABC):
    """The interface of a running job for its driver."""

    job_id: str

    @property
    @abstractmethod
    def cancel_requested(self) -> bool:
        """Was cancellation requested? A driver that waits for the storage system's job cancels that, where possible."""

    @property
    @abstractmethod
    def seconds_left(self) -> float:
        """How long this worker may still work on the job (seconds): the upper limit of every call's time limit."""

    @abstractmethod
    def checkpoint(self) -> None:
        """Return if the job may continue; otherwise raise a subclass of ``Interrupted``. Cheap: no network."""

    @abstractmethod
    def progress(self, current: int, total: int | None, unit: str, message: str) -> None:
        """Record the progress of the job; also a checkpoint."""

    @abstractmethod
    def record_intent(self, step: str, *, steps_done: int | None = None, **facts: str) -> None:
        """Record durably that ``step`` is about to be sent, with what a later probe needs.

        ``steps_done``: how many steps of the change are done, as its progress.

        Afterwards the job cannot be cancelled unless ``backend_job`` says so. The previous step's
        backend job is deleted.

        Raises:
            Interrupted: it must not be sent.
        """

    @abstractmethod
    def backend_job(self, uuid: str, *, cancellable: bool = False) -> None:
        """Record durably the storage system's own job for the step that was just sent."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Wait; raises a subclass of ``Interrupted`` at once if needed. For polls of the filer and simulated time."""


class InMemoryJournal(Journal):
    """A journal in memory: nothing is durable and nothing interrupts the call. For checks and tests."""

    def __init__(self, job_id: str | None = None) -> None:
        # A job is one change: without an id each instance is a different job.
        self.job_id = job_id if job_id is not None else f"unwatched-{uuid4()}"
        self.step: str | None = None
        self.uuid: str | None = None
        self.facts: dict[str, str] = {}
        self.progress_calls: list[tuple[int, int | None, str, str]] = []

    @property
    def cancel_requested(self) -> bool:
        return False

    @property
    def seconds_left(self) -> float:
        return 3600.0

    def checkpoint(self) -> None:
        return

    def progress(self, current: int, total: int | None, unit: str, message: str) -> None:
        self.progress_calls.append((current, total, unit, message))

    def record_intent(self, step: str, *, steps_done: int | None = None, **facts: str) -> None:
        if steps_done is not None:
            self.progress(steps_done, None, "steps", step)
        self.step, self.uuid = step, None
        self.facts.update(facts)

    def backend_job(self, uuid: str, *, cancellable: bool = False) -> None:
        self.uuid = uuid

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def state(self, **changes: Any) -> JournalState:
        """Return the state for a worker that reconciles the job."""
        return JournalState(self.job_id, self.step, self.uuid, dict(self.facts), **changes)
