"""The audit log: one line of JSON for each decision on who may do what, in a stream of its own."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, g, request

from api.http.request_ids import request_id
from api.http.shutdown import at_end
from worker.config.audit_log import AuditLog, open_log
from worker.config.settings import BadSettings

_EXTENSION = "storage-api-audit"
#: The path of job resources, in front of the id.
_JOBS = "/v4/jobs/"


def init_app(app: Flask, destination: str, rate: int) -> None:
    """Write decisions to the file ``destination`` (``-``: standard output), at the latest when a request ends.

    ``rate``: see :class:`worker.config.audit_log.AuditLog`.
    """
    try:
        open_log(destination)
    except OSError as error:
        raise BadSettings(f"SAPI_AUDIT_LOG: {destination} cannot be written: {error.strerror}") from None
    written = AuditLog(rate)
    app.extensions[_EXTENSION] = written
    at_end(written.flush)
    app.after_request(_write_pending)


def concerns(event: str) -> None:
    """Set the event of this request's decisions (default: access)."""
    g.audit_event = event


def decide(**decision: Any) -> None:
    """Add to the decision of this request, which is written when the request ends."""
    g.audit_pending = getattr(g, "audit_pending", {}) | decision


def pending() -> dict[str, Any]:
    """Return what is known of the current request's decision, which is not written yet."""
    return dict(getattr(g, "audit_pending", {}))


def record(**decision: Any) -> None:
    """Write one decision, together with what was added to it before.

    Args:
        decision: what is known of ``who``, ``how``, ``role``, ``operation``, ``target``, ``job_id``, ``allowed`` and
            ``reason`` (why not); who, how, role and target are known from ``auth.require``.
    """
    record_part(**decision)
    g.audit_pending = {}


def record_part(**decision: Any) -> None:
    """Write one more decision, of a request that has an event of its own, too: about each job that a filter names."""
    event = getattr(g, "audit_event", "access")
    begun = request_event(event, request.method, request.path, request.remote_addr, request_id())
    current_log().write(begun | pending() | decision)


def request_event(event: str, method: str, target: str, address: str | None, request_id: str) -> dict[str, Any]:
    """Return the fields with which every event of a request begins."""
    return {"event": event, "method": method, "target": target, "address": address, "request_id": request_id}


def current_log() -> AuditLog:
    """The audit log of the current application."""
    log: AuditLog = current_app.extensions[_EXTENSION]
    return log


def _write_pending(response: Response) -> Response:
    if "allowed" in getattr(g, "audit_pending", {}):
        _, _, job = response.headers.get("Operation-Location", "").rpartition(_JOBS)
        record(status=response.status_code, **({"job_id": job} if job else {}))
    return response
