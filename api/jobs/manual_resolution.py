"""An operator's word on a change whose worker is gone, when looking at the storage system could not tell."""

from __future__ import annotations

from api.http.problems import Problem
from api.services import parts
from storage_backends.models import parse_reference
from worker.catalog.resource_types import View
from worker.jobs.record import DETAILS, Failure, Job, State

_FAILURES = {
    "failed": Failure("worker-lost", "An operator looked: the change did not happen.", retryable=True),
    "unknown": Failure("outcome-unknown", DETAILS["outcome-unknown"]),
}


def settle(job: Job, outcome: str) -> None:
    """End the job as succeeded, failed or unknown. What it touched is read anew before it is shown again.

    Raises:
        Problem: `job-not-settling`.
    """
    held = parts()
    failure = _FAILURES.get(outcome)
    state = State.SUCCEEDED if failure is None else State.FAILED
    steps = [held.listings.step("reread", thing) for thing in _touched(job)]
    word = held.jobs.settle(job.id, state, failure.to_fields() if failure else {}, steps)
    if word != "DONE":
        raise Problem("job-not-settling", "Nobody is looking for the outcome of this job.")


def _touched(job: Job) -> list[str]:
    """The listings that the change may have changed, each once."""
    views: list[View] = []
    for effect in job.operation.effects:
        views += [effect.view, *([effect.view.parent] if effect.view.parent else [])]
    return list(dict.fromkeys(view.thing(job.subsystem, job.arguments) for view in views if _is_named(view, job)))


def _is_named(view: View, job: Job) -> bool:
    """Is it known which listing that is? A path names none; rereading all volumes covers its volume."""
    by_path = parse_reference(str(job.arguments.get("volume", ""))) is not None
    return not (by_path and "{volume}" in view.template)
