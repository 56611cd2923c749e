"""The request line in the log, the same for responses of views and for cached ones."""

from __future__ import annotations

import structlog

log = structlog.get_logger(__name__)


def log_request(
    *, method: str, path: str, status: int, elapsed_s: float, requested_by: str, request_id: str, job_id: str = ""
) -> None:
    """Write one line for a finished request; ``job_id`` only where there was a job."""
    log.info(
        "request",
        request_id=request_id,
        method=method,
        path=path[:1024],
        status=status,
        ms=round(elapsed_s * 1000, 1),
        requested_by=requested_by,
        **({"job_id": job_id} if job_id else {}),
    )
