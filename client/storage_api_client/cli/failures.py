"""Prints errors on standard error: one sentence, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage_api_client.cli.exit_status import ExitStatus, status_of
from storage_api_client.cli.names import SAME_COMMAND
from storage_api_client.cli.output import for_people
from storage_api_client.cli.printable import printable
from storage_api_client.cli.streams import say

if TYPE_CHECKING:
    from storage_api_client.errors import BatchFailed, StorageApiError


def print_error(sentence: str) -> None:
    """Print an error."""
    _print(f"storage-api: {sentence}")


def _print(line: str) -> None:
    say(printable(line))


def explain(error: StorageApiError, command: str = SAME_COMMAND) -> ExitStatus:
    """Print what went wrong and what to do next; return the exit status.

    ``command`` is what to give the Idempotency-Key to, where the request may have been accepted.
    """
    from storage_api_client.errors import BatchFailed

    status = status_of(error)
    request_id = f" (request id {error.request_id})" if error.request_id else ""
    print_error(f"{error.detail or error.problem.title or error.code}{request_id}")
    for fault in error.errors:
        _print(f"  {fault.pointer}: {fault.detail}")
    if error.backend_error:
        say(f"  the storage system says: {for_people('', dict(error.backend_error.raw))}")
    if isinstance(error, BatchFailed):
        _explain_members(error)
    if hint := _next_step(error, status, command):
        say(f"  {hint}")
    return status


def _explain_members(error: BatchFailed) -> None:
    for place, member in enumerate(error.results):
        if member.problem:
            _print(f"  {place}: {member.problem.detail} (job {member.job})")


def _next_step(error: StorageApiError, status: ExitStatus, command: str) -> str:
    job = error.job.id if error.job else ""
    key = getattr(error, "idempotency_key", None)
    if key:
        return f"Go on with {command} --idempotency-key {key}: nothing is done twice."
    by_status = {
        ExitStatus.NOT_AUTHORISED: "" if error.code == "missing-role" else "Sign in: storage-api login",
        ExitStatus.STILL_RUNNING: f"Go on waiting: storage-api job wait {job}",
        ExitStatus.UNKNOWN: "Look what is there before you repeat it."
        + (f" What it was: storage-api job show {job}" if job else " See: storage-api job list"),
    }
    if status in by_status:
        return by_status[status]
    if status is ExitStatus.UNAVAILABLE and job and error.job and not error.job.done:
        return f"The job goes on; go on waiting: storage-api job wait {job}"
    if job and error.retryable:
        return f"Do it again: storage-api job retry {job}"
    return "Try again later." if error.retryable else ""
