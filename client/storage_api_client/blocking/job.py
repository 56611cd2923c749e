# Made of ../aio/job.py by tools/faces.py: change it there, and run `make client_files`.
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
    from storage_api_client.blocking.face import Face

T = TypeVar("T")


def _as_it_is(body: Any) -> Any:
    return body


@dataclass(frozen=True)
class Job(JobRecord, Generic[T]):
    """A job as it was when it was last asked for; it does not change by itself: ``refresh`` returns a new one."""

    _face: Face = field(default=None, repr=False, compare=False, kw_only=True)  # type: ignore[assignment]
    _result: Callable[[Any], Any] = field(default=_as_it_is, repr=False, compare=False, kw_only=True)

    @classmethod
    def bound(cls, record: JobRecord, face: Face, result: Callable[[Any], T] = _as_it_is) -> Job[T]:
        """Return a job of a client; ``result`` makes what ``wait`` returns."""
        return replace(cls.of(record.raw), _face=face, _result=result)

    def wait(self, timeout: float | None = None, on_progress: Progressed | None = None) -> T:
        """Wait for the end, and return what the job led to.

        Args:
            timeout: seconds; None: the client's.
            on_progress: called with the job each time that it has changed.

        Raises:
            JobFailed, OutcomeUnknown, JobCancelled: how it ended.
            StillRunning: it has not ended in time; it goes on.
        """
        deadline = Deadline(self._face.timeout if timeout is None else timeout)
        body = self._face.run(result_of(self._face.context, self.id, deadline, on_progress))
        result: T = self._result(body)
        return result

    def ended(self, timeout: float | None = None, on_progress: Progressed | None = None) -> Job[T]:
        """Wait for the end, and return the job as it is then; arguments and errors as of ``wait``."""
        deadline = Deadline(self._face.timeout if timeout is None else timeout)
        record = self._face.run(end_of(self._face.context, self.id, deadline, on_progress))
        return Job.bound(record, self._face, self._result)

    def refresh(self) -> Job[T]:
        """Return the job as it is now."""
        flow = get_job(self._face.context, self.id, Deadline(self._face.timeout))
        return Job.bound(self._face.run(flow), self._face, self._result)

    def cancel(self) -> Job[T]:
        """Ask the job to stop, and return it as it is then.

        Raises:
            Refused: it has ended, or its change has gone too far.
        """
        flow = jobs.cancel(self._face.context, self.id, self._face.timeout)
        return Job.bound(self._face.run(flow), self._face, self._result)

    def retry(self) -> Job[T]:
        """Do again what failed or was cancelled, by a new job, which is returned.

        Raises:
            Refused: it has not ended, or it succeeded.
        """
        flow = submit(self._face.context, jobs.retry_job(self.id), Options(self._face.timeout))
        return Job.bound(self._face.run(flow), self._face, self._result)
