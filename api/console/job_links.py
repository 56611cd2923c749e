"""Addresses of lists of jobs: those that pages lead to have changes only, unless they name operations themselves."""

from __future__ import annotations

from urllib.parse import urlencode

from worker.catalog.operations import BATCH, OPERATIONS

#: The filter `operation` of whatever changes something; pages make reads by being looked at.
CHANGES = ",".join([*(name for name, operation in OPERATIONS.items() if operation.is_change), BATCH.name])
#: The filter `state` of the jobs that can be cancelled, and of those that can be retried.
UNFINISHED = "queued,running,cancelling"
REPEATABLE = "failed,cancelled"


def jobs_url(*, everybody: bool, operation: str = CHANGES, **filters: str) -> str:
    """Return the address of the list of jobs that these filters choose.

    Args:
        everybody: also those of others, as far as one may see them.
        operation: the operations, comma-separated; an empty text means any.
        filters: further filters of `GET /v4/jobs`.
    """
    query = {"all": "true" if everybody else "", "operation": operation, **filters}
    text = urlencode({name: value for name, value in query.items() if value}, safe=",:")
    return f"/console/jobs?{text}"
