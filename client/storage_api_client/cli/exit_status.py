"""Exit statuses."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage_api_client.errors import StorageApiError


class ExitStatus(IntEnum):
    """The exit statuses of commands."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNKNOWN = 3
    NOT_AUTHORISED = 4
    NOT_FOUND = 5
    UNAVAILABLE = 75
    STILL_RUNNING = 124
    INTERRUPTED = 130


#: The worst first.
_WORST = (
    ExitStatus.INTERRUPTED, ExitStatus.UNKNOWN, ExitStatus.FAILED, ExitStatus.USAGE, ExitStatus.NOT_AUTHORISED,
    ExitStatus.NOT_FOUND, ExitStatus.UNAVAILABLE, ExitStatus.STILL_RUNNING, ExitStatus.DONE,
)  # fmt: skip
_AWAY = ("backend-unavailable", "backend-timeout", "queue-unavailable", "queue-full")


def worst(statuses: Iterable[ExitStatus]) -> ExitStatus:
    """Return the worst of several."""
    return min(statuses, key=_WORST.index, default=ExitStatus.DONE)


def status_of(error: StorageApiError) -> ExitStatus:
    """Return the exit status of an error."""
    from storage_api_client import errors

    if isinstance(error, errors.BatchFailed):
        codes = {member.problem.code for member in error.results if member.problem}
        return ExitStatus.UNKNOWN if "outcome-unknown" in codes else ExitStatus.FAILED
    if isinstance(error, errors.JobFailed):
        return status_of_code(error.code, error.problem.status)
    by_class = {
        errors.NotFound: ExitStatus.NOT_FOUND,
        errors.NotAuthorised: ExitStatus.NOT_AUTHORISED,
        errors.Unavailable: ExitStatus.UNAVAILABLE,
        errors.OutcomeUnknown: ExitStatus.UNKNOWN,
        errors.StillRunning: ExitStatus.STILL_RUNNING,
    }
    return next((status for kind, status in by_class.items() if isinstance(error, kind)), ExitStatus.FAILED)


def status_of_code(code: str, http_status: int) -> ExitStatus:
    """Return the exit status of a failed job."""
    if code == "outcome-unknown":
        return ExitStatus.UNKNOWN
    if code in _AWAY:
        return ExitStatus.UNAVAILABLE
    return ExitStatus.NOT_FOUND if http_status == 404 else ExitStatus.FAILED  # noqa: PLR2004 - not found
