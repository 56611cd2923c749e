"""What a driver tells of a job under way, and learns from it: progress, durable marks, and when to stop.

The order is: ``checkpoint`` before each call to the storage system; ``sending`` before each call that changes
something; ``backend_job`` as soon as the storage system has named its own job. A driver never catches ``Stopped``.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4


class Interrupted(Exception):
    """This worker must not go on with the job; the driver lets it pass."""


class Cancelled(Interrupted):
    """The job was cancelled, and nothing of a change was sent."""


class LeaseLost(Interrupted):
    """The job has been taken from this worker, or may have been: not one more call to the storage system."""


class ShuttingDown(Interrupted):
    """This worker is shutting down; another goes on with the job from what the journal holds."""


class TimedOut(Interrupted):
    """The operation's time limit is over."""


@dataclass(frozen=True, slots=True)
class JournalState:
    """What the journal of a job holds: how far its change was taken by the worker that is no more."""

    job_id: str
    #: The last step that was marked as being sent; None: nothing that changes anything was ever sent.
    step: str | None = None
    #: The storage system's own job, if it had named one for that step.
    backend_job: str | None = None
    #: What the driver remembered (uuids, names), by key.
    facts: Mapping[str, str] = field(default_factory=dict)
    #: Seconds since the last mark was made, on Redis's clock.
    age_s: float = 0.0


class Journal(ABC):
    """One job under way, as its driver sees it."""

    job_id: str

    @property
    @abstractmethod
    def cancel_requested(self) -> bool:
        """Has somebody asked to cancel? A driver that waits for the storage system's job passes it on, where it can."""

    @property
    @abstractmethod
    def seconds_left(self) -> float:
        """How long this worker may still act on the job, in seconds: the bound of every call's time limit."""

    @abstractmethod
    def checkpoint(self) -> None:
        """Return if the job may go on; raise a kind of ``Stopped`` if not. Cheap: no network."""

    @abstractmethod
    def progress(self, current: int, total: int | None, unit: str, message: str) -> None:
        """Show how far the job is; also a checkpoint."""

    @abstractmethod
    def record_intent(self, step: str, *, steps_done: int | None = None, **facts: str) -> None:
        """Mark durably that ``step`` is about to be sent, with what a later look will need.

        ``steps_done``: how many steps of the change came before, as its progress.

        From here on the job cannot be cancelled unless ``backend_job`` says so. The mark of the previous step's
        backend job is cleared.

        Raises:
            Stopped: it must not be sent.
        """

    @abstractmethod
    def backend_job(self, uuid: str, *, cancellable: bool = False) -> None:
        """Record durably the storage system's own job for the step that was just sent."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Wait, waking early to raise a kind of ``Stopped``; for polls of the filer's job and simulated time."""


class InMemoryJournal(Journal):
    """The journal of a call that nobody watches: nothing is recorded and nothing stops it. For checks and tests."""

    def __init__(self, job_id: str | None = None) -> None:
        # A job is one change: without a name of its own each instance is another job.
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

    def trace(self, **changes: Any) -> JournalState:
        """What a settling worker would be given."""
        return JournalState(self.job_id, self.step, self.uuid, dict(self.facts), **changes)
