"""Jobs: one's own, and everybody's for whoever may see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from storage_api_client.aio.face import AsyncFace
from storage_api_client.aio.job import AsyncJob
from storage_api_client.operations import jobs
from storage_api_client.operations.jobs import BulkResult, JobFilter
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.following import Progressed, get_job

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncJobs:
    """Finding, following, cancelling and repeating jobs."""

    def __init__(self, face: AsyncFace) -> None:
        self._face = face

    async def list(self, *, limit: int | None = None, **chosen: Unpack[JobFilter]) -> AsyncIterator[AsyncJob[Any]]:
        """Iterate over jobs, the newest first: one's own, or with ``all=True`` everybody's that one may see."""
        async for record in self._face.pages(jobs.list_jobs(chosen), limit=limit):
            yield AsyncJob.bound(record, self._face)

    async def get(self, job_id: str) -> AsyncJob[Any]:
        """Return a job as it is.

        Raises:
            NotFound: there was never one of this id, it is kept no longer, or one may not see it.
        """
        flow = get_job(self._face.context, job_id, Deadline(self._face.timeout))
        return AsyncJob.bound(await self._face.run(flow), self._face)

    async def wait(self, job_id: str, timeout: float | None = None, on_progress: Progressed | None = None) -> Any:
        """Wait for the end of a job, and return the body that the synchronous call would have answered."""
        job = await self.get(job_id)
        return await job.wait(timeout, on_progress)

    async def cancel(self, job_id: str) -> AsyncJob[Any]:
        """Ask a job to stop."""
        flow = jobs.cancel(self._face.context, job_id, self._face.timeout)
        return AsyncJob.bound(await self._face.run(flow), self._face)

    async def retry(self, job_id: str) -> AsyncJob[Any]:
        """Do again what failed or was cancelled, by a new job."""
        job: AsyncJob[Any] = await self._face.change(jobs.retry_job(job_id), {}, wait=False)
        return job

    async def settle(self, job_id: str, outcome: str) -> AsyncJob[Any]:
        """Say what became of a change whose outcome is being looked for: succeeded, failed or unknown."""
        flow = jobs.settle(self._face.context, job_id, outcome, self._face.timeout)
        return AsyncJob.bound(await self._face.run(flow), self._face)

    async def cancel_all(self, **chosen: Unpack[JobFilter]) -> BulkResult:
        """Cancel all jobs that a filter names, at most 1000."""
        return await self._in_bulk("cancel", chosen)

    async def retry_all(self, **chosen: Unpack[JobFilter]) -> BulkResult:
        """Do again all failed or cancelled jobs that a filter names, at most 1000."""
        return await self._in_bulk("retry", chosen)

    async def _in_bulk(self, what: str, chosen: Any) -> BulkResult:
        return await self._face.run(jobs.in_bulk(self._face.context, what, chosen, self._face.timeout))
