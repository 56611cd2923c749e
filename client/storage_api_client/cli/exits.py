"""Exit statuses."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage_api_client.errors import StorageApiError


class Exit(IntEnum):
    """What a command says to the shell."""

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
    Exit.INTERRUPTED, Exit.UNKNOWN, Exit.FAILED, Exit.USAGE, Exit.NOT_AUTHORISED, Exit.NOT_FOUND, Exit.UNAVAILABLE,
    Exit.STILL_RUNNING, Exit.DONE,
)  # fmt: skip
_AWAY = ("backend-unavailable", "backend-timeout", "queue-unavailable", "queue-full")


def worst(statuses: Iterable[Exit]) -> Exit:
    """Return the worst of several."""
    return min(statuses, key=_WORST.index, default=Exit.DONE)


def status_of(error: StorageApiError) -> Exit:
    """Return the exit status of an error."""
    from storage_api_client import errors

    if isinstance(error, errors.JobFailed) and not isinstance(error, errors.BatchFailed):
        return status_of_code(error.code, error.problem.status)
    by_class = {
        errors.NotFound: Exit.NOT_FOUND,
        errors.NotAuthorised: Exit.NOT_AUTHORISED,
        errors.Unavailable: Exit.UNAVAILABLE,
        errors.OutcomeUnknown: Exit.UNKNOWN,
        errors.StillRunning: Exit.STILL_RUNNING,
    }
    return next((status for kind, status in by_class.items() if isinstance(error, kind)), Exit.FAILED)


def status_of_code(code: str, http_status: int) -> Exit:
    """Return the exit status of a failed job."""
    if code == "outcome-unknown":
        return Exit.UNKNOWN
    if code in _AWAY:
        return Exit.UNAVAILABLE
    return Exit.NOT_FOUND if http_status == 404 else Exit.FAILED  # noqa: PLR2004 - not found
