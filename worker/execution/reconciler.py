"""Finds out, by looking, what became of a change whose worker is gone; till then its job runs and holds its volume."""

from __future__ import annotations

import orjson
import structlog

from storage_backends.base import Outcome, Settlement
from storage_backends.errors import StorageError
from storage_backends.journal import LeaseLost, Stopped, TimedOut
from worker.backends.gateway import Filer
from worker.config.settings import Settings
from worker.execution.claims import Desk, End
from worker.execution.executor import failure_of
from worker.execution.lease import Lease
from worker.jobs.record import DETAILS, Failure, State
from worker.listings.repository import Listings
from worker.listings.updates import Effects

log = structlog.get_logger(__name__)

#: How long after a look that could not be taken the next one is (seconds).
_LOOK_AGAIN_S = 3.0

_NOT_DONE = {
    "timed-out": Failure(
        "timed-out", "The change took longer than it may take; looking showed that it was not made.", retryable=True
    ),
    "backend-timeout": Failure(
        "backend-timeout",
        "The storage system did not answer; looking showed that the change was not made.",
        retryable=True,
    ),
    "backend-error": Failure(
        "backend-error", "The service failed inside; looking showed that the change was not made."
    ),
}
_LOST = Failure(
    "worker-lost", "The worker was lost; looking showed that the change was not made. Submit it again.", retryable=True
)


class Settler:
    """Settles jobs that the sweep has given to this worker."""

    def __init__(self, desk: Desk, filers: dict[str, Filer], listings: Listings, settings: Settings) -> None:
        self._desk = desk
        self._filers = filers
        self._effects = Effects(listings)
        self._settings = settings

    def settle(self, job_id: str, owner: str) -> tuple[Lease, End] | None:
        """Look, and end the job by what is found; None when it could not be told yet."""
        held = self._desk.take_over(job_id, owner)
        if held is None:
            return None
        try:
            return self._settle(*held)
        finally:
            self._desk.forget(held[0])

    def _settle(self, lease: Lease, now_ms: int) -> tuple[Lease, End] | None:
        job_id = lease.job_id
        try:
            end = self._look(lease, now_ms)
        except LeaseLost:
            return None
        except TimedOut:
            end = self._not_now(lease, now_ms)
        except Stopped:
            self._desk.release(lease, lease.job.settle_why or "")
            return None
        except Exception:
            log.exception("settle.crashed", job_id=job_id)
            end = self._not_now(lease, now_ms)
        if end is None:
            self._desk.release(lease, lease.job.settle_why or "", _LOOK_AGAIN_S)
            return None
        log.info("job.settled", job_id=job_id, state=end.state, code=end.failure.code if end.failure else None)
        return (lease, end) if self._desk.finish(lease, end) else None

    def _look(self, lease: Lease, now_ms: int) -> End | None:
        job = lease.job
        try:
            with self._filers[job.subsystem].asked() as backend:
                found = backend.settle(job.operation.name, job.arguments, job.trace(now_ms), journal=lease)
        except StorageError as error:
            log.warning("settle.not-now", job_id=job.id, code=error.code)
            return self._not_now(lease, now_ms)
        return self._end(lease, found)

    def _end(self, lease: Lease, found: Settlement) -> End:
        job = lease.job
        if found.outcome is Outcome.DONE:
            steps = self._effects.of_success(job.operation, job.subsystem, job.arguments, found.value)
            result = b"null" if found.value is None else orjson.dumps(found.value)
            return End(State.SUCCEEDED, result=result, steps=steps)
        doubt = self._effects.of_doubt(job.operation, job.subsystem, job.arguments)
        if found.outcome is Outcome.UNKNOWN:
            return End(State.FAILED, _unknown(), steps=doubt)
        if isinstance(found.error, StorageError):
            return End(State.FAILED, failure_of(found.error), steps=doubt)
        if job.cancel_requested_ms is not None:
            return End(State.CANCELLED, steps=doubt)
        return End(State.FAILED, _NOT_DONE.get(job.settle_why or "", _LOST), steps=doubt)

    def _not_now(self, lease: Lease, now_ms: int) -> End | None:
        """It cannot be looked now: give up only when that has been so for long."""
        job = lease.job
        if now_ms - (job.settle_since_ms or now_ms) < self._settings.settle_patience * 1000:
            return None
        doubt = self._effects.of_doubt(job.operation, job.subsystem, job.arguments)
        return End(State.FAILED, _unknown(), steps=doubt)


def _unknown() -> Failure:
    return Failure("outcome-unknown", DETAILS["outcome-unknown"])
