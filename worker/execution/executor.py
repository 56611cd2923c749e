"""Executes one claimed job on its storage system, and turns the result or the error into the completion of the job."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
import structlog

from storage_backends.base import StorageBackend
from storage_backends.errors import BackendUnavailable, OutcomeUnclear, StorageError
from storage_backends.journal import Cancelled, Interrupted, LeaseLost, ShuttingDown, TimedOut
from storage_backends.models import parse_reference
from worker.backends.gateway import BackendGateway
from worker.catalog.ordering_keys import volume_order_key
from worker.catalog.resource_types import ResourceType
from worker.config.json_encoding import as_json
from worker.config.settings import Settings
from worker.execution.claims import Completion, JobClaims
from worker.execution.lease import Lease
from worker.jobs.failure import FAILURE_DETAILS, Failure, InDoubtCause
from worker.jobs.record import State
from worker.jobs.status import INLINE_RESULT_BYTES
from worker.listings.listing import Listing
from worker.listings.repository import Listings
from worker.listings.updates import ListingUpdates
from worker.store.client import REDIS_UNAVAILABLE
from worker.telemetry import tracing

log = structlog.get_logger(__name__)

_LONGEST_DELAY_S = 8.0


def failure_of(error: StorageError) -> Failure:
    """Return a storage error as the failure of a job."""
    backend_error = None
    if error.backend_error is not None:
        backend_error = {"code": error.backend_error.code, "message": error.backend_error.message}
    errors = tuple({"pointer": wrong.pointer, "detail": wrong.detail} for wrong in error.errors)
    return Failure(error.code, error.detail, error.retryable, backend_error, errors)


def cause_of(error: StorageError) -> InDoubtCause:
    """Return what put the outcome of a change in doubt."""
    return InDoubtCause(error.detail, failure_of(error).backend_error)


def _backend_words(error: StorageError) -> dict[str, str]:
    """The storage system's own error message, for the log."""
    if error.backend_error is None:
        return {}
    return {"backend_code": error.backend_error.code, "backend_message": error.backend_error.message}


class JobExecutor:
    """Executes jobs, in the calling thread."""

    def __init__(
        self, claims: JobClaims, gateways: Mapping[str, BackendGateway], listings: Listings, settings: Settings
    ) -> None:
        self._claims = claims
        self._gateways = gateways
        self._listings = listings
        self._updates = ListingUpdates(listings)
        self._settings = settings

    def execute(self, lease: Lease) -> Completion | None:
        """Execute the job; return its completion, or None when it has not ended here."""
        try:
            return self._execute(lease)
        finally:
            # Whatever happened: the lease of a job that nobody executes must not be renewed.
            self._claims.drop_lease(lease)

    def _execute(self, lease: Lease) -> Completion | None:
        if lease.job.subsystem not in self._gateways:
            log.error(
                "job.wrong-queue",
                job_id=lease.job_id,
                subsystem=lease.job.subsystem,
                hint="its message was in a wrong queue",
            )
            self._claims.requeue_foreign(lease)
            return None
        try:
            with (
                tracing.span(f"storage {lease.job.operation.name}", subsystem=lease.job.subsystem),
                self._gateways[lease.job.subsystem].session() as backend,
            ):
                end = self._run(backend, lease)
        except Interrupted as stopped:
            return self._stopped(lease, stopped)
        except StorageError as error:
            return self._failed(lease, error)
        except REDIS_UNAVAILABLE as exc:
            return self._without_redis(lease, exc)
        except Exception:
            log.exception("job.crashed", job_id=lease.job_id)
            return self._crashed(lease)
        return self._complete(lease, end) if end is not None else None

    # --- execution

    def _run(self, backend: StorageBackend, lease: Lease) -> Completion | None:
        operation = lease.job.operation
        arguments = dict(lease.job.arguments)
        if lease.job.references:
            names = self._resolved(backend, lease, arguments)
            arguments |= names
            if operation.is_change and not self._join_ordering(lease, arguments, names):
                return None
            # After a partial failure, this is the volume to read again.
            lease.job = replace(lease.job, arguments=arguments)
        if operation.reads is not None:
            return self._read(backend, lease, operation.reads, arguments)
        value = operation.run(backend, arguments, lease)
        return self._done(lease, arguments, value)

    def _resolved(self, backend: StorageBackend, lease: Lease, arguments: Mapping[str, Any]) -> dict[str, str]:
        """The names of the volumes that paths refer to now."""
        names = {}
        state = self._listings.volumes_state(lease.job.subsystem)
        for argument in lease.job.references:
            path = parse_reference(arguments[argument])
            names[argument] = backend.get_volume(arguments[argument], journal=lease).name
            if path is not None:
                self._cache_alias(lease.job.subsystem, path.junction_path, names[argument], state)
        return names

    def _cache_alias(self, subsystem: str, junction_path: str, name: str, state: str) -> None:
        try:
            self._listings.cache_alias(subsystem, junction_path, name, state, self._settings.cache_fresh)
        except REDIS_UNAVAILABLE as exc:
            # Only an optimisation for later reads; the change goes on without it.
            log.info("alias.not-cached", subsystem=subsystem, error=type(exc).__name__)

    def _join_ordering(self, lease: Lease, arguments: Mapping[str, Any], names: Mapping[str, str]) -> bool:
        keys = [volume_order_key(name) for name in names.values()]
        return self._claims.join_ordering(lease, keys, {"arguments": as_json(arguments).decode()})

    def _read(
        self, backend: StorageBackend, lease: Lease, resource_type: ResourceType, arguments: Mapping[str, Any]
    ) -> Completion:
        subsystem = lease.job.subsystem
        cache_key = resource_type.cache_key(subsystem, arguments)
        parent = resource_type.parent.cache_key(subsystem, arguments) if resource_type.parent else ""
        started = self._listings.begin(resource_type, cache_key, parent, self._settings.read_timeout * 1000)
        value = self._read_value(backend, lease, arguments, cache_key)
        lease.checkpoint()
        answer = orjson.dumps(value)
        records = [orjson.loads(answer)] if resource_type.single else orjson.loads(answer)
        listing = Listing.of(resource_type.key_field, records, ordered=resource_type.ordered)
        commit = self._listings.store(started, listing, keep_ms=self._keep_ms(lease, resource_type))
        fields = {
            "result_cache_key": cache_key,
            "result_base": commit["base"],
            "result_base_seq": str(started.seq),
            "result_seq": str(started.seq),
            "arguments": as_json(arguments).decode(),
        }
        small = answer if resource_type.single or len(answer) <= INLINE_RESULT_BYTES else b""
        return Completion(State.SUCCEEDED, result=small, fields=fields, steps=[commit])

    def _read_value(self, backend: StorageBackend, lease: Lease, arguments: Mapping[str, Any], cache_key: str) -> Any:
        try:
            return lease.job.operation.run(backend, arguments, lease)
        except StorageError:
            with suppress(*REDIS_UNAVAILABLE):
                self._listings.abandon(cache_key)
            raise

    def _keep_ms(self, lease: Lease, resource_type: ResourceType) -> int | None:
        """How long a listing is kept: that of a whole storage system as configured, that of one of many objects briefly
        where an anonymous client asked, which may request each of them.
        """
        if lease.job.requester or not resource_type.is_one_of_many:
            return None
        settings = self._settings
        return min(settings.cache_keep, settings.cache_fresh + settings.read_job_keep) * 1000

    def _done(self, lease: Lease, arguments: Mapping[str, Any], value: Any) -> Completion:
        steps = self._updates.after_success(lease.job.operation, lease.job.subsystem, arguments, value)
        return Completion(State.SUCCEEDED, result=b"null" if value is None else orjson.dumps(value), steps=steps)

    # --- outcomes

    def _stopped(self, lease: Lease, stopped: Interrupted) -> Completion | None:
        nothing_sent = lease.step is None
        if isinstance(stopped, LeaseLost):
            log.warning("job.lease-lost", job_id=lease.job_id, hint="another worker has it, or reconciles it")
        elif isinstance(stopped, Cancelled):
            return self._complete(lease, Completion(State.CANCELLED))
        elif isinstance(stopped, ShuttingDown) and nothing_sent:
            self._claims.requeue(lease, 0, counts=False)
        elif isinstance(stopped, TimedOut) and nothing_sent:
            return self._complete(
                lease, Completion(State.FAILED, Failure("timed-out", FAILURE_DETAILS["timed-out"], retryable=True))
            )
        else:
            self._claims.hand_over(lease, "timed-out" if isinstance(stopped, TimedOut) else "")
        return None

    def _failed(self, lease: Lease, error: StorageError) -> Completion | None:
        if isinstance(error, OutcomeUnclear):
            log.warning("job.in-doubt", job_id=lease.job_id, detail=error.detail, **_backend_words(error))
            self._claims.hand_over(lease, "backend-timeout", cause=cause_of(error).to_json())
            return None
        if error.transient and self._may_retry(lease):
            reason = "backend-unavailable" if isinstance(error, BackendUnavailable) else "retrying"
            delay_s = self._delay_s(lease)
            log.warning(
                "job.requeued", job_id=lease.job_id, reason=reason, delay_s=delay_s, detail=error.detail,
                **_backend_words(error),
            )  # fmt: skip
            self._claims.requeue(lease, delay_s, reason, failure_of(error))
            return None
        steps = None
        if lease.step is not None and not error.transient:
            steps = self._reread_after_failure(lease)
        return self._complete(lease, Completion(State.FAILED, failure_of(error), steps=steps))

    def _reread_after_failure(self, lease: Lease) -> list[dict[str, Any]]:
        """After a partial failure: the listing steps for what the storage system has now."""
        job = lease.job
        try:
            with self._gateways[job.subsystem].session() as backend:
                return self._updates.after_partial_failure(job.operation, job.subsystem, job.arguments, backend, lease)
        except (StorageError, Interrupted):
            return self._updates.invalidate(job.operation, job.subsystem, job.arguments)

    def _crashed(self, lease: Lease) -> Completion | None:
        if lease.step is not None:
            self._claims.hand_over(lease, "backend-error")
            return None
        detail = "The service failed inside while it carried the job out; nothing was changed. Its log has the details."
        return self._complete(lease, Completion(State.FAILED, Failure("backend-error", detail)))

    def _without_redis(self, lease: Lease, exc: Exception) -> Completion | None:
        log.warning("job.redis-unavailable", job_id=lease.job_id, error=type(exc).__name__)
        if lease.step is not None:
            self._claims.hand_over(lease, "")
        elif self._may_retry(lease):
            cause = Failure("queue-unavailable", "Redis could not be reached, or had no room.")
            self._claims.requeue(lease, self._delay_s(lease), "retrying", cause)
        else:
            detail = "The service cannot store the result, or could not reach its queue for too long."
            return self._complete(lease, Completion(State.FAILED, Failure("backend-error", detail, retryable=True)))
        return None

    def _complete(self, lease: Lease, end: Completion) -> Completion | None:
        return end if self._claims.complete(lease, end) else None

    def _may_retry(self, lease: Lease) -> bool:
        first, started = lease.job.first_failure_ms, lease.job.started_ms
        return first is None or started is None or started - first < self._settings.backend_patience * 1000

    def _delay_s(self, lease: Lease) -> float:
        return min(_LONGEST_DELAY_S, 0.5 * 2.0 ** max(0, lease.job.attempt - 1))
