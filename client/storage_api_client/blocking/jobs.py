# Made of ../aio/jobs.py by tools/faces.py: change it there, and run `make client_files`.
"""Jobs: one's own, and everybody's for whoever may see them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from storage_api_client.blocking.face import Face
from storage_api_client.blocking.job import Job
from storage_api_client.operations import jobs
from storage_api_client.operations.jobs import BulkResult, JobFilter
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.following import Progressed, get_job

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Jobs:
    """Finding, following, cancelling and repeating jobs."""

    def __init__(self, face: Face) -> None:
        self._face = face

    def list(self, *, limit: int | None = None, **chosen: Unpack[JobFilter]) -> Iterator[Job[Any]]:
        """Iterate over jobs, the newest first: one's own, or with ``all=True`` everybody's that one may see."""
        for record in self._face.pages(jobs.list_jobs(chosen), limit=limit):
            yield Job.bound(record, self._face)

    def get(self, job_id: str) -> Job[Any]:
        """Return a job as it is.

        Raises:
            NotFound: there was never one of this id, it is kept no longer, or one may not see it.
        """
        flow = get_job(self._face.context, job_id, Deadline(self._face.timeout))
        return Job.bound(self._face.run(flow), self._face)

    def wait(self, job_id: str, timeout: float | None = None, on_progress: Progressed | None = None) -> Any:
        """Wait for the end of a job, and return the body that the synchronous call would have answered."""
        job = self.get(job_id)
        return job.wait(timeout, on_progress)

    def cancel(self, job_id: str) -> Job[Any]:
        """Ask a job to stop."""
        flow = jobs.cancel(self._face.context, job_id, self._face.timeout)
        return Job.bound(self._face.run(flow), self._face)

    def retry(self, job_id: str) -> Job[Any]:
        """Do again what failed or was cancelled, by a new job."""
        job: Job[Any] = self._face.change(jobs.retry_job(job_id), {}, wait=False)
        return job

    def settle(self, job_id: str, outcome: str) -> Job[Any]:
        """Say what became of a change whose outcome is being looked for: succeeded, failed or unknown."""
        flow = jobs.settle(self._face.context, job_id, outcome, self._face.timeout)
        return Job.bound(self._face.run(flow), self._face)

    def cancel_all(self, **chosen: Unpack[JobFilter]) -> BulkResult:
        """Cancel all jobs that a filter names, at most 1000."""
        return self._in_bulk("cancel", chosen)

    def retry_all(self, **chosen: Unpack[JobFilter]) -> BulkResult:
        """Do again all failed or cancelled jobs that a filter names, at most 1000."""
        return self._in_bulk("retry", chosen)

    def _in_bulk(self, what: str, chosen: Any) -> BulkResult:
        return self._face.run(jobs.in_bulk(self._face.context, what, chosen, self._face.timeout))
