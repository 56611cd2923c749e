"""Reconciliation of in-doubt changes: finds out on the storage system what became of a change whose worker was lost.

Until then the job stays running and keeps its ordering keys.
"""

from __future__ import annotations

from dataclasses import replace

import orjson
import structlog

from storage_backends.base import Outcome, ReconciledOutcome
from storage_backends.errors import StorageError
from storage_backends.journal import Interrupted, LeaseLost, TimedOut
from worker.backends.gateway import BackendGateway
from worker.config.settings import Settings
from worker.execution.claims import Completion, JobClaims
from worker.execution.executor import failure_of
from worker.execution.lease import Lease
from worker.jobs.failure import FAILURE_DETAILS, Failure, InDoubtCause
from worker.jobs.record import Job, State
from worker.listings.repository import Listings
from worker.listings.updates import ListingUpdates
from worker.telemetry import tracing

log = structlog.get_logger(__name__)

#: Seconds between a failed probe and the next one.
_RETRY_S = 3.0

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
_NOT_APPLIED = Failure(
    "worker-lost", "The worker was lost; looking showed that the change was not made. Submit it again.", retryable=True
)


class OutcomeReconciler:
    """Reconciles jobs that a sweep has handed to this worker."""

    def __init__(
        self, claims: JobClaims, gateways: dict[str, BackendGateway], listings: Listings, settings: Settings
    ) -> None:
        self._claims = claims
        self._gateways = gateways
        self._updates = ListingUpdates(listings)
        self._settings = settings

    def reconcile(self, job_id: str, token: str) -> tuple[Lease, Completion] | None:
        """Probe the storage system and end the job accordingly; None when that is not possible yet."""
        taken_over = self._claims.take_over(job_id, token)
        if taken_over is None:
            return None
        try:
            return self._reconcile(*taken_over)
        finally:
            self._claims.drop_lease(taken_over[0])

    def _reconcile(self, lease: Lease, now_ms: int) -> tuple[Lease, Completion] | None:
        job_id = lease.job_id
        try:
            end = self._probe(lease, now_ms)
        except LeaseLost:
            return None
        except TimedOut:
            end = self._unavailable(lease, now_ms)
        except Interrupted:
            self._claims.hand_over(lease, lease.job.in_doubt_reason or "")
            return None
        except Exception:
            log.exception("reconcile.crashed", job_id=job_id)
            end = self._unavailable(lease, now_ms)
        if end is None:
            self._claims.hand_over(lease, lease.job.in_doubt_reason or "", _RETRY_S)
            return None
        log.info("job.reconciled", job_id=job_id, state=end.state, code=end.failure.code if end.failure else None)
        return (lease, end) if self._claims.complete(lease, end) else None

    def _probe(self, lease: Lease, now_ms: int) -> Completion | None:
        job = lease.job
        try:
            with (
                tracing.span(f"reconcile {job.operation.name}", job.traceparent, **{"job.id": job.id}),
                self._gateways[job.subsystem].session() as backend,
            ):
                outcome = backend.reconcile(job.operation.name, job.arguments, job.journal_state(now_ms), journal=lease)
        except StorageError as error:
            log.warning("reconcile.unavailable", job_id=job.id, code=error.code, detail=error.detail, retry_s=_RETRY_S)
            return self._unavailable(lease, now_ms, error.detail)
        return self._end(lease, outcome)

    def _end(self, lease: Lease, reconciled: ReconciledOutcome) -> Completion:
        job = lease.job
        if reconciled.outcome is Outcome.DONE:
            steps = self._updates.after_success(job.operation, job.subsystem, job.arguments, reconciled.value)
            result = b"null" if reconciled.value is None else orjson.dumps(reconciled.value)
            return Completion(State.SUCCEEDED, result=result, steps=steps)
        invalidation = self._updates.invalidate(job.operation, job.subsystem, job.arguments)
        if reconciled.outcome is Outcome.UNKNOWN:
            return Completion(State.FAILED, _unknown(job.in_doubt_cause), steps=invalidation)
        if isinstance(reconciled.error, StorageError):
            return Completion(State.FAILED, failure_of(reconciled.error), steps=invalidation)
        if job.cancel_requested_ms is not None:
            return Completion(State.CANCELLED, steps=invalidation)
        return Completion(State.FAILED, _not_done(job), steps=invalidation)

    def _unavailable(self, lease: Lease, now_ms: int, detail: str = "") -> Completion | None:
        """The storage system cannot be probed now: give up only after `SAPI_RECONCILE_TIMEOUT`."""
        job = lease.job
        if now_ms - (job.in_doubt_since_ms or now_ms) < self._settings.reconcile_timeout * 1000:
            return None
        invalidation = self._updates.invalidate(job.operation, job.subsystem, job.arguments)
        return Completion(State.FAILED, _unknown(job.in_doubt_cause, detail), steps=invalidation)


def _unknown(cause: InDoubtCause | None, detail: str = "") -> Failure:
    """The failure of a change whose outcome stays unknown, with what put it in doubt and why it cannot be probed."""
    details = (FAILURE_DETAILS["outcome-unknown"], cause.detail if cause else "", detail)
    backend_error = cause.backend_error if cause else None
    return Failure("outcome-unknown", " ".join(filter(None, details)), backend_error=backend_error)


def _not_done(job: Job) -> Failure:
    """The failure of a change that was not made, with the storage system's error when it was sent."""
    failure, cause = _NOT_DONE.get(job.in_doubt_reason or "", _NOT_APPLIED), job.in_doubt_cause
    if cause is None:
        return failure
    backend_error = cause.backend_error
    if backend_error is not None and not backend_error["message"].startswith("HTTP status"):
        # It answered with an error code that is not known here: a repetition would most likely fail, too.
        detail = "The storage system answered with an error; looking showed that the change was not made."
        return Failure("backend-error", detail, backend_error=cause.backend_error)
    return replace(failure, detail=f"{failure.detail} {cause.detail}", backend_error=cause.backend_error)
