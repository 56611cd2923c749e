"""A job that was asked for, or found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from storage_api_client.models import JobRecord
from storage_api_client.operations import jobs
from storage_api_client.protocol.changing import Options, submit
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.following import Progressed, end_of, get_job, result_of

if TYPE_CHECKING:
    from storage_api_client.aio.face import AsyncFace

T = TypeVar("T")


def _as_it_is(body: Any) -> Any:
    return body


@dataclass(frozen=True)
class AsyncJob(JobRecord, Generic[T]):
    """A job as it was when it was last asked for; it does not change by itself: ``refresh`` returns a new one."""

    _face: AsyncFace = field(default=None, repr=False, compare=False, kw_only=True)  # type: ignore[assignment]
    _result: Callable[[Any], Any] = field(default=_as_it_is, repr=False, compare=False, kw_only=True)

    @classmethod
    def bound(cls, record: JobRecord, face: AsyncFace, result: Callable[[Any], T] = _as_it_is) -> AsyncJob[T]:
        """Return a job of a client; ``result`` makes what ``wait`` returns."""
        return replace(cls.of(record.raw), _face=face, _result=result)

    async def wait(self, timeout: float | None = None, on_progress: Progressed | None = None) -> T:
        """Wait for the end, and return what the job led to.

        Args:
            timeout: seconds; None: the client's.
            on_progress: called with the job each time that it has changed.

        Raises:
            JobFailed, OutcomeUnknown, JobCancelled: how it ended.
            StillRunning: it has not ended in time; it goes on.
        """
        deadline = Deadline(self._face.timeout if timeout is None else timeout)
        body = await self._face.run(result_of(self._face.context, self.id, deadline, on_progress))
        result: T = self._result(body)
        return result

    async def ended(self, timeout: float | None = None, on_progress: Progressed | None = None) -> AsyncJob[T]:
        """Wait for the end, and return the job as it is then; arguments and errors as of ``wait``."""
        deadline = Deadline(self._face.timeout if timeout is None else timeout)
        record = await self._face.run(end_of(self._face.context, self.id, deadline, on_progress))
        return AsyncJob.bound(record, self._face, self._result)

    async def refresh(self) -> AsyncJob[T]:
        """Return the job as it is now."""
        flow = get_job(self._face.context, self.id, Deadline(self._face.timeout))
        return AsyncJob.bound(await self._face.run(flow), self._face, self._result)

    async def cancel(self) -> AsyncJob[T]:
        """Ask the job to stop, and return it as it is then.

        Raises:
            Refused: it has ended, or its change has gone too far.
        """
        flow = jobs.cancel(self._face.context, self.id, self._face.timeout)
        return AsyncJob.bound(await self._face.run(flow), self._face, self._result)

    async def retry(self) -> AsyncJob[T]:
        """Do again what failed or was cancelled, by a new job, which is returned.

        Raises:
            Refused: it has not ended, or it succeeded.
        """
        flow = submit(self._face.context, jobs.retry_job(self.id), Options(self._face.timeout))
        return AsyncJob.bound(await self._face.run(flow), self._face, self._result)
