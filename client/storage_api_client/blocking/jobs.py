# Generated from ../aio/jobs.py by tools/make_blocking.py: change it there, and run `make client_files`.
"""Jobs: one's own, and those of others with the role to see them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from storage_api_client.blocking.executor import Executor
from storage_api_client.blocking.job import Job
from storage_api_client.operations import jobs
from storage_api_client.operations.jobs import BulkResult, JobFilter
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.polling import ProgressCallback, get_job, wait_for_result

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Jobs:
    """Lists, waits for, cancels and retries jobs."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def list(self, *, limit: int | None = None, **chosen: Unpack[JobFilter]) -> Iterator[Job[Any]]:
        """Iterate over jobs, the newest first: one's own, or with ``all=True`` everybody's that one may see."""
        for record in self._executor.pages(jobs.list_jobs(chosen), limit=limit):
            yield Job.bound(record, self._executor)

    def get(self, job_id: str) -> Job[Any]:
        """Return a job.

        Raises:
            NotFound: there is no such job, it has expired, or one may not see it.
        """
        flow = get_job(self._executor.context, job_id, Deadline(self._executor.timeout))
        return Job.bound(self._executor.run(flow), self._executor)

    def wait(self, job_id: str, timeout: float | None = None, on_progress: ProgressCallback | None = None) -> Any:
        """Wait for a job, and return the body that the synchronous call would have returned."""
        deadline = Deadline(self._executor.timeout if timeout is None else timeout)
        return self._executor.run(wait_for_result(self._executor.context, job_id, deadline, on_progress))

    def cancel(self, job_id: str) -> Job[Any]:
        """Request the cancellation of a job."""
        flow = jobs.cancel(self._executor.context, job_id, self._executor.timeout)
        return Job.bound(self._executor.run(flow), self._executor)

    def retry(self, job_id: str, *, idempotency_key: str | None = None) -> Job[Any]:
        """Submit a failed or cancelled job again, as a new job; with the same key it is the same one."""
        more = {"idempotency_key": idempotency_key}
        job: Job[Any] = self._executor.change(jobs.retry_job(job_id), more, wait=False)
        return job

    def settle(self, job_id: str, outcome: str) -> Job[Any]:
        """Set the outcome of a change in doubt: succeeded, failed or unknown."""
        flow = jobs.settle(self._executor.context, job_id, outcome, self._executor.timeout)
        return Job.bound(self._executor.run(flow), self._executor)

    def cancel_all(self, **chosen: Unpack[JobFilter]) -> BulkResult:
        """Cancel all jobs that match a filter, at most 1000."""
        flow = jobs.cancel_in_bulk(self._executor.context, chosen, self._executor.timeout)
        return self._executor.run(flow)

    def retry_all(self, *, idempotency_key: str | None = None, **chosen: Unpack[JobFilter]) -> BulkResult:
        """Retry all failed or cancelled jobs that match a filter, at most 1000; with the same key they are the same."""
        flow = jobs.retry_in_bulk(self._executor.context, chosen, self._executor.timeout, idempotency_key)
        return self._executor.run(flow)
