"""The status of a job: its record, and its place in the queue while it waits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from worker.jobs.record import Job, State, parse_job

#: A worker is online for this long after its last heartbeat.
WORKER_TTL_MS = 15_000
#: A result up to this size is shown inside its job.
INLINE_RESULT_BYTES = 8191
#: The longest Retry-After.
MAX_RETRY_AFTER_S = 60


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job, and its place in the queue while it waits."""

    job: Job
    now_ms: int
    position: int
    workers_online: int
    behind: bool
    mean_run_ms: int = 0
    #: The result as JSON, when it is small.
    result: bytes = b""

    @property
    def waiting_reason(self) -> str | None:
        """Why a queued job does not run."""
        if self.job.state is not State.QUEUED:
            return None
        if self.job.waiting_reason:
            return self.job.waiting_reason
        if not self.workers_online:
            return "no-worker-online"
        return "behind-jobs" if self.behind else None

    @property
    def retry_after_s(self) -> int:
        """After how many whole seconds to ask again, estimated from the durations of such jobs."""
        mean_s = max(self.mean_run_ms, 500) / 1000
        queued = self.job.state is State.QUEUED
        wait_s = mean_s * (1 + self.position) if queued else self._remaining_s(mean_s)
        return max(1, min(MAX_RETRY_AFTER_S, math.ceil(wait_s)))

    def _remaining_s(self, mean_s: float) -> float:
        """The remaining time of a running job, from its progress or from the mean duration of such jobs."""
        ran_s = (self.now_ms - (self.job.started_ms or self.now_ms)) / 1000
        if self.job.current and self.job.total:
            return ran_s * max(0, self.job.total - self.job.current) / self.job.current
        return mean_s - ran_s


def parse_job_status(answer: Sequence[Any]) -> JobStatus | None:
    """Read the reply of `get_job`; None when there is no record, or one that this version cannot read."""
    raw, now_ms, position, online, behind, mean_ms, result = answer
    job = parse_job(raw)
    return None if job is None else JobStatus(job, now_ms, position, online, bool(behind), mean_ms, result)
