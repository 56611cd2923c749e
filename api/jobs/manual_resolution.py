"""An operator's decision about a job that no worker ends: a change in doubt, or one that workers have left."""

from __future__ import annotations

from api.http.problems import Problem
from api.services import current_services
from storage_backends.models import parse_reference
from worker.catalog.resource_types import ResourceType
from worker.jobs.failure import FAILURE_DETAILS, Failure
from worker.jobs.record import Job, State
from worker.store.results import ForceResult

_FAILURES = {
    "failed": Failure("worker-lost", "An operator looked: the change did not happen.", retryable=True),
    "unknown": Failure("outcome-unknown", FAILURE_DETAILS["outcome-unknown"]),
}


def force_outcome(job: Job, outcome: str) -> None:
    """End the job as succeeded, failed or unknown. Every listing that it may have changed is invalidated.

    Raises:
        Problem: `job-not-settling`.
    """
    services = current_services()
    failure = _FAILURES.get(outcome)
    state = State.SUCCEEDED if failure is None else State.FAILED
    steps = [services.listings.step("invalidate", cache_key) for cache_key in _affected_listings(job)]
    result = services.jobs.force_outcome(job.id, state, failure.to_fields() if failure else {}, steps)
    if result is not ForceResult.DONE:
        raise Problem(
            "job-not-settling", "The job is not in doubt: its outcome is known, or its worker may still run it."
        )


def _affected_listings(job: Job) -> list[str]:
    """Return the listings that the change may have affected, each once."""
    resource_types = [effect.resource_type for effect in job.operation.effects]
    return list(
        dict.fromkeys(
            resource_type.cache_key(job.subsystem, job.arguments)
            for resource_type in resource_types
            if _is_named(resource_type, job)
        )
    )


def _is_named(resource_type: ResourceType, job: Job) -> bool:
    """Is the listing known? With a path it is not; invalidating the list of volumes covers its volume."""
    by_path = parse_reference(str(job.arguments.get("volume", ""))) is not None
    return not (by_path and "{volume}" in resource_type.template)
