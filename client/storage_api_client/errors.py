"""The errors of the client.

StorageApiError
├── Refused            the request cannot be met as it is, or as things are
├── NotFound           there is no such volume, snapshot, policy, job … (404, 410)
├── NotAuthorised      not signed in, or a role is missing
├── Unavailable        the service or its queue cannot be reached or takes nothing now, for longer than ``timeout``
├── JobFailed          an accepted job failed
│   └── BatchFailed    some members of a batch did
├── OutcomeUnknown     a change may or may not have happened: look before repeating it
├── JobCancelled       an accepted job was cancelled
└── StillRunning       an accepted job has not ended within ``timeout``; it goes on
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from storage_api_client.models import BackendError, FieldError, JobRecord, Problem

if TYPE_CHECKING:
    from storage_api_client.models.batches import MemberResult


class StorageApiError(Exception):
    """Base of all errors of this package.

    Attributes:
        problem: the service's problem document; made here if there was none.
        job: the job concerned, if it is known.
    """

    def __init__(self, problem: Problem, job: JobRecord | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.job = job

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it with all that it holds: it comes from other processes of a pool, too."""
        return _unpickled, (type(self), self.args, self.__dict__)

    @property
    def code(self) -> str:
        """The code for programs, such as "no-such-volume"."""
        return self.problem.code

    @property
    def detail(self) -> str:
        """What went wrong, for people."""
        return self.problem.detail

    @property
    def retryable(self) -> bool:
        """May the same request succeed later, unchanged?"""
        return self.problem.retryable

    @property
    def errors(self) -> tuple[FieldError, ...]:
        """What is wrong with each member of the request."""
        return self.problem.errors

    @property
    def backend_error(self) -> BackendError | None:
        """The error of the storage system."""
        return self.problem.backend_error

    @property
    def request_id(self) -> str | None:
        """The id of the request, to quote to the operators of the service."""
        return self.problem.request_id


class Refused(StorageApiError):
    """The request cannot be met as it is, or as things are; nothing was accepted."""


class NotFound(StorageApiError):
    """There is no such volume, snapshot, policy, lock or job, or it is kept no longer."""


class NotAuthorised(StorageApiError):
    """Not signed in, or a role is missing."""


class Unavailable(StorageApiError):
    """The service cannot be reached, or takes nothing now, and that lasted for longer than ``timeout``."""


class JobFailed(StorageApiError):
    """An accepted job failed."""


class BatchFailed(JobFailed):
    """Not every member of a batch succeeded.

    Attributes:
        results: the result of each member, in the order of the requests.
    """

    def __init__(self, problem: Problem, job: JobRecord | None, results: Sequence[MemberResult]) -> None:
        super().__init__(problem, job)
        self.results = tuple(results)


class OutcomeUnknown(StorageApiError):
    """A change may or may not have happened: look before repeating it.

    Attributes:
        idempotency_key: sent again with this key, the same request is still one job; None where the job has ended.
    """

    def __init__(self, problem: Problem, job: JobRecord | None = None, idempotency_key: str | None = None) -> None:
        super().__init__(problem, job)
        self.idempotency_key = idempotency_key


class JobCancelled(StorageApiError):
    """An accepted job was cancelled."""


class StillRunning(StorageApiError):
    """An accepted job has not ended within ``timeout``; it goes on."""


def _unpickled(kind: type[StorageApiError], args: tuple[Any, ...], members: dict[str, Any]) -> StorageApiError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(members)
    return error


def error_of(problem: Problem, job: JobRecord | None = None) -> StorageApiError:
    """Return the error for an answer to a request (not for the end of a job)."""
    by_status = {401: NotAuthorised, 403: NotAuthorised, 404: NotFound, 429: Unavailable, 503: Unavailable}
    if problem.code in ("job-expired", "result-expired"):
        return NotFound(problem, job)
    if problem.code == "not-cached" or (problem.status in (502, 504) and not problem.code):
        return Unavailable(problem, job)
    return by_status.get(problem.status, Refused)(problem, job)
