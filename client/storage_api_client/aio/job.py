"""A job that was submitted or looked up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from storage_api_client.models import JobRecord
from storage_api_client.operations import jobs
from storage_api_client.protocol.changes import Options, submit
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.polling import ProgressCallback, get_job, wait_for_result, wait_for_success

if TYPE_CHECKING:
    from storage_api_client.aio.executor import AsyncExecutor

T = TypeVar("T")


def _as_it_is(body: Any) -> Any:
    return body


@dataclass(frozen=True)
class AsyncJob(JobRecord, Generic[T]):
    """A job as of its last request; it does not change: ``refresh`` returns a new one."""

    _executor: AsyncExecutor = field(default=None, repr=False, compare=False, kw_only=True)  # type: ignore[assignment]
    _result: Callable[[Any], Any] = field(default=_as_it_is, repr=False, compare=False, kw_only=True)

    @classmethod
    def bound(cls, record: JobRecord, executor: AsyncExecutor, result: Callable[[Any], T] = _as_it_is) -> AsyncJob[T]:
        """Return a job of a client; ``result`` converts the body to what ``wait`` returns."""
        return replace(cls.of(record.raw), _executor=executor, _result=result)

    async def wait(self, timeout: float | None = None, on_progress: ProgressCallback | None = None) -> T:
        """Wait for the job, and return its result.

        Args:
            timeout: seconds; None: the client's.
            on_progress: called with the job each time that it has changed.

        Raises:
            JobFailed, OutcomeUnknown, JobCancelled: how it ended.
            StillRunning: the job is not done in time; it continues.
        """
        deadline = Deadline(self._executor.timeout if timeout is None else timeout)
        body = await self._executor.run(wait_for_result(self._executor.context, self.id, deadline, on_progress))
        result: T = self._result(body)
        return result

    async def ended(self, timeout: float | None = None, on_progress: ProgressCallback | None = None) -> AsyncJob[T]:
        """Wait for the job, and return it in its final state; arguments and errors as of ``wait``."""
        deadline = Deadline(self._executor.timeout if timeout is None else timeout)
        record = await self._executor.run(wait_for_success(self._executor.context, self.id, deadline, on_progress))
        return AsyncJob.bound(record, self._executor, self._result)

    async def refresh(self) -> AsyncJob[T]:
        """Return the job in its present state."""
        flow = get_job(self._executor.context, self.id, Deadline(self._executor.timeout))
        return AsyncJob.bound(await self._executor.run(flow), self._executor, self._result)

    async def cancel(self) -> AsyncJob[T]:
        """Request the cancellation of the job, and return it.

        Raises:
            Refused: it is done, or its change cannot be cancelled any more.
        """
        flow = jobs.cancel(self._executor.context, self.id, self._executor.timeout)
        return AsyncJob.bound(await self._executor.run(flow), self._executor, self._result)

    async def retry(self) -> AsyncJob[T]:
        """Submit a failed or cancelled job again, as a new job, which is returned.

        Raises:
            Refused: it is not done, or it succeeded.
        """
        flow = submit(self._executor.context, jobs.retry_job(self.id), Options(self._executor.timeout))
        return AsyncJob.bound(await self._executor.run(flow), self._executor, self._result)
