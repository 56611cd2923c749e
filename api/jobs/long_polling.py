"""Long polling: holds a request open for a job, without polling Redis, and at most as long as requested."""

from __future__ import annotations

import time
from collections.abc import Callable

from api.limits.concurrency_limiter import waited_for_permit_s
from api.services import Services
from worker.jobs.status import JobStatus

#: With less time than this the time is over (seconds).
_SHORTEST_WAIT_S = 0.05


def wait_for_end(services: Services, job_id: str, seconds: float, *, has_slot: bool = False) -> JobStatus | None:
    """As ``wait_for``, until the job has ended; other changes do not wake the request."""
    return wait_for(services, job_id, seconds, lambda now: now.job.done, end=True, has_slot=has_slot)


def wait_for_answer(services: Services, accepted: JobStatus, seconds: float) -> tuple[JobStatus, bytes]:
    """Wait for a job that was made for the current request.

    Returns its result as JSON, if the reply held it, with the job as accepted; otherwise the job as it is.
    """
    job = accepted.job
    left_s = _left_s(services, seconds)
    ends_at = time.monotonic() + left_s
    result = services.answers.wait(job.id, left_s) if left_s else b""
    # The worker has resolved a volume given by path.
    if result and not job.references:
        return accepted, result
    return _look(services, job.id, ends_at) or accepted, b""


def wait_for(
    services: Services,
    job_id: str,
    seconds: float,
    until: Callable[[JobStatus], bool],
    *,
    end: bool = False,
    has_slot: bool = False,
) -> JobStatus | None:
    """Wait until ``until`` holds or ``seconds`` are over, and return the job.

    None when there is no record of it, or when the time is over and Redis does not answer.

    ``end``: ``until`` cannot hold before the job has ended; ``has_slot``: the caller holds a waiter slot.

    When the process shuts down, or too many clients wait already, the job is returned at once: waiting is
    optional, and never fails.
    """
    ends_at = time.monotonic() + _left_s(services, seconds)
    with services.events.watch(job_id, end=end, has_slot=has_slot) as watch:
        while True:
            job_status = _look(services, job_id, ends_at)
            remaining_s = ends_at - time.monotonic()
            if (
                job_status is None
                or until(job_status)
                or remaining_s <= 0
                or watch is None
                or services.stopping.is_set()
            ):
                return job_status
            watch.wait(remaining_s)


def _look(services: Services, job_id: str, ends_at: float) -> JobStatus | None:
    """Read the job; when the time is over, quickly or not at all."""
    is_over = ends_at - time.monotonic() < _SHORTEST_WAIT_S
    return services.jobs.get_quickly(job_id) if is_over else services.jobs.get(job_id)


def _left_s(services: Services, seconds: float) -> float:
    """Of so many seconds those that are left: a request that waited for its permit lasts no longer than any other."""
    longest_s = max(seconds, services.config.max_wait)
    return max(0.0, min(seconds, longest_s - waited_for_permit_s()))
